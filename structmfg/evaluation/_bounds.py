"""Bounds of the non-anticipative exploitability where the noise tree is infinite or does not fit.

The method is described in `_relaxation`, the features in `_basis`. The lower bound is the mean gain of a policy that an
agent could follow, and the upper bound that of a relaxed problem: over the draws of the paths their means lie on either
side of the exploitability, whatever the features are. Better features bring them closer together. Both are exact over
individual states and actions; the only error is that of a mean over noise paths, which is told.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray

from structmfg._checks import check_integer, check_key, finite_horizon
from structmfg._flags import own_rules
from structmfg._statistics import studentised_interval
from structmfg.evaluation._basis import (
    SHIFTED_POINTS,
    Basis,
    DescribeState,
    next_noise_points,
    noise_chain,
    num_monomials,
    training_noise,
)
from structmfg.evaluation._best_response import Estimate
from structmfg.evaluation._declared import check_declared_along
from structmfg.evaluation._exploitability import in_double
from structmfg.evaluation._inspection import check_game_along, describe_nonfinite, steps_on_paths
from structmfg.evaluation._relaxation import bounds_along, fit
from structmfg.games import AggregateState, Game, Noise, as_game, check_definition, noise_paths
from structmfg.policies import Policy, as_policy

_PATHS, _DEGREE = 32, 1
_LEAST_PATHS = 8
_MAX_DEGREE = 6
_MOST_DEVIATIONS = 5.0  # of the mean of phi - E phi from zero, in standard errors: a rare event where E phi is right
_RULE_TOLERANCE = 5e-3  # of a mean of features over 256 innovations, whose deviations are one
_CHECKED_TIMES = 16  # at which the law of the noise is compared with its draws
_ROUNDING = 1e-6  # of a feature of order one, whose noise is drawn in single precision
_DISTINGUISHABLE = 1e-9  # observations that differ by less, relative to their size, count as equal
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
        """Lower and upper bound of the `public` exploitability where observations reveal the noise; else unknown."""
        return (self.lower, self.upper) if self.reveals_noise else None

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
    _check_law(game, check)
    faced = as_policy(game, policy)
    training = training_noise(game, training_key, num_training_paths)
    in_precision = in_double if "price" in game.declared else lambda tree: tree  # markets are cleared to many digits
    with jax.enable_x64(bool("price" in game.declared or jax.config.read("jax_enable_x64"))):
        followed, training = in_precision(faced), in_precision(training)
        check_declared_along(game, followed, training)
        fitted, aggregates, numbers = fit(game, followed, degree, features, training, training_key)
        _check_fit(game, aggregates, numbers, fitted.best)
        _check_rule(fitted.basis, aggregates, check)
        revealed = bool(_reveals_noise(game, aggregates, check))
    del aggregates
    paths = noise_paths(game, key=key, num_paths=num_paths, sampling="stratified")
    with jax.enable_x64(True):
        keys = jax.random.split(step_key, num_paths)
        fitted = fitted._replace(basis=in_double(fitted.basis))
        along = bounds_along(game, in_double(faced), fitted, in_double(paths.noise), keys)
        found: Any = jax.tree.map(np.asarray, along)
    if not all(np.isfinite(each).all() for each in found):
        raise ValueError("bounds are not finite: the game's rewards or mean fields are not, along some noise path")
    _check_means(found.errors, finite_horizon(game))
    return ExploitabilityBounds(
        found.lower, found.upper, found.clairvoyant, found.lower_by_state.mean(0), found.upper_by_state.mean(0),
        found.losses.mean(0), num_training_paths, count, revealed,
    )  # fmt: skip


def check_bounds(game: Game) -> None:
    """Raise `ValueError` where `exploitability_bounds` with its default settings has no bounds of a game."""
    finite_horizon(game)
    _check_features(game, None, _DEGREE, _PATHS)
    _check_law(game, jax.random.key(0))


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


def _check_law(game: Game, key: PRNGKeyArray) -> None:
    """Raise `ValueError` where the law of z_{t+1} is not known and its draws are discrete."""
    if noise_chain(game) is not None or game.innovation_quadrature() is not None:
        return
    rows = np.asarray(_draws(game, key))
    for time, points in enumerate(rows):
        distinct = len(np.unique(points, axis=0))
        if 1 < distinct <= SHIFTED_POINTS // 2:
            raise ValueError(
                f"bounds need the law of the common noise, but at time {time} it takes {distinct} values in "
                f"{SHIFTED_POINTS} draws and the game has no noise_chain; where the noise tree fits, "
                "exploitability(kind='non_anticipative') is exact"
            )


@eqx.filter_jit
def _draws(game: Game, key: PRNGKeyArray) -> Float[Array, "times points numbers"]:
    """Points of z_{t+1} given z_t along one noise path, at every t."""
    path = noise_paths(game, key=key, num_paths=1).noise

    def at(time: Array) -> Array:
        noise = jax.tree.map(lambda z: z[0, time], path)
        aggregate = AggregateState(jnp.zeros(game.num_states), noise, time)
        points, _ = next_noise_points(game, aggregate, key, SHIFTED_POINTS)
        return _as_rows(points)

    return jax.vmap(at)(jnp.arange(game.horizon))


def _as_rows(points: Noise) -> Float[Array, "points numbers"]:
    return jnp.concatenate([leaf.reshape(len(leaf), -1).astype(float) for leaf in jax.tree.leaves(points)], axis=-1)


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


def _check_rule(basis: Basis, aggregates: AggregateState, key: PRNGKeyArray) -> None:
    """Raise `ValueError` if the stated law gives other means of the features than innovations of `next_noise` do."""
    differences = np.asarray(_rule_differences(basis, aggregates, key)).reshape(-1, basis.size)
    mean, error = differences.mean(0), differences.std(0) / np.sqrt(len(differences))
    faults = np.abs(mean) > _MOST_DEVIATIONS * error + _RULE_TOLERANCE
    if faults.any():
        worst = int(np.abs(mean).argmax())
        raise ValueError(
            f"the law of the common noise does not fit its draws: the mean of feature {worst} is {mean[worst]:.3g} "
            "standard deviations off; look at innovation_quadrature, which smooth features need with enough nodes, or "
            "at noise_chain"
        )


@eqx.filter_jit
def _rule_differences(
    basis: Basis, aggregates: AggregateState, key: PRNGKeyArray
) -> Float[Array, "paths steps features"]:
    """Conditional means of the features by the stated law less those by shifted innovations, at some times."""
    game = basis.game
    times = _checked_times(game.horizon)
    now, then = (jax.tree.map(lambda x, t=t: x[:, times + t], aggregates) for t in (0, 1))

    def difference(now: AggregateState, then: AggregateState, key: PRNGKeyArray) -> Array:
        noise, weights = next_noise_points(game, now, key, SHIFTED_POINTS, drawn=True)
        drawn = jax.vmap(lambda z: basis(game.advance(now, then.mean_field, z)))(noise)
        return basis.mean_of_next(now, then, key) - weights @ drawn

    keys = jax.random.split(key, now.time.shape)
    return jax.lax.map(lambda path: jax.vmap(difference)(*path), (now, then, keys))


def _check_means(errors: Float[np.ndarray, "paths 2 features"], horizon: int) -> None:
    """Raise `ValueError` if phi - E phi, whose mean must be zero, has another one."""
    total, squares = np.abs(errors[:, 0].sum(0)), errors[:, 1].sum(0)
    total = np.maximum(total - _ROUNDING * len(errors) * horizon, 0)
    deviations = np.divide(total, np.sqrt(squares), out=np.zeros_like(total), where=squares > 0)
    worst = int(deviations.argmax())
    if deviations[worst] > _MOST_DEVIATIONS:
        raise ValueError(
            f"the law of the common noise does not fit its draws: the mean of feature {worst} less its conditional "
            f"mean is {deviations[worst]:.1f} standard errors from zero; look at innovation_quadrature, which smooth "
            "features need with enough nodes, or at noise_chain"
        )


@eqx.filter_jit
def _reveals_noise(game: Game, aggregates: AggregateState, key: PRNGKeyArray) -> Bool[Array, ""]:
    """Whether observations tell the possible values of the noise apart, at t = 0 and at some times of N paths."""
    if "price" in game.declared:  # the price is known only when agents act
        return jnp.asarray(False)
    chain = noise_chain(game)

    def at(aggregate: AggregateState, mean_field: Array) -> Array:
        points, weights = next_noise_points(game, aggregate, key, SHIFTED_POINTS)
        seen = jax.vmap(lambda z: game.observe(game.advance(aggregate, mean_field, z)))(points)
        return _told_apart(points, seen, None if chain is None else weights > 0)

    if chain is None:
        uniforms = (jnp.arange(SHIFTED_POINTS) + 0.5) / SHIFTED_POINTS
        first, possible = jax.vmap(game.initial_noise)(uniforms), None
    else:
        first, possible = jax.tree.map(jnp.asarray, chain.values), jnp.asarray(chain.initial > 0)
    at_start = _told_apart(first, jax.vmap(lambda z: game.observe(game.at_start(z)))(first), possible)
    times = _checked_times(game.horizon - 1)
    before = jax.tree.map(lambda x: x[:, times], aggregates)
    along = jax.lax.map(lambda path: jax.vmap(at)(*path), (before, aggregates.mean_field[:, times + 1]))
    return at_start & jnp.all(along)


def _checked_times(end: int) -> Int[np.ndarray, " times"]:
    """Equally spaced times before `end` at which the law of the noise is checked."""
    return np.unique(np.linspace(0, end - 1, min(end, _CHECKED_TIMES)).astype(int)) if end else np.zeros(0, int)


def _told_apart(
    points: Noise, seen: Float[Array, "points observation"], possible: Bool[Array, " points"] | None
) -> Bool[Array, ""]:
    """Whether observations at points of the noise differ.

    At finitely many `possible` points any two must differ. Else points are a sample of continuous noise, in order: some
    entry of the observation must be strictly monotone in them, or the noise the same at all of them.
    """
    slack = _DISTINGUISHABLE * jnp.max(jnp.abs(seen), axis=0)
    if possible is not None:
        apart = jnp.any(jnp.abs(seen[:, None] - seen[None]) > slack, axis=-1)
        return jnp.all(apart | ~(possible[:, None] & possible[None] & ~jnp.eye(len(possible), dtype=bool)))
    steps = jnp.diff(seen, axis=0)
    monotone = jnp.all(steps > slack, axis=0) | jnp.all(steps < -slack, axis=0)
    return jnp.any(monotone) | jnp.all(jnp.ptp(_as_rows(points), axis=0) == 0)
