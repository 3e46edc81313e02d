"""What solvers learn from that see a game only as finite populations play it.

P populations of N agents play side by side, each with common noise of its own. Nothing here asks for a kernel, a reward
matrix or an exact mean field: rewards are those that agents met.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from structmfg.evaluation import FORBIDDEN_LOGIT
from structmfg.games import AggregateState, Game, Observation, PopulationGame, PopulationState, draw_categorical
from structmfg.policies import Critic, Hidden, Network, NetworkPolicy

# The most state-action pairs per agent for which a network is decoded in all states at once, and the agents' rows read
# off; beyond, it is decoded in the agents' states alone.
_MAX_TABLE_PAIRS_PER_AGENT = 128


class Transitions(NamedTuple):
    """One step of all populations, or several with a leading axis of times.

    Attributes:
        observed: What the agents observed before they acted.
        actions: What they did.
        rewards: What they earned.
        next_observed: What they observed next; where `done`, it is a new population's.
        done: Whether the population reached the horizon.
    """

    observed: Observation
    actions: Int[Array, "*times populations agents"]
    rewards: Float[Array, "*times populations agents"]
    next_observed: Observation
    done: Bool[Array, "*times populations"]


Choose = Callable[[Any, Observation, PRNGKeyArray], tuple[Any, Int[Array, "populations agents"], Any]]

Respond = Callable[[Any, AggregateState], Float[Array, "states actions"]]


def start(
    game: PopulationGame, num_populations: int, key: PRNGKeyArray, memory: Any, respond: Respond
) -> PopulationState:
    """Populations at t = 0; memory and `respond` as of `play`."""

    def one(key: PRNGKeyArray, memory: Any) -> PopulationState:
        return game.reset(key, functools.partial(respond, memory))[1]

    return jax.vmap(one)(jax.random.split(key, num_populations), memory)


def play(
    game: PopulationGame,
    populations: PopulationState,
    memory: Any,
    choose: Choose,
    respond: Respond,
    key: PRNGKeyArray,
    num_steps: int,
) -> tuple[PopulationState, Any, Transitions, Any]:
    """Play some steps in succession, with a new population in place of each that reaches T.

    `choose` maps a memory, an observation and a key to the next memory, the actions (P, N), and what is to be recorded.
    `respond` maps the memory of one population and its aggregate state to the policy that clears markets.
    Returns the populations and the memory after the last step, the transitions (leading axis: times), and the records.
    """

    def step(carry: tuple[PopulationState, Any], key: PRNGKeyArray) -> tuple[tuple[PopulationState, Any], Any]:
        populations, memory = carry
        choice_key, *keys = jax.random.split(key, populations.agents.shape[0] + 1)
        observed = jax.vmap(game.observe)(populations)
        memory, actions, recorded = choose(memory, observed, choice_key)

        def step_one(key: PRNGKeyArray, state: PopulationState, actions: Array, memory: Any) -> Any:
            return game.step(key, state, actions, functools.partial(respond, memory))

        own = 0 if "price" in game.game.declared else None  # whose memory `respond` is given: each population's own
        step_all = jax.vmap(step_one, (0, 0, 0, own))
        following, populations, rewards, done = step_all(jnp.stack(keys), populations, actions, memory)
        return (populations, memory), (Transitions(observed, actions, rewards, following, done), recorded)

    keys = jax.random.split(key, num_steps)
    (populations, memory), (transitions, records) = jax.lax.scan(step, (populations, memory), keys)
    return populations, memory, transitions, records


def play_uniformly(game: PopulationGame, num_populations: int, key: PRNGKeyArray) -> Transitions:
    """Play one whole life of populations whose agents act uniformly at random."""

    def choose(memory: None, observed: Observation, key: PRNGKeyArray) -> tuple[None, Array, None]:
        return None, draw_uniformly(observed, game.game.num_actions, key), None

    def respond(memory: None, aggregate: AggregateState) -> Array:
        return jnp.full((game.game.num_states, game.game.num_actions), 1 / game.game.num_actions)

    start_key, key = jax.random.split(key)
    populations = start(game, num_populations, start_key, None, respond)
    return play(game, populations, None, choose, respond, key, game.game.horizon)[2]


def draw_uniformly(observed: Observation, num_actions: int, key: PRNGKeyArray) -> Int[Array, "*batch agents"]:
    """Draw actions uniformly from those that agents may choose."""
    if observed.allowed is None:
        return jax.random.randint(key, observed.states.shape, 0, num_actions)
    return draw_categorical(key, observed.allowed.astype(float))


def allowed_logits(logits: Float[Array, "*batch actions"], observed: Observation) -> Float[Array, "*batch actions"]:
    """The logits, with a large finite loss for actions that agents may not choose."""
    return logits if observed.allowed is None else jnp.where(observed.allowed, logits, FORBIDDEN_LOGIT)


def scale_of_returns(rewards: Float[Array, "times populations agents"], discount: float) -> Float[Array, ""]:
    """The root mean square of the discounted returns to go over all times of a life; one where it is zero."""

    def back(following: Array, rewards: Array) -> tuple[Array, Array]:
        returns = rewards + discount * following
        return returns, returns

    returns = jax.lax.scan(back, jnp.zeros_like(rewards[0]), rewards, reverse=True)[1]
    scale = jnp.sqrt(jnp.mean(returns**2))
    return jnp.where(scale == 0, 1.0, scale)


def latest_rewards(before: Float[Array, " horizon"], transitions: Transitions) -> Float[Array, " horizon"]:
    """The mean reward at every t of a life over the steps made at t; where there were none, the one `before`."""
    times = jnp.ravel(transitions.observed.time)
    totals = jnp.zeros_like(before).at[times].add(jnp.ravel(jnp.mean(transitions.rewards, axis=-1)))
    visits = jnp.zeros_like(before).at[times].add(1)
    return jnp.where(visits > 0, totals / jnp.maximum(visits, 1), before)


def mean_return(game: Game, rewards: Float[Array, " horizon"]) -> Float[Array, ""]:
    """sum_t gamma^t times the mean reward at t."""
    return jnp.sum(game.discount ** jnp.arange(game.horizon) * rewards)


def hidden_states(network: Network, hidden: Hidden, observed: Observation) -> tuple[Hidden, Hidden]:
    """The hidden states with which populations act, along axes (times, populations), and the last of them.

    `hidden` are those before the first of these observations; where a population is at t = 0, its history is empty.
    """
    if not network.settings.recurrent:
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (observed.observation, observed.time))
        all_ = jax.vmap(lambda *now: network.update(network.start(), *now))(*flat)
        all_ = jax.tree.map(lambda x: x.reshape(*observed.time.shape, *x.shape[1:]), all_)
        return all_, jax.tree.map(lambda x: x[-1], all_)

    def step(hidden: Hidden, now: Observation) -> tuple[Hidden, Hidden]:
        hidden = next_hidden(network, hidden, now)
        return hidden, hidden

    last, all_ = jax.lax.scan(step, hidden, observed)
    return all_, last


def next_hidden(network: Network, hidden: Hidden, observed: Observation) -> Hidden:
    """The hidden states of populations after an observation; those at t = 0 forget what was before."""

    def of_population(hidden: Hidden, observation: Array, time: Array) -> Hidden:
        hidden = jax.tree.map(lambda new, old: jnp.where(time == 0, new, old), network.start(), hidden)
        return network.update(hidden, observation, time)

    return jax.vmap(of_population)(hidden, observed.observation, observed.time)


def decode_states(
    network: NetworkPolicy | Critic, prepared: Any, hidden: Hidden, states: Int[Array, "*batch agents"]
) -> Float[Array, "..."]:
    """The output of a network, prepared, in the agents' states, given hidden states with the same leading axes."""
    lead = states.shape[:-1]
    hidden = jax.tree.map(lambda x: x.reshape(-1, *x.shape[len(lead) :]), hidden)
    flat = states.reshape(-1, states.shape[-1])

    def of_population(hidden: Hidden, states: Array) -> Array:
        if network.game.num_states * network.game.num_actions <= _MAX_TABLE_PAIRS_PER_AGENT * states.shape[0]:
            return network.decode(prepared, hidden)[states]
        return network.decode(jax.tree.map(lambda x: x[states], prepared), hidden)

    out = jax.vmap(of_population)(hidden, flat)
    return out.reshape(*lead, *out.shape[1:])


def log_probability(logits: Float[Array, "*batch actions"], actions: Int[Array, "*batch"]) -> Float[Array, "*batch"]:
    """log pi(a) under softmax(logits)."""
    return jnp.take_along_axis(jax.nn.log_softmax(logits), actions[..., None], axis=-1)[..., 0]


def sample_actions(logits: Float[Array, "*batch actions"], key: PRNGKeyArray) -> Int[Array, "*batch"]:
    """Draw actions of softmax(logits)."""
    return draw_categorical(key, jax.nn.softmax(logits))
