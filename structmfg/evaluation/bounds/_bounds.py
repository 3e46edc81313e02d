"""Bounds of the non-anticipative exploitability where the noise tree is infinite or does not fit.

The method is described in `_relaxation`, the features in `_basis`. The lower bound is the mean gain of a policy that an
agent could follow, and the upper bound that of a relaxed problem: over the draws of the paths their means lie on either
side of the exploitability, whatever the features are. Better features bring them closer together. Both are exact over
individual states and actions; the only error is that of a mean over noise paths, which is told.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from structmfg._checks import check_integer, check_key, finite_horizon
from structmfg._flags import own_rules
from structmfg._statistics import studentised_interval
from structmfg.evaluation._best_response import Estimate
from structmfg.evaluation._exploitability import in_double
from structmfg.evaluation._inspection import check_game_along, describe_nonfinite, steps_on_paths
from structmfg.evaluation.bounds._basis import DescribeState, noise_chain, num_monomials, training_noise
from structmfg.evaluation.bounds._filter import FilteredGame, filter_is_exact
from structmfg.evaluation.bounds._noise_law import check_law, check_means, check_rule, reveals_noise
from structmfg.evaluation.bounds._relaxation import FittedValues, bounds_along, fit
from structmfg.games import AggregateState, Game, Noise, as_game, check_definition, noise_paths
from structmfg.policies import Policy, as_policy

_PATHS, _DEGREE = 32, 1
_LEAST_PATHS = 8
_MAX_DEGREE = 6
_MOST_FILTERED = 64  # states of a chain over which beliefs are computed
_LEVEL = 0.99  # of the interval of each bound
_INFORMATIVE = 0.5  # the largest width of a bracket that says something, as a share of its upper end


class ExploitabilityBounds(NamedTuple):
    """Lower and upper bound of the non-anticipative exploitability, over N fresh noise paths.

    Attributes:
        lower_by_path: (N, T); the gain from t on of the population at t by a policy that knows only the noise so far,
            in units of the return, not discounted back to t = 0. Its mean is a lower bound.
        upper_by_path: (N, T); the same of the relaxed problem. Its mean is an upper bound.
        clairvoyant_by_path: (N, T); the same by the best response that knows the whole path; less variables of mean
            zero, the martingales of the fitted values along the policy, so that their mean varies less.
        lower_by_state: (S,); means over the paths of the lower bound from t = 0 on, by individual state at t = 0.
        upper_by_state: (S,); the same of the upper bound.
        losses: (T,); where the policy loses: the mean of gamma^t mu_t . (max_a q_t - pi_t . q_t), in which q are
            fitted action values. Their sum is near the exploitability, but no bound.
        num_training_paths: The paths on which values were fitted.
        num_features: The number of monomials of the interpolation.
        reveals_noise: Whether at 16 times of each training path the next observation tells all possible noise apart. If
            so everywhere, who has seen the observations knows the noise so far, and the bounds hold for `public`, too.
        public_by_path: (2, N); lower and upper gain from t = 0 on given the public observations alone, where they hide
            some of the noise and a filter over its chain is exact; else None.
    """

    lower_by_path: Float[np.ndarray, "paths steps"]
    upper_by_path: Float[np.ndarray, "paths steps"]
    clairvoyant_by_path: Float[np.ndarray, "paths steps"]
    lower_by_state: Float[np.ndarray, " states"]
    upper_by_state: Float[np.ndarray, " states"]
    losses: Float[np.ndarray, " steps"]
    num_training_paths: int
    num_features: int
    reveals_noise: bool
    public_by_path: Float[np.ndarray, "2 paths"] | None = None

    @property
    def lower(self) -> Estimate:
        """The lower bound at t = 0, with its standard error."""
        return Estimate.of(self.lower_by_path[:, 0])

    @property
    def upper(self) -> Estimate:
        """The upper bound at t = 0, with its standard error."""
        return Estimate.of(self.upper_by_path[:, 0])

    @property
    def clairvoyant(self) -> Estimate:
        """The clairvoyant exploitability on the same paths, with its standard error."""
        return Estimate.of(self.clairvoyant_by_path[:, 0])

    @property
    def foresight(self) -> Estimate:
        """What it is worth at least to know the future noise: the clairvoyant gain above the upper bound."""
        return Estimate.of(self.clairvoyant_by_path[:, 0] - self.upper_by_path[:, 0])

    @property
    def public(self) -> "tuple[Estimate, Estimate] | None":
        """Lower and upper bound of the `public` exploitability; None where they are not known.

        They are known where observations reveal the noise, and where Bayes' rule over the states of a finite chain says
        all that observations tell of it: see `docs/theory/bounds.md`.
        """
        if self.reveals_noise:
            return self.lower, self.upper
        if self.public_by_path is None:
            return None
        lower, upper = map(Estimate.of, self.public_by_path)
        return lower, upper

    @property
    def interval(self) -> tuple[float, float]:
        """From the lower end of a 99 % interval of the lower bound to the upper end of that of the upper bound.

        Gains by path are skewed, so the ends come from the bootstrap of Student's t. Few paths hold few of the rare
        large gains, so the interval may hold the exploitability less often than in 99 % of all draws:
        `docs/theory/bounds.md` says how often it did.
        """
        lower, upper = (studentised_interval(each[:, 0], _LEVEL) for each in (self.lower_by_path, self.upper_by_path))
        return lower.low, upper.high

    @property
    def width(self) -> float:
        """The upper bound less the lower one."""
        return self.upper.value - self.lower.value

    @property
    def informative(self) -> bool:
        """Whether the bracket is no wider than half its upper end."""
        return is_informative(self.lower.value, self.upper.value)

    def __str__(self) -> str:
        lower, upper = self.lower, self.upper
        bracket = f"{lower.value:.4g} +- {lower.stderr:.1g} to {upper.value:.4g} +- {upper.stderr:.1g}"
        return bracket if self.informative else f"not informative: between {bracket}"


def is_informative(lower: float, upper: float) -> bool:
    """Whether a bracket is no wider than half its upper end."""
    return upper - lower <= _INFORMATIVE * upper


@own_rules()
def exploitability_bounds(
    game: Game,
    policy: Policy | ArrayLike,
    *,
    key: PRNGKeyArray,
    training_key: PRNGKeyArray | None = None,
    num_paths: int = _PATHS,
    num_training_paths: int = _PATHS,
    degree: int = _DEGREE,
    features: Callable[[AggregateState], Array] | None = None,
) -> ExploitabilityBounds:
    """Bound the non-anticipative exploitability of a policy, where the noise is continuous or its tree does not fit.

    Args:
        game: The game.
        policy: A `Policy`, or a table (S, A) or (T, S, A).
        key: A key of `jax.random`, for the paths of the bounds.
        training_key: Another key, for the paths on which values are fitted; by default one that is made from `key`.
        num_paths: The number N of stratified paths of the bounds (see `games.innovations`). Standard errors are those
            of independent paths; those of stratified paths are at most sqrt(N / (N - 1)) times as large (Owen 1997,
            Monte Carlo variance of scrambled net quadrature), and usually smaller.
        num_training_paths: The number of paths between whose states values are interpolated, above the number of
            monomials. They are stratified (see `games.innovations`).
        degree: The degree of the polynomial part of the interpolation, whose monomials are those of the noise, the
            public state and the aggregates of the mean field.
        features: A function from an aggregate state, before agents act, to numbers (F,), in place of the noise, the
            public state and the aggregates; `degree` is then not used, but 1.

    Returns:
        The bounds.

    Raises:
        ValueError: If an argument is bad, both keys are one, there are too few paths for the features, a feature is not
            finite, the law of the noise is not known and its draws are discrete, the means of the features do not fit
            the draws of the noise; or the game is faulty along the paths (see `exploitability`).
    """
    game = as_game(game)
    finite_horizon(game)
    check_definition(game, sampled=False)
    num_paths = check_integer("num_paths", num_paths, at_least=_LEAST_PATHS)
    num_training_paths = check_integer("num_training_paths", num_training_paths, at_least=_LEAST_PATHS)
    degree = 1 if features is not None else check_integer("degree", degree, at_least=1, at_most=_MAX_DEGREE)
    count = _check_features(game, features, degree, num_training_paths)
    training_key, step_key, check = _keys(key, training_key)
    check_law(game, check)
    faced = as_policy(game, policy)
    training = training_noise(game, training_key, num_training_paths)
    paths = noise_paths(game, key=key, num_paths=num_paths, sampling="stratified").noise
    keys = training_key, step_key
    found, fitted, aggregates = _swept(game, faced, training, paths, keys, degree, features)
    with jax.enable_x64(_fits_in_double(game)):
        check_rule(fitted.basis, aggregates, check)
        revealed = bool(reveals_noise(game, aggregates, check))
    public = None if revealed else _public_bounds(game, faced, training, paths, keys)
    return ExploitabilityBounds(
        found.lower, found.upper, found.clairvoyant, found.lower_by_state.mean(0), found.upper_by_state.mean(0),
        found.losses.mean(0), num_training_paths, count, revealed, public,
    )  # fmt: skip


def _needs_double(game: Game) -> bool:
    """Whether values are fitted in double precision in any case.

    Markets are cleared to many digits, and a filter must tell the same observations apart as it does on fresh paths.
    """
    return "price" in game.declared or isinstance(game, FilteredGame)


def _fits_in_double(game: Game) -> bool:
    return _needs_double(game) or bool(jax.config.read("jax_enable_x64"))


def _in_precision_of_fit(game: Game, tree: Any) -> Any:
    return in_double(tree) if _needs_double(game) else tree


def _swept(
    game: Game,
    policy: Policy,
    training: Noise,
    paths: Noise,
    keys: tuple[PRNGKeyArray, PRNGKeyArray],
    degree: int,
    features: DescribeState | None,
) -> tuple[Any, FittedValues, AggregateState]:
    """What fresh paths give (`PathBounds`, in numpy), the fitted values, and the aggregate states of training paths."""
    fit_key, step_key = keys
    with jax.enable_x64(_fits_in_double(game)):
        faced, noise = _in_precision_of_fit(game, (policy, training))
        fitted, aggregates, numbers = fit(game, faced, degree, features, noise, fit_key)
        _check_fit(game, aggregates, numbers, fitted.best)
    with jax.enable_x64(True):
        step_keys = jax.random.split(step_key, len(jax.tree.leaves(paths)[0]))
        precise = fitted._replace(basis=in_double(fitted.basis))
        along = bounds_along(game, in_double(policy), precise, in_double(paths), step_keys)
        found: Any = jax.tree.map(np.asarray, along)
    if not all(np.isfinite(each).all() for each in found):
        raise ValueError("bounds are not finite: the game's rewards or mean fields are not, along some noise path")
    check_means(found.errors, finite_horizon(game))
    return found, fitted, aggregates


def _public_bounds(
    game: Game, policy: Policy, training: Noise, paths: Noise, keys: tuple[PRNGKeyArray, PRNGKeyArray]
) -> Float[np.ndarray, "2 paths"] | None:
    """The bounds (2, N) given the public observations alone; None where no filter is exact or paths are too few."""
    chain = noise_chain(game)
    if chain is None or game.declared or chain.num_states > _MOST_FILTERED:
        return None
    seen = FilteredGame(game)
    if num_monomials(seen, 1, seen.numbers) >= len(jax.tree.leaves(training)[0]):
        return None
    with jax.enable_x64(True):
        if not filter_is_exact(seen, *in_double((policy, paths))):
            return None
    found, _, _ = _swept(seen, policy, training, paths, keys, 1, seen.numbers)
    return np.stack([found.lower[:, 0], found.upper[:, 0]])


def check_bounds(game: Game) -> None:
    """Raise `ValueError` where `exploitability_bounds` with its default settings has no bounds of a game."""
    finite_horizon(game)
    _check_features(game, None, _DEGREE, _PATHS)
    check_law(game, jax.random.key(0))


def _keys(key: PRNGKeyArray, training_key: PRNGKeyArray | None) -> tuple[PRNGKeyArray, PRNGKeyArray, PRNGKeyArray]:
    """The key of the training paths, and two more."""
    check_key(key)
    if training_key is None:
        training_key = jax.random.fold_in(key, 1)
    check_key(training_key)
    if np.array_equal(np.asarray(_data(key)), np.asarray(_data(training_key))):
        raise ValueError(
            "training_key must differ from key: bounds hold on paths on which the values have not been fitted"
        )
    return training_key, jax.random.fold_in(key, 2), jax.random.fold_in(key, 3)


def _data(key: PRNGKeyArray) -> Array:
    return jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key


def _check_features(game: Game, own: DescribeState | None, degree: int, num_training_paths: int) -> int:
    """The number of features; raise `ValueError` if there are not more training paths."""
    count = num_monomials(game, degree, own)
    if count < num_training_paths:
        return count
    fewer = "give fewer features"
    if own is None:
        fewer = f"degree=1 needs {num_monomials(game, 1, own) + 1}, and features=... may return fewer numbers"
    raise ValueError(
        f"{count} features need at least {count + 1} training paths, but num_training_paths is {num_training_paths}; "
        f"{fewer}"
    )


def _check_fit(game: Game, aggregates: AggregateState, numbers: Array, fitted: Array) -> None:
    """Raise `ValueError` if the game or a number behind the features is faulty along the training paths."""
    along = steps_on_paths(aggregates)
    check_game_along(game, along)
    values = np.asarray(numbers)
    if len(faults := np.argwhere(~np.isfinite(values))):
        path, time, number = map(int, faults[0])
        raise ValueError(
            f"features must be finite, but number {number} is {values[path, time, number]:g} at time {time} on "
            f"training path {path}"
        )
    if not np.isfinite(np.asarray(fitted)).all():
        fault = describe_nonfinite(game, along) or "the sum of all rewards overflows"
        raise ValueError(f"bounds are not defined: {fault}")
