"""A game played by a finite population: N agents act and move one by one, within their own empirical mean field.

The population is a black box: a learner sees neither kernels nor rewards of other actions, only what happens to the
agents. The interface is that of gymnax (Lange 2022): a call takes a key, and a population that reaches T starts anew.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from structmfg._checks import check_integer, check_kind, check_shape, check_whole
from structmfg.games._aggregate import Agents, AggregateState, Noise
from structmfg.games._base import Game
from structmfg.games._sampling import count_agents, inside_unit_interval

Respond: TypeAlias = Callable[[AggregateState], Float[Array, "states actions"]]


class Observation(NamedTuple):
    """What N agents observe: each its own state (N,), and all of them the public observation (O,) and the time.

    In a game that does not allow all actions, each sees as well which ones (N, A) it may choose.
    """

    states: Int[Array, "*populations agents"]
    observation: Float[Array, "*populations observation"]
    time: Int[Array, "*populations"]
    allowed: Bool[Array, "*populations agents actions"] | None = None


class PopulationState(NamedTuple):
    """The states (N,) of the agents, and the aggregate state, whose mean field is that of these agents.

    It holds the price at which markets clear now, where the game has markets.
    """

    agents: Int[Array, "*populations agents"]
    aggregate: AggregateState


@dataclasses.dataclass(frozen=True)
class PopulationGame:
    """A game of N players; `reset` and `step` are pure, and `vmap` maps them over populations.

    The agents face common noise, drawn anew for every population, and each other: prices, rewards and observations
    follow from their empirical mean field, statistics of actions from the actions that they took.

    Where the game has markets, a price depends on what the whole population would choose at it. So `reset`, `step`,
    `start` and `advance` then need `respond`, a function from the aggregate state, with a price, to the policy (S, A)
    that the population plays there.

    Attributes:
        game: The mean field game.
        num_agents: N, at least one.
    """

    game: Game
    num_agents: int

    def __post_init__(self) -> None:
        check_kind("game", self.game, Game)
        check_integer("num_agents", self.num_agents, at_least=1)

    def reset(self, key: PRNGKeyArray, respond: Respond | None = None) -> tuple[Observation, PopulationState]:
        """Draw a population at t = 0 from mu_0.

        Args:
            key: A key of `jax.random`.
            respond: The policy of the population, where the game has markets.

        Returns:
            What the agents observe, and the state of the population.
        """
        noise_key, agents_key = jax.random.split(key)
        state = self.start(agents_key, self.game.initial_noise(_draw_innovation(noise_key)), respond)
        return self.observe(state), state

    def step(
        self, key: PRNGKeyArray, state: PopulationState, actions: Agents, respond: Respond | None = None
    ) -> tuple[Observation, PopulationState, Float[Array, " agents"], Bool[Array, ""]]:
        """Play one step, and start a new population if it reaches the horizon.

        Args:
            key: A key of `jax.random`.
            state: The state of the population.
            actions: The action (N,) of every agent.
            respond: The policy of the population, where the game has markets.

        Returns:
            What the agents observe next, the next state, the reward (N,) of each, and whether the horizon was reached;
            if it was, observation and state are those of a new population at t = 0.

        Raises:
            ValueError: If an action is not in 0..A-1, checked where actions are known, outside `jit`; or `respond` is
                missing.
        """
        noise_key, move_key, reset_key = jax.random.split(key, 3)
        aggregate = state.aggregate
        noise = self.game.next_noise(aggregate.noise, _draw_innovation(noise_key), aggregate.time)
        following, rewards = self.advance(move_key, state, actions, noise, respond)
        done = following.aggregate.time >= (jnp.inf if self.game.horizon is None else self.game.horizon)
        state = jax.tree.map(lambda new, old: jnp.where(done, new, old), self.reset(reset_key, respond)[1], following)
        return self.observe(state), state, rewards, done

    def start(self, key: PRNGKeyArray, noise: Noise, respond: Respond | None = None) -> PopulationState:
        """Draw a population at t = 0, given the common noise z_0."""
        mass = self.game.initial_mean_field(noise)
        agents = jax.random.choice(key, self.game.num_states, (self.num_agents,), p=mass)
        aggregate = AggregateState(self._mean_field(agents), noise, jnp.zeros((), int), self.game.first_public(noise))
        return PopulationState(agents, self._with_price(aggregate, respond))

    def advance(
        self,
        key: PRNGKeyArray,
        state: PopulationState,
        actions: Agents,
        noise: Noise,
        respond: Respond | None = None,
    ) -> tuple[PopulationState, Float[Array, " agents"]]:
        """Play one step to a given common noise z_{t+1}, without starting anew at the horizon.

        Returns:
            The next state, and the reward (N,) of each agent.
        """
        check_whole("actions", actions, 0, self.game.num_actions - 1)
        agents = state.agents
        check_shape("actions", jnp.asarray(actions), agents.shape)
        aggregate = self.acting(state, actions)
        next_agents = sample_next_states(self.game, aggregate, agents, actions, key)
        following = self.game.advance(aggregate, self._mean_field(next_agents), noise)
        rewards = self.game.reward(aggregate, following)[agents, actions]
        return PopulationState(next_agents, self._with_price(following, respond)), rewards

    def acting(self, state: PopulationState, actions: Agents) -> AggregateState:
        """The aggregate state with the statistics of the actions (N,) that the agents take."""
        if "actions" not in self.game.declared:
            return state.aggregate
        table = jnp.zeros((self.game.num_states, self.game.num_actions))
        joint = table.at[state.agents, actions].add(1 / self.num_agents)
        return dataclasses.replace(state.aggregate, actions=self.game.action_statistics(state.aggregate, joint))

    def observe(self, state: PopulationState) -> Observation:
        """What the agents observe in a state."""
        allowed = self.game.allowed(state.aggregate)
        return Observation(
            state.agents,
            self.game.observe(state.aggregate),
            state.aggregate.time,
            None if allowed is None else allowed[state.agents],
        )

    def _mean_field(self, agents: Agents) -> Float[Array, " states"]:
        return count_agents(agents, self.game.num_states) / self.num_agents

    def _with_price(self, aggregate: AggregateState, respond: Respond | None) -> AggregateState:
        """The aggregate state with the price at which markets clear, where the game has markets."""
        if "price" not in self.game.declared:
            return aggregate
        if respond is None:
            raise ValueError(
                f"{type(self.game).__name__} has markets, whose price follows from the policy of the whole population: "
                "give respond, a function from the aggregate state to the policy (S, A)"
            )
        cleared, *_ = self.game.decide(aggregate, lambda at: (respond(at), None))
        return dataclasses.replace(aggregate, price=cleared.price)


def _draw_innovation(key: PRNGKeyArray) -> Float[Array, ""]:
    return inside_unit_interval(jax.random.uniform(key))


def sample_next_states(
    game: Game,
    aggregate: AggregateState,
    states: Agents,
    actions: Agents,
    key: PRNGKeyArray,
) -> Agents:
    """Draw the next states of agents by `Game.move_agents`, and check what it returns.

    Args:
        game: The game.
        aggregate: The aggregate state at t.
        states: The state (N,) of every agent at t.
        actions: The action (N,) of every agent.
        key: A key of `jax.random`.

    Returns:
        The states (N,) at t+1.

    Raises:
        ValueError: If `move_agents` does not return one whole number an agent.
    """
    following = game.move_agents(aggregate, states, actions, key)
    is_array = hasattr(following, "dtype")
    if not (is_array and following.shape == states.shape and jnp.issubdtype(following.dtype, jnp.integer)):
        given = f"{following.dtype} of shape {following.shape}" if is_array else f"a {type(following).__name__}"
        raise ValueError(f"move_agents must return whole numbers of shape (agents,) = {states.shape}, not {given}")
    return following.astype(states.dtype)
