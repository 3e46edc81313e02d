"""What solvers learn from that see a game only as finite populations play it.

P populations of N agents play side by side, each with common noise of its own. Nothing here asks for a kernel, a reward
matrix or an exact mean field: rewards are those that agents met.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from structmfg.games import Game, Observation, PopulationGame, PopulationState, draw_categorical
from structmfg.policies import Critic, Hidden, Network, NetworkPolicy

_WHOLE = 128  # state-action pairs an agent up to which its row is read off a whole table; beyond, rows are evaluated


class Step(NamedTuple):
    """One step of all populations: what was seen, done, earned, seen next, and whether they reached the horizon.

    Where they did, what is seen next is a new population's.
    """

    seen: Observation
    actions: Int[Array, "*times populations agents"]
    rewards: Float[Array, "*times populations agents"]
    following: Observation
    done: Bool[Array, "*times populations"]


Choose = Callable[[Any, Observation, PRNGKeyArray], tuple[Any, Int[Array, "populations agents"], Any]]


def start(game: PopulationGame, num_populations: int, key: PRNGKeyArray) -> PopulationState:
    """Populations at t = 0."""
    return jax.vmap(game.reset)(jax.random.split(key, num_populations))[1]


def play(
    game: PopulationGame, populations: PopulationState, memory: Any, choose: Choose, key: PRNGKeyArray, num_steps: int
) -> tuple[PopulationState, Any, Step, Any]:
    """So many steps in succession, with a new population where one reached T.

    `choose` maps a memory, what is seen and a key to the memory, the actions (P, N), and what else is to be kept. Gives
    populations and memory reached, the steps (leading axis: times), and what was kept.
    """

    def step(carry: tuple[PopulationState, Any], key: PRNGKeyArray) -> tuple[tuple[PopulationState, Any], Any]:
        populations, memory = carry
        choice_key, *keys = jax.random.split(key, populations.agents.shape[0] + 1)
        seen = jax.vmap(game.observe)(populations)
        memory, actions, kept = choose(memory, seen, choice_key)
        following, populations, rewards, done = jax.vmap(game.step)(jnp.stack(keys), populations, actions)
        return (populations, memory), (Step(seen, actions, rewards, following, done), kept)

    (populations, memory), (steps, kept) = jax.lax.scan(step, (populations, memory), jax.random.split(key, num_steps))
    return populations, memory, steps, kept


def play_uniformly(game: PopulationGame, num_populations: int, key: PRNGKeyArray) -> Step:
    """All steps of one life of populations whose agents act uniformly at random."""

    def choose(memory: None, seen: Observation, key: PRNGKeyArray) -> tuple[None, Array, None]:
        return None, jax.random.randint(key, seen.states.shape, 0, game.game.num_actions), None

    start_key, key = jax.random.split(key)
    return play(game, start(game, num_populations, start_key), None, choose, key, game.game.horizon)[2]


def scale_of_returns(rewards: Float[Array, "times populations agents"], discount: float) -> Float[Array, ""]:
    """The root mean square of the discounted returns to go over all times of a life; one where it is zero."""

    def back(following: Array, rewards: Array) -> tuple[Array, Array]:
        returns = rewards + discount * following
        return returns, returns

    returns = jax.lax.scan(back, jnp.zeros_like(rewards[0]), rewards, reverse=True)[1]
    scale = jnp.sqrt(jnp.mean(returns**2))
    return jnp.where(scale == 0, 1.0, scale)


def latest_rewards(known: Float[Array, " horizon"], steps: Step) -> Float[Array, " horizon"]:
    """The mean reward at every t of a life, over the steps where they have been at t, else as known before."""
    times = jnp.ravel(steps.seen.time)
    totals = jnp.zeros_like(known).at[times].add(jnp.ravel(jnp.mean(steps.rewards, axis=-1)))
    visits = jnp.zeros_like(known).at[times].add(1)
    return jnp.where(visits > 0, totals / jnp.maximum(visits, 1), known)


def mean_return(game: Game, rewards: Float[Array, " horizon"]) -> Float[Array, ""]:
    """sum_t gamma^t times the mean reward at t."""
    return jnp.sum(game.discount ** jnp.arange(game.horizon) * rewards)


def histories(network: Network, hidden: Hidden, seen: Observation) -> tuple[Hidden, Hidden]:
    """The hidden states of populations before they act, along axes (times, populations), and the last of them.

    `hidden` are those before the first of these observations; where a population is at t = 0, its history is empty.
    """
    if not network.settings.recurrent:
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (seen.observation, seen.time))
        all_ = jax.vmap(lambda *now: network.update(network.start(), *now))(*flat)
        all_ = jax.tree.map(lambda x: x.reshape(*seen.time.shape, *x.shape[1:]), all_)
        return all_, jax.tree.map(lambda x: x[-1], all_)

    def step(hidden: Hidden, now: Observation) -> tuple[Hidden, Hidden]:
        hidden = remember(network, hidden, now)
        return hidden, hidden

    last, all_ = jax.lax.scan(step, hidden, seen)
    return all_, last


def remember(network: Network, hidden: Hidden, seen: Observation) -> Hidden:
    """The hidden states of populations once they have seen this; those at t = 0 forget what was before."""

    def one(hidden: Hidden, observation: Array, time: Array) -> Hidden:
        hidden = jax.tree.map(lambda new, old: jnp.where(time == 0, new, old), network.start(), hidden)
        return network.update(hidden, observation, time)

    return jax.vmap(one)(hidden, seen.observation, seen.time)


def rows(
    network: NetworkPolicy | Critic, prepared: Any, hidden: Hidden, states: Int[Array, "*batch agents"]
) -> Float[Array, "..."]:
    """What a network, prepared, says of some states, given hidden states with the same leading axes."""
    lead = states.shape[:-1]
    hidden = jax.tree.map(lambda x: x.reshape(-1, *x.shape[len(lead) :]), hidden)
    flat = states.reshape(-1, states.shape[-1])

    def one(hidden: Hidden, states: Array) -> Array:
        if network.game.num_states * network.game.num_actions <= _WHOLE * states.shape[0]:
            return network.decode(prepared, hidden)[states]
        return network.decode(jax.tree.map(lambda x: x[states], prepared), hidden)

    out = jax.vmap(one)(hidden, flat)
    return out.reshape(*lead, *out.shape[1:])


def log_probability(logits: Float[Array, "*batch actions"], actions: Int[Array, "*batch"]) -> Float[Array, "*batch"]:
    """log pi(a) under softmax(logits)."""
    return jnp.take_along_axis(jax.nn.log_softmax(logits), actions[..., None], axis=-1)[..., 0]


def sample(logits: Float[Array, "*batch actions"], key: PRNGKeyArray) -> Int[Array, "*batch"]:
    """Actions of softmax(logits)."""
    return draw_categorical(key, jax.nn.softmax(logits))
