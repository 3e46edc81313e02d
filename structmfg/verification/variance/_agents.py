"""Agents sampled one by one along a noise path, for estimators that do not know the structure of the game.

They live in the given mean field of the policy (the trajectory), and use kernel and reward only through
`Game.move_agents` and single entries of `Game.reward`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from structmfg.evaluation import Trajectory, steps
from structmfg.games import AggregateState, Game, draw_categorical, sample_next_states


class Agents(NamedTuple):
    """States and actions of N agents at t = 0..T-1, and the rewards of the steps that start there, each (T, N)."""

    states: Int[Array, "times agents"]
    actions: Int[Array, "times agents"]
    rewards: Float[Array, "times agents"]


def sample_agents(game: Game, trajectory: Trajectory, num_agents: int, key: PRNGKeyArray) -> Agents:
    """Independent agents who start by mu_0 and follow the policy of the trajectory."""
    start_key, key = jax.random.split(key)
    start = jax.random.choice(start_key, game.num_states, (num_agents,), p=trajectory.aggregates.mean_field[0])

    def step(
        states: Array, inputs: tuple[AggregateState, AggregateState, Array, PRNGKeyArray]
    ) -> tuple[Array, tuple[Array, Array, Array]]:
        aggregate, following, policy, step_key = inputs
        action_key, move_key = jax.random.split(step_key)
        actions = draw_categorical(action_key, policy[states])
        rewards = game.reward(aggregate, following)[states, actions]
        return sample_next_states(game, aggregate, states, actions, move_key), (states, actions, rewards)

    keys = jax.random.split(key, game.horizon)
    return Agents(*jax.lax.scan(step, start, (*steps(trajectory.aggregates), trajectory.policy, keys))[1])


def rewards_to_go(game: Game, rewards: Float[Array, "times agents"]) -> Float[Array, "times agents"]:
    """G_t = r_t + gamma G_{t+1}, (T, N)."""

    def step(following: Array, reward: Array) -> tuple[Array, Array]:
        to_go = reward + game.discount * following
        return to_go, to_go

    return jax.lax.scan(step, jnp.zeros_like(rewards[0]), rewards, reverse=True)[1]
