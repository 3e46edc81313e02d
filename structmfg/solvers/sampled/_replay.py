"""A replay: the latest transitions of all populations, from which batches are drawn."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from structmfg.games import Observation
from structmfg.solvers.sampled._experience import Transitions


class Replay(NamedTuple):
    """The latest steps of all populations, in a ring, and how many were ever put in."""

    ring: Transitions
    total: Int[Array, ""]


def empty_replay(like: Transitions, size: int) -> Replay:
    """A replay of `size` steps of the same shape as the steps `like`."""
    return Replay(jax.tree.map(lambda x: jnp.zeros((size, *x.shape[1:]), x.dtype), like), jnp.zeros((), int))


def add_to_replay(replay: Replay, steps: Transitions) -> Replay:
    """The replay with the steps (leading axis), no more than it holds, in place of the oldest."""
    size, more = replay.ring.done.shape[0], steps.done.shape[0]
    places = (replay.total + jnp.arange(more)) % size
    return Replay(jax.tree.map(lambda all_, x: all_.at[places].set(x), replay.ring, steps), replay.total + more)


def sample_replay(replay: Replay, key: PRNGKeyArray, num_observations: int, agents_per_observation: int) -> Transitions:
    """Transitions drawn uniformly, with replacement: of some agents at each of some observations."""
    size, populations, agents = replay.ring.rewards.shape
    moment_key, agent_key = jax.random.split(key)
    moment = jax.random.randint(moment_key, (num_observations,), 0, jnp.minimum(replay.total, size) * populations)
    agent = jax.random.randint(agent_key, (num_observations, agents_per_observation), 0, agents)

    def of_moments(x: Array) -> Array:
        return x.reshape(size * populations, *x.shape[2:])[moment]

    def of_agents(x: Array) -> Array:
        return jnp.take_along_axis(of_moments(x), agent, axis=1)

    def observed(x: Observation) -> Observation:
        allowed = None if x.allowed is None else jnp.take_along_axis(of_moments(x.allowed), agent[..., None], axis=1)
        return Observation(of_agents(x.states), of_moments(x.observation), of_moments(x.time), allowed)

    ring = replay.ring
    return Transitions(
        observed(ring.observed),
        of_agents(ring.actions),
        of_agents(ring.rewards),
        observed(ring.next_observed),
        of_moments(ring.done),
    )
