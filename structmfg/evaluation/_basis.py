"""Features of aggregate states, in which values are linear, and their means given the noise so far.

An aggregate state is described by numbers (real noise, the public state, the aggregates of the mean field) and by the
state of a chain whose values are no real numbers. Features are all monomials of the numbers up to a degree, after each
number has been given mean zero and deviation one at every time; with a chain, one such set for each of its states.

The mean of the features at t+1, given all that is known at t, is a sum over points of z_{t+1}:

- of a chain, its states with their probabilities;
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

DescribeState = Callable[[AggregateState], Array]


class Basis(eqx.Module):
    """Features of a game's aggregate states, standardised by a sample of them.

    Attributes:
        game: The game.
        degree: The largest degree of a monomial.
        describe: A user's function from an aggregate state before agents act to numbers (B,); None for the game's own.
        centre: (T+1, B); the mean of every number at every time.
        scale: (T+1, B); one over its deviation, zero where it does not vary.
    """

    game: Game = eqx.field(static=True)
    degree: int = eqx.field(static=True)
    describe: DescribeState | None = eqx.field(static=True)
    centre: Float[Array, "times numbers"]
    scale: Float[Array, "times numbers"]

    @property
    def size(self) -> int:
        """F, the number of features."""
        return num_features(self.game, self.degree, self.describe)

    def __call__(self, aggregate: AggregateState) -> Float[Array, " features"]:
        """The features (F,) of an aggregate state; the first one, or the sum of the first of every chain state, is 1.

        They do not read price and actions.
        """
        numbers, cells = describe(self.game, self.describe, aggregate)
        standard = (numbers - self.centre[aggregate.time]) * self.scale[aggregate.time]
        monomials = [jnp.ones(())]
        for degree in range(1, self.degree + 1):
            for factors in itertools.combinations_with_replacement(range(standard.size), degree):
                monomials.append(jnp.prod(standard[np.array(factors)]))
        return jnp.ravel(cells[:, None] * jnp.stack(monomials))

    def mean_of_next(
        self, aggregate: AggregateState, following: AggregateState, key: PRNGKeyArray
    ) -> Float[Array, " features"]:
        """The mean (F,) of the features at t+1, given the aggregate state at t and the next mean field.

        Args:
            aggregate: The aggregate state at t, with its price and actions.
            following: That at t+1, of which only the mean field is read: it follows from what is known at t.
            key: A key of `jax.random`, for the shift.
        """
        noise, weights = next_noise_points(self.game, aggregate, key, SHIFTED_POINTS)
        at_points = jax.vmap(lambda z: self(self.game.advance(aggregate, following.mean_field, z)))(noise)
        return jnp.matmul(weights, at_points, precision="highest")


def standardised(
    game: Game, degree: int, describe: DescribeState | None, numbers: Float[Array, "paths times numbers"]
) -> Basis:
    """The basis whose numbers have mean zero and deviation one, at every time, in a sample of N paths."""
    centre, deviation = jnp.mean(numbers, axis=0), jnp.std(numbers, axis=0)
    rounding = jnp.finfo(numbers.dtype).eps ** (2 / 3)  # what varies by less, relative to its size, is constant
    varies = deviation > rounding * jnp.max(jnp.abs(numbers), axis=0)
    return Basis(game, degree, describe, centre, jnp.where(varies, 1 / jnp.where(varies, deviation, 1), 0))


def describe(
    game: Game, own: DescribeState | None, aggregate: AggregateState
) -> tuple[Float[Array, " numbers"], Float[Array, " cells"]]:
    """The numbers (B,) that describe an aggregate state, and the indicators of the chain's state, or a single one."""
    aggregate = aggregate.before_acting()
    if own is not None:
        return jnp.ravel(jnp.asarray(own(aggregate), float)), jnp.ones(1)
    chain = _cell_chain(game)
    parts = [] if chain else jax.tree.leaves(aggregate.noise)
    parts += [*jax.tree.leaves(aggregate.public), game.aggregates(aggregate.mean_field)]
    numbers = jnp.concatenate([jnp.ravel(part).astype(float) for part in parts])
    return numbers, jnp.ones(1) if chain is None else jax.nn.one_hot(chain.state_of(aggregate.noise), chain.num_states)


def num_features(game: Game, degree: int, own: DescribeState | None) -> int:
    """F, the number of features."""

    def at_start(uniform: Array) -> tuple[Array, Array]:
        return describe(game, own, game.at_start(game.initial_noise(uniform)))

    try:
        numbers, cells = jax.eval_shape(at_start, jnp.full((), 0.5))
    except (TypeError, AttributeError, ValueError) as error:
        if own is None:
            raise
        fault = str(error).partition("\n")[0]
        raise ValueError(f"features must be a function from an aggregate state to real numbers: {fault}") from error
    if own is not None and not numbers.size:
        raise ValueError("features must return at least one number, but return none")
    return cells.size * math.comb(numbers.size + degree, degree)


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


def _cell_chain(game: Game) -> NoiseChain | None:
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
        row = jnp.asarray(chain.transition)[chain.state_of(aggregate.noise)]
        return jax.tree.map(lambda values, z: jnp.asarray(values, z.dtype), chain.values, aggregate.noise), row
    rule = innovation_rule(game) if smooth and not drawn else None
    if rule is None:
        uniforms = inside_unit_interval((jnp.arange(count) + jax.random.uniform(key)) / count)
        weights = jnp.full(count, 1 / count)
    else:
        uniforms, weights = constants(lambda: tuple(jnp.asarray(each, float) for each in rule))
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

    On those of a chain unlikely states are more frequent than in the game, so that they are seen at all: probabilities
    are replaced by their square roots, divided by the sum. The targets of the regression carry no noise, so the paths
    need not have the law of the game.
    """
    uniforms = innovations(key, num_paths, finite_horizon(game) + 1, "stratified")
    chain = noise_chain(game)
    if chain is None:
        return jax.vmap(lambda u: noise_path(game, u))(uniforms)
    initial, transition = np.sqrt(chain.initial), np.sqrt(chain.transition)
    flat = NoiseChain(chain.values, initial / initial.sum(), transition / transition.sum(-1, keepdims=True))

    def path(uniforms: Array) -> Noise:
        first = flat.first(uniforms[0])
        _, later = jax.lax.scan(lambda z, u: (flat.following(z, u),) * 2, first, uniforms[1:])
        return jax.tree.map(lambda z0, z: jnp.concatenate([jnp.asarray(z0)[None], z]), first, later)

    return jax.vmap(path)(uniforms)
