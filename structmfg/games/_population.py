"""A game as a finite population plays it: N agents who act and move one by one, within their own empirical mean field.

It is a black box: nobody who plays it sees kernels or rewards, only what becomes of the agents. The interface is that
of gymnax (Lange 2022), with one key a call and populations that start anew when they reach T.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from structmfg._checks import check_integer, check_kind, check_shape, check_whole
from structmfg.games._base import AggregateState, Game, Noise


class Observation(NamedTuple):
    """What N agents see: each its own state (N,), and all of them the public observation and the clock."""

    states: Int[Array, "*populations agents"]
    observation: Float[Array, "*populations observation"]
    time: Int[Array, "*populations"]


class PopulationState(NamedTuple):
    """The states of N agents, and the aggregate state, whose mean field is their empirical one."""

    agents: Int[Array, "*populations agents"]
    aggregate: AggregateState


@dataclasses.dataclass(frozen=True)
class PopulationGame:
    """The game of `num_agents` players. `reset` and `step` are pure and may be mapped over populations by `vmap`.

    Agents meet the common noise, drawn anew for every population, and each other: prices, rewards and observations
    follow from the empirical mean field. `ValueError` unless `num_agents` is a whole number of at least one.
    """

    game: Game
    num_agents: int

    def __post_init__(self) -> None:
        check_kind("game", self.game, Game)
        check_integer("num_agents", self.num_agents, at_least=1)

    def reset(self, key: PRNGKeyArray) -> tuple[Observation, PopulationState]:
        """A population at t = 0, drawn from mu_0, and what it sees."""
        noise_key, agents_key = jax.random.split(key)
        state = self.start(agents_key, self.game.initial_noise(_uniform(noise_key)))
        return self.seen(state), state

    def step(
        self, key: PRNGKeyArray, state: PopulationState, actions: Int[Array, " agents"]
    ) -> tuple[Observation, PopulationState, Float[Array, " agents"], Bool[Array, ""]]:
        """What the agents see next, the state, the reward of each, and whether the horizon was reached.

        Where it was, state and what is seen are those of a new population at t = 0. `ValueError` on actions that are
        not in 0..A-1 (where they are known, outside `jit`).
        """
        noise_key, move_key, reset_key = jax.random.split(key, 3)
        aggregate = state.aggregate
        noise = self.game.next_noise(aggregate.noise, _uniform(noise_key), aggregate.time)
        moved, rewards = self.move(move_key, state, actions, noise)
        done = moved.aggregate.time >= self.game.horizon
        state = jax.tree.map(lambda new, old: jnp.where(done, new, old), self.reset(reset_key)[1], moved)
        return self.seen(state), state, rewards, done

    def start(self, key: PRNGKeyArray, noise: Noise) -> PopulationState:
        """A population at t = 0 where the common noise is z_0."""
        mass = self.game.initial_mean_field(noise)
        agents = jax.random.choice(key, self.game.num_states, (self.num_agents,), p=mass)
        return PopulationState(agents, self._with_empirical_mean_field(agents, noise, jnp.zeros((), int)))

    def move(
        self, key: PRNGKeyArray, state: PopulationState, actions: Int[Array, " agents"], noise: Noise
    ) -> tuple[PopulationState, Float[Array, " agents"]]:
        """One step to a given common noise z_{t+1}, without starting anew: the state, and the reward of each agent."""
        check_actions(actions, self.game.num_actions)
        agents, aggregate = state
        check_shape("actions", jnp.asarray(actions), agents.shape)
        moved = move(self.game, aggregate, agents, actions, key)
        following = self._with_empirical_mean_field(moved, noise, aggregate.time + 1)
        return PopulationState(moved, following), self.game.reward(aggregate, following)[agents, actions]

    def seen(self, state: PopulationState) -> Observation:
        """What the agents see in a state."""
        return Observation(state.agents, self.game.observe(state.aggregate), state.aggregate.time)

    def _with_empirical_mean_field(
        self, agents: Int[Array, " agents"], noise: Noise, time: Int[Array, ""]
    ) -> AggregateState:
        return AggregateState(count(agents, self.game.num_states) / self.num_agents, noise, time)


def check_actions(actions: Int[Array, " agents"], num_actions: int) -> None:
    """Raise `ValueError` unless all are whole numbers in 0..A-1, where their values are known."""
    check_whole("actions", actions, 0, num_actions - 1)


def _uniform(key: PRNGKeyArray) -> Float[Array, ""]:
    """An innovation in (0, 1)."""
    uniform = jax.random.uniform(key)
    edge = jnp.finfo(uniform.dtype).eps
    return jnp.clip(uniform, edge, 1 - edge)


def move(
    game: Game,
    aggregate: AggregateState,
    states: Int[Array, " agents"],
    actions: Int[Array, " agents"],
    key: PRNGKeyArray,
) -> Int[Array, " agents"]:
    """The agents' next states. `ValueError` unless the game gives one whole number an agent."""
    moved = game.move_agents(aggregate, states, actions, key)
    if not (hasattr(moved, "dtype") and moved.shape == states.shape and jnp.issubdtype(moved.dtype, jnp.integer)):
        given = f"{moved.dtype} of shape {moved.shape}" if hasattr(moved, "dtype") else f"a {type(moved).__name__}"
        raise ValueError(f"move_agents must return whole numbers of shape (agents,) = {states.shape}, not {given}")
    return moved.astype(states.dtype)


def count(states: Int[Array, " agents"], num_states: int) -> Int[Array, " states"]:
    """The number of agents in every state; those outside 0..S-1 are left out."""
    inside = jnp.where(states < 0, num_states, states)  # a negative index would count from the end
    return jnp.zeros(num_states, int).at[inside].add(1, mode="drop")


def draw_actions(
    key: PRNGKeyArray, policy: Float[Array, "states actions"], states: Int[Array, " agents"]
) -> Int[Array, " agents"]:
    """An action for every agent by inversion of pi(. | s); none of probability zero, as the draw lies in (0, total]."""
    below = jnp.cumsum(policy, axis=-1)
    drawn = below[states, -1] * (1 - jax.random.uniform(key, states.shape))
    return jnp.sum(below[states] < drawn[:, None], axis=-1)
