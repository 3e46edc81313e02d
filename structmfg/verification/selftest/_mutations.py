"""Faults, put on purpose into a small linear-quadratic game or into the package's own methods.

Each is one that a person could make: a sign, a transpose, an index of time, a wall, a forgotten factor. `verify` must
find every one of them (`self_test`).
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from typing_extensions import override

from structmfg.evaluation import policy_gradient, policy_values, rollout, steps
from structmfg.games import AggregateState, Game, LinearQuadratic, NoisePaths
from structmfg.operators import DenseKernel, SuccessorKernel, Successors, TransitionKernel
from structmfg.solvers.gradient import RSPG
from structmfg.verification._stages import Methods
from structmfg.verification.laws import rspg_loss_gradient

SIZES: dict[str, Any] = {"num_states": 11, "max_action": 2, "horizon": 4, "first": 1, "last": 2, "push": 4.0}


class Mutation(NamedTuple):
    """A fault: its description, and the game and methods that have it."""

    name: str
    game: Game
    methods: Methods


def baseline_game() -> LinearQuadratic:
    """The game without a fault."""
    return LinearQuadratic(**SIZES)


# Faults of operators.


class Altered(TransitionKernel):
    """A kernel with some of its functions replaced."""

    kernel: TransitionKernel
    functions: tuple[tuple[str, Callable[..., Any]], ...] = eqx.field(static=True)

    def _call(self, name: str, argument: Any = None) -> Any:
        replacement = dict(self.functions).get(name)
        if replacement is not None:
            return replacement(self.kernel, argument)
        own = getattr(self.kernel, name)
        return own() if argument is None else own(argument)

    @property
    @override
    def num_states(self) -> int:
        return self.kernel.num_states

    @property
    @override
    def num_actions(self) -> int:
        return self.kernel.num_actions

    @override
    def expect(self, values: Float[Array, " states"]) -> Float[Array, "states actions"]:
        return self._call("expect", values)

    @override
    def push(self, mass: Float[Array, "states actions"]) -> Float[Array, " states"]:
        return self._call("push", mass)

    @override
    def successors(self) -> Successors:
        return self._call("successors")


def _with_functions(**functions: Callable[..., Any]) -> Callable[[Any], Any]:
    """The kernel with these functions in place of its own."""
    return lambda kernel: Altered(kernel, tuple(functions.items()))


def _dense(change: Callable[[Array], Array]) -> Callable[[Any], Any]:
    """The kernel with its probabilities P[s, a, s'] changed, in all its forms alike."""
    return lambda kernel: DenseKernel(change(kernel.as_dense()), checks=False)


def _stencil() -> np.ndarray:
    """The idiosyncratic noise as a matrix (S, S)."""
    game = baseline_game()
    targets, probabilities = game._noise
    matrix = np.zeros((game.num_states, game.num_states))
    np.add.at(matrix, (np.arange(game.num_states)[:, None], targets), probabilities)
    return matrix


def _nudged(dense: Array) -> Array:
    """Probability 0.02 moved from one successor to another, at one state and action."""
    top = jnp.argmax(dense[3, 1])
    return dense.at[3, 1, top].add(-0.02).at[3, 1, (top + 1) % dense.shape[2]].add(0.02)


def _without_last(kernel: TransitionKernel, _: None) -> Successors:
    indices, probabilities = kernel.successors()
    return Successors(indices[..., :-1], probabilities[..., :-1])


def _off_by_one(kernel: TransitionKernel, _: None) -> Successors:
    indices, probabilities = kernel.successors()
    return Successors((indices + 1) % kernel.num_states, probabilities)


def _negative(dense: Array) -> Array:
    return dense.at[2, 0, 0].add(-0.3).at[2, 0, 4].add(0.3)


def _transposed(kernel: TransitionKernel, mass: Array) -> Array:
    return jnp.einsum("tas,sa->t", kernel.as_dense(), mass)


def _spread_over_actions(kernel: TransitionKernel, mass: Array) -> Array:
    return kernel.push(jnp.broadcast_to(mass.mean(axis=1, keepdims=True), mass.shape))


KERNELS: dict[str, Callable[[Any], Any]] = {
    "push by P instead of its transpose": _with_functions(push=_transposed),
    "push one cell too far": _with_functions(push=lambda k, m: jnp.roll(k.push(m), 1)),
    "push loses a thousandth of the mass": _with_functions(push=lambda k, m: 0.999 * k.push(m)),
    "push forgets which action": _with_functions(push=_spread_over_actions),
    "expect one cell too far": _with_functions(expect=lambda k, v: k.expect(jnp.roll(v, 1))),
    "expect clips at zero": _with_functions(expect=lambda k, v: jnp.maximum(k.expect(v), 0)),
    "expect has actions reversed": _with_functions(expect=lambda k, v: k.expect(v)[:, ::-1]),
    "list of successors one off": _with_functions(successors=_off_by_one),
    "list of successors without its last entry": _with_functions(successors=_without_last),
    "everything one cell too far": _dense(lambda p: jnp.roll(p, 1, axis=2)),
    "actions reversed": _dense(lambda p: p[:, ::-1]),
    "states reversed": _dense(lambda p: p[::-1]),
    "noise applied twice": _dense(lambda p: p @ jnp.asarray(_stencil(), p.dtype)),
    "one probability off by 0.02": _dense(_nudged),
    "a negative probability": _dense(_negative),
    "rows sum to 1.001": _dense(lambda p: 1.001 * p),
}


def _unclipped(self: LinearQuadratic, aggregate: AggregateState) -> TransitionKernel:
    """The kernel on a ring: agents pass the ends of the line instead of stopping there."""
    shift = jnp.round(self._direction(aggregate) * self.volatility * self.correlation * self.push).astype(int)
    steps = jnp.asarray(np.round(math.sqrt(1 - self.correlation**2) * np.arange(-3, 4)).astype(int))
    start = jnp.arange(self.num_states)[:, None] + jnp.asarray(self.actions)
    targets = (start[:, :, None] + shift + steps) % self.num_states
    return SuccessorKernel(targets, jnp.broadcast_to(jnp.asarray(self._noise[1], float), targets.shape))


def _at(**changes: Callable[[AggregateState], Any]) -> Callable[[Any, AggregateState], TransitionKernel]:
    """The kernel at another aggregate state."""

    def kernel(self: Game, aggregate: AggregateState) -> TransitionKernel:
        fields = {name: change(aggregate) for name, change in changes.items()}
        return LinearQuadratic.kernel(self, dataclasses.replace(aggregate, **fields))  # type: ignore[arg-type]

    return kernel


def _kernel_of(change: Callable[[Any], Any]) -> Callable[[Any, AggregateState], TransitionKernel]:
    return lambda self, aggregate: change(LinearQuadratic.kernel(self, aggregate))


# Faults of rewards, observations, noise and declarations.


Pair = tuple[AggregateState, AggregateState]


def _reward_of(change: Callable[[AggregateState, AggregateState], Pair]) -> Callable[..., Array]:
    """The reward at other aggregate states."""
    return lambda self, aggregate, following: LinearQuadratic.reward(self, *change(aggregate, following))


def _spoiled(self: LinearQuadratic, aggregate: AggregateState, following: AggregateState) -> Array:
    rewards = LinearQuadratic.reward(self, aggregate, following)
    return rewards.at[5, 2].set(jnp.where(aggregate.time == 2, jnp.nan, rewards[5, 2]))


def _crowded(self: LinearQuadratic, aggregate: AggregateState, following: AggregateState) -> Array:
    return LinearQuadratic.reward(self, aggregate, following) - aggregate.mean_field[:, None]


def _unfair(self: LinearQuadratic) -> NoisePaths:
    paths = LinearQuadratic.scenarios(self)
    return NoisePaths(paths.noise, jnp.array([0.4, 0.6]))


def _half(self: LinearQuadratic) -> NoisePaths:
    paths = LinearQuadratic.scenarios(self)
    return NoisePaths(jax.tree.map(lambda z: z[:1], paths.noise), paths.probabilities[:1])


def _heavy(self: LinearQuadratic) -> NoisePaths:
    paths = LinearQuadratic.scenarios(self)
    return NoisePaths(paths.noise, 1.01 * paths.probabilities)


def _overfull(self: LinearQuadratic, noise: Any) -> Array:
    return jnp.full(self.num_states, 1.01 / self.num_states)


def _tilted(self: LinearQuadratic, noise: Any) -> Array:
    weights = 1 + jnp.arange(self.num_states) / 50
    return weights / weights.sum()


GAMES: dict[str, dict[str, Callable[..., Any]]] = {
    **{name: {"kernel": _kernel_of(change)} for name, change in KERNELS.items()},
    "walls left open": {"kernel": _unclipped},
    "kernel of the next time": {"kernel": _at(time=lambda a: a.time + 1)},
    "kernel of the time before": {"kernel": _at(time=lambda a: a.time - 1)},
    "common shock with the wrong sign": {"kernel": _at(noise=lambda a: -a.noise)},
    "reward with the wrong sign": {"reward": lambda self, a, f: -LinearQuadratic.reward(self, a, f)},
    "reward by the mean of now, not of next": {"reward": _reward_of(lambda a, f: (a, a))},
    "last reward a step early": {"reward": _reward_of(lambda a, f: (dataclasses.replace(a, time=a.time + 1), f))},
    "last reward forgotten": {"reward": _reward_of(lambda a, f: (dataclasses.replace(a, time=0 * a.time), f))},
    "a reward that is not a number": {"reward": _spoiled},
    "crowds in the reward, not in the aggregates": {"reward": _crowded},
    "observation that is not a number": {"observe": lambda self, a: LinearQuadratic.observe(self, a) / (2 - a.time)},
    "observation in other units": {"observe": lambda self, a: LinearQuadratic.observe(self, a) / self.num_states},
    "initial mean field sums to 1.01": {"initial_mean_field": _overfull},
    "initial mean field tilted": {"initial_mean_field": _tilted},
    "coin with probability 0.6 when sampled": {"initial_noise": lambda self, u: jnp.where(u < 0.6, -1, 1)},
    "coin tossed again at every step": {"next_noise": lambda self, z, u, t: jnp.where(u < 0.5, -1, 1)},
    "scenarios weighted 0.4 and 0.6": {"scenarios": _unfair},
    "scenarios that sum to 1.01": {"scenarios": _heavy},
    "a scenario forgotten": {"scenarios": _half},
}


# Faults of methods.


def _values(change: Callable[[Any, Any, Any], Any]) -> dict[str, Callable[..., Any]]:
    return {"policy_values": lambda game, aggregates, policy: policy_values(*change(game, aggregates, policy))}


def _late(aggregates: AggregateState) -> AggregateState:
    return dataclasses.replace(aggregates, time=aggregates.time + 1)


def _gradient(change: Callable[[Array, Any, Any], Array]) -> dict[str, Callable[..., Any]]:
    """A policy gradient that is changed, given the game and the aggregates."""

    def altered(game: Game, aggregates: AggregateState, logits: Array, temperature: Array) -> Any:
        plain, soft, gradient = policy_gradient(game, aggregates, logits, temperature)
        return plain, soft, change(gradient, game, aggregates)

    return {"policy_gradient": altered}


def _undiscounted(gradient: Array, game: Game, aggregates: AggregateState) -> Array:
    return gradient / game.discount ** aggregates.time[:-1, None, None]


def _leaky(solver: RSPG, game: Game, parameters: Any, trajectories: Any, paths: NoisePaths) -> Any:
    """The gradient of the population's return, through mean field and observations, which depend on the parameters."""

    def population(parameters: Any) -> Array:
        policy = solver.policy.with_parameters(parameters)

        def along(noise: Any) -> Array:
            path = rollout(game, policy, noise)
            rewards = jnp.sum(path.policy * jax.vmap(game.reward)(*steps(path.aggregates)), axis=-1)
            discounted = game.discount ** jnp.arange(game.horizon)[:, None] * path.aggregates.mean_field[:-1]
            return jnp.sum(discounted * rewards)

        return -paths.probabilities @ jax.vmap(along)(paths.noise)

    return jax.grad(population)(parameters)


def _late_rollout(game: Game, policy: Any, noise: Any) -> Any:
    """The rollout in which every step uses the policy of the step before."""
    path = rollout(game, policy, noise)
    return rollout(game, eqx.tree_at(lambda p: p.table, policy, jnp.roll(path.policy, 1, axis=0)), noise)


METHODS: dict[str, dict[str, Callable[..., Any]]] = {
    "Horner's rule without discount": _values(lambda g, a, p: (dataclasses.replace(g, discount=1.0), a, p)),
    "Horner's rule with the kernels of the next time": _values(lambda g, a, p: (g, _late(a), p)),
    "Horner's rule with the policy of the next time": _values(lambda g, a, p: (g, a, jnp.roll(p, -1, axis=0))),
    "rollout with the policy of the time before": {"rollout": _late_rollout},
    "gradient with the wrong sign": _gradient(lambda x, game, a: -x),
    "gradient without gamma^t": _gradient(_undiscounted),
    "gradient a step late": _gradient(lambda x, game, a: jnp.roll(x, 1, axis=0)),
    "gradient without the last step": _gradient(lambda x, game, a: x.at[-1].set(0.0)),
    "gradient through the mean field": {"loss_gradient": _leaky},
    "RSPG descends": {"loss_gradient": lambda *args: jax.tree.map(jnp.negative, rspg_loss_gradient(*args))},
}


def mutations() -> list[Mutation]:
    """All faults, one at a time."""
    games = [
        Mutation(name, type("LinearQuadratic", (LinearQuadratic,), methods)(**SIZES), Methods())
        for name, methods in GAMES.items()
    ]
    return games + [Mutation(name, baseline_game(), Methods(**methods)) for name, methods in METHODS.items()]
