"""Features of aggregate states, in which values are linear, and their means given the noise so far.

An aggregate state is described by numbers: real noise, the public state, the aggregates of the mean field, and
indicators of the state of a chain whose values are no real numbers. Each number is given mean zero and deviation one at
every time. Features interpolate between the states X_i that N training paths visit: the value at X is a sum of
c_i (1 + |X - X_i|^2)^1.5 and of monomials, whose coefficients are linear in the values at X_1..X_N. So there is one
feature for each X_i.

The mean of the features at t+1, given all that is known at t, is a sum over points of z_{t+1}:

- of a chain, its states with their probabilities, given its state at t or, of a `FilteredGame`, the belief;
- of a game that defines `innovation_quadrature`, the nodes of its rule;
- otherwise, innovations (k + U) / K, k = 0..K-1, with a uniform shift U. This mean is random and unbiased. Bounds
  hold for it, as long as the action of the lower bound is chosen by another draw of U than the one that values it.

Rewards need not be smooth in z_{t+1}, so their mean uses the row of a chain, or shifted innovations.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from structmfg._checks import finite_horizon
from structmfg._flags import constants, known_at_once
from structmfg.evaluation.bounds._filter import FilteredGame
from structmfg.games import (
    AggregateState,
    Game,
    Noise,
    NoiseChain,
    innovations,
    inside_unit_interval,
    noise_path,
)

SHIFTED_POINTS = 256  # innovations in a mean of features where the law of the noise is not known
_SHIFTED_REWARDS = 64  # and in a mean of rewards
_RULE_ROUNDING = 1e-6  # of the sum of the weights of a quadrature
_SMOOTH = 1.0  # added to squared distances, in squared deviations, so that quadratures of few nodes are right
_RIDGE = 0.1  # without one the errors of the interpolation grow from step to step
_SLACK = 1e-10  # by which the system of the interpolation stays regular where monomials depend on each other
_SHIFT = 0.15  # the deviation of the shift of a training path's innovations, as normal numbers

DescribeState = Callable[[AggregateState], Array]


class Basis(eqx.Module):
    """Interpolation between the N aggregate states that training paths visit at every time.

    Attributes:
        game: The game.
        degree: The degree of the polynomial part.
        describe: A user's function from an aggregate state before agents act to numbers (B,); None for the game's own.
        centre: (T+1, B); the mean of every number at every time.
        scale: (T+1, B); one over its deviation, zero where it does not vary.
        points: (T+1, N, B); the standardised numbers of the training paths.
        weights: (T+1, N + M, N); what N functions of the distances and M monomials are multiplied by.
    """

    game: Game = eqx.field(static=True)
    degree: int = eqx.field(static=True)
    describe: DescribeState | None = eqx.field(static=True)
    centre: Float[Array, "times numbers"]
    scale: Float[Array, "times numbers"]
    points: Float[Array, "times paths numbers"]
    weights: Float[Array, "times functions paths"]

    @property
    def size(self) -> int:
        """N, the number of features."""
        return self.points.shape[1]

    def __call__(self, aggregate: AggregateState) -> Float[Array, " paths"]:
        """The features (N,) of an aggregate state: its interpolant is their product with the values at the points.

        They do not read price and actions.
        """
        return jnp.matmul(self._functions(aggregate), self.weights[aggregate.time], precision="highest")

    def _functions(self, aggregate: AggregateState) -> Float[Array, " functions"]:
        numbers = describe(self.game, self.describe, aggregate)
        standard = (numbers - self.centre[aggregate.time]) * self.scale[aggregate.time]
        return functions(standard, self.points[aggregate.time], self.degree, jnp)

    def mean_of_next(
        self, aggregate: AggregateState, following: AggregateState, key: PRNGKeyArray
    ) -> Float[Array, " paths"]:
        """The mean (N,) of the features at t+1, given the aggregate state at t and the next mean field.

        Args:
            aggregate: The aggregate state at t, with its price and actions.
            following: That at t+1, of which only the mean field is read: it follows from what is known at t.
            key: A key of `jax.random`, for the shift.
        """
        noise, weights = next_noise_points(self.game, aggregate, key, SHIFTED_POINTS)
        at_points = jax.vmap(lambda z: self._functions(self.game.advance(aggregate, following.mean_field, z)))(noise)
        mean = jnp.matmul(weights, at_points, precision="highest")
        return jnp.matmul(mean, self.weights[aggregate.time + 1], precision="highest")


def functions(standard: Any, points: Any, degree: int, xp: Any) -> Any:
    """Functions of the distances of standardised numbers (..., B) from N points, and all M monomials: (..., N + M).

    `xp` is `numpy` or `jax.numpy`.
    """
    squares = xp.sum((standard[..., None, :] - points) ** 2, axis=-1)
    monomials = [xp.ones(standard.shape[:-1])]
    for power in range(1, degree + 1):
        for factors in itertools.combinations_with_replacement(range(standard.shape[-1]), power):
            monomials.append(xp.prod(standard[..., np.array(factors)], axis=-1))
    squares = squares + _SMOOTH
    return xp.concatenate([squares * xp.sqrt(squares), xp.stack(monomials, axis=-1)], axis=-1)


def interpolation(
    game: Game, degree: int, describe: DescribeState | None, numbers: Float[Array, "paths times numbers"]
) -> Basis:
    """The basis that interpolates between the numbers of N paths, standardised to mean zero and deviation one.

    Polynomials of a low degree are not distorted. A ridge makes the interpolant smoother than the values at the points.
    """
    precise = np.nan_to_num(np.asarray(numbers, np.float64).swapaxes(0, 1))  # the caller refuses what is not finite
    centre, deviation = precise.mean(1), precise.std(1)
    rounding = np.finfo(numbers.dtype).eps ** (2 / 3)  # what varies by less, relative to its size, is constant
    varies = deviation > rounding * np.abs(precise).max(1)
    scale = np.where(varies, 1 / np.where(varies, deviation, 1), 0)
    points = (precise - centre[:, None]) * scale[:, None]
    weights = np.stack([_weights(each, degree) for each in points])
    return Basis(game, degree, describe, *(jnp.asarray(each, float) for each in (centre, scale, points, weights)))


def _weights(points: Float[np.ndarray, "paths numbers"], degree: int) -> Float[np.ndarray, "functions paths"]:
    """What the functions are multiplied by: the coefficients of the interpolant of each unit vector of values."""
    count = len(points)
    rows = functions(points, points, degree, np)
    monomials = rows[:, count:]
    system = np.block([
        [rows[:, :count] + _RIDGE * np.eye(count), monomials],
        [monomials.T, -_SLACK * np.eye(monomials.shape[1])],
    ])  # fmt: skip
    return np.linalg.solve(system, np.eye(len(system), count))


def describe(game: Game, own: DescribeState | None, aggregate: AggregateState) -> Float[Array, " numbers"]:
    """The numbers (B,) that describe an aggregate state, with indicators of a chain whose values are no numbers."""
    aggregate = aggregate.before_acting()
    if own is not None:
        return jnp.ravel(jnp.asarray(own(aggregate), float))
    chain = _unordered_chain(game)
    noise = [jax.nn.one_hot(chain.state_of(aggregate.noise), chain.num_states)] if chain else [aggregate.noise]
    parts = jax.tree.leaves((noise, aggregate.public, game.aggregates(aggregate.mean_field)))
    return jnp.concatenate([jnp.ravel(part).astype(float) for part in parts])


def num_monomials(game: Game, degree: int, own: DescribeState | None) -> int:
    """M, the number of monomials."""

    def at_start(uniform: Array) -> Array:
        return describe(game, own, game.at_start(game.initial_noise(uniform)))

    try:
        numbers = jax.eval_shape(at_start, jnp.full((), 0.5))
    except (TypeError, AttributeError, ValueError) as error:
        if own is None:
            raise
        fault = str(error).partition("\n")[0]
        raise ValueError(f"features must be a function from an aggregate state to real numbers: {fault}") from error
    if own is not None and not numbers.size:
        raise ValueError("features must return at least one number, but return none")
    return math.comb(numbers.size + degree, degree)


def noise_chain(game: Game) -> NoiseChain | None:
    """The chain of the noise, its probabilities divided by their sums; None if it is not one."""
    with known_at_once():  # a chain of JAX arrays is known inside `jit`, too
        chain = game.noise_chain()
        return None if chain is None else chain.validate()


def innovation_rule(game: Game) -> tuple[np.ndarray, np.ndarray] | None:
    """The nodes and weights of `innovation_quadrature`; `ValueError` unless they are a rule on (0, 1)."""
    with known_at_once():  # as of `noise_chain`
        rule = game.innovation_quadrature()
        if rule is None:
            return None
        rule = jax.tree.map(np.asarray, rule)
    try:
        nodes, weights = (np.asarray(each, float) for each in rule)
    except (TypeError, ValueError):
        nodes = weights = np.zeros((0, 0))
    inside = nodes.ndim == 1 and nodes.shape == weights.shape and bool(nodes.size and ((nodes > 0) & (nodes < 1)).all())
    if not (inside and abs(weights.sum() - 1) <= _RULE_ROUNDING):
        raise ValueError(
            "innovation_quadrature must return nodes in (0, 1) and as many weights, which sum to 1, as of "
            f"games.normal_quadrature(7), but returned {rule!r:.60}"
        )
    return nodes, weights


def _unordered_chain(game: Game) -> NoiseChain | None:
    """The chain of the noise, if its values are no real numbers, so that features need its state; else None."""
    chain = noise_chain(game)
    leaves = [] if chain is None else jax.tree.leaves(chain.values)
    return None if len(leaves) == 1 and leaves[0].ndim == 1 and leaves[0].dtype.kind == "f" else chain


def next_noise_points(
    game: Game, aggregate: AggregateState, key: PRNGKeyArray, count: int, *, smooth: bool = True, drawn: bool = False
) -> tuple[Any, Float[Array, " points"]]:
    """Points of z_{t+1}, leading axis K, and their weights (K,), given z_t; see the module.

    They are for means of functions that are smooth in z_{t+1}, or else of any. With `drawn` they are shifted
    innovations, whatever law the game states.
    """
    chain, time = noise_chain(game), aggregate.time
    if chain is not None and not drawn:
        if isinstance(game, FilteredGame):
            row = game.next_probabilities(aggregate)
        else:
            row = jnp.asarray(chain.transition)[chain.state_of(aggregate.noise)]
        return jax.tree.map(lambda values, z: jnp.asarray(values, z.dtype), chain.values, aggregate.noise), row
    rule = innovation_rule(game) if smooth and not drawn else None
    if rule is None:
        uniforms = inside_unit_interval((jnp.arange(count) + jax.random.uniform(key)) / count)
        weights = jnp.full(count, 1 / count)
    else:
        uniforms, weights = constants(lambda: tuple(jnp.asarray(each, float) for each in rule))
        uniforms = inside_unit_interval(uniforms)  # where single precision has rounded a node to 1
    return jax.vmap(lambda uniform: game.next_noise(aggregate.noise, uniform, time))(uniforms), weights


def mean_reward(
    game: Game, aggregate: AggregateState, following: AggregateState, key: PRNGKeyArray
) -> Float[Array, "states actions"]:
    """The mean of the rewards (S, A) of a step over z_{t+1}; as `Basis.mean_of_next`."""
    if not reward_reads_following(game, aggregate, following):
        return game.reward_of_allowed(aggregate, following)
    noise, weights = next_noise_points(game, aggregate, key, _SHIFTED_REWARDS, smooth=False)

    def add(total: Array, point: tuple[Any, Array]) -> tuple[Array, None]:
        then = game.advance(aggregate, following.mean_field, point[0])
        return total + point[1] * game.reward_of_allowed(aggregate, then), None

    total = jnp.zeros((game.num_states, game.num_actions))
    return jax.lax.scan(add, total, (noise, weights))[0]


def reward_reads_following(game: Game, aggregate: AggregateState, following: AggregateState) -> bool:
    """Whether the program of the reward reads the noise or the public state at t+1."""

    def reward(noise: Any, public: Any) -> Array:
        then = AggregateState(following.mean_field, noise, following.time, public)
        return game.reward_of_allowed(aggregate, then)

    program = jax.make_jaxpr(reward)(following.noise, following.public).jaxpr
    reached = set(program.invars)
    for equation in program.eqns:
        if any(not hasattr(variable, "val") and variable in reached for variable in equation.invars):
            reached.update(equation.outvars)
    return any(not hasattr(variable, "val") and variable in reached for variable in program.outvars)


@eqx.filter_jit
def training_noise(game: Game, key: PRNGKeyArray, num_paths: int) -> Noise:
    """Stratified noise paths, leading axes (N, T+1), on which values are fitted.

    The values that are fitted carry no noise, so the paths need not have the law of the game, and go further. On those
    of a chain unlikely states are more frequent: probabilities are replaced by their square roots, divided by the sum.
    Otherwise the innovations of a path, as normal numbers, are all shifted by one number, which differs between paths.
    """
    uniforms = innovations(key, num_paths, finite_horizon(game) + 1, "stratified")
    chain = noise_chain(game)
    if chain is None:
        ndtr, ndtri = jax.scipy.special.ndtr, jax.scipy.special.ndtri
        shifts = _SHIFT * ndtri(innovations(jax.random.fold_in(key, 1), num_paths, 1, "stratified"))
        uniforms = inside_unit_interval(ndtr(ndtri(uniforms) + shifts))
        return jax.vmap(lambda u: noise_path(game, u))(uniforms)
    initial, transition = np.sqrt(chain.initial), np.sqrt(chain.transition)
    flat = NoiseChain(chain.values, initial / initial.sum(), transition / transition.sum(-1, keepdims=True))

    def path(uniforms: Array) -> Noise:
        first = flat.first(uniforms[0])
        _, later = jax.lax.scan(lambda z, u: (flat.following(z, u),) * 2, first, uniforms[1:])
        return jax.tree.map(lambda z0, z: jnp.concatenate([jnp.asarray(z0)[None], z]), first, later)

    return jax.vmap(path)(uniforms)
