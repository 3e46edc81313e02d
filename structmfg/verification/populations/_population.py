"""The simulation of N agents who are drawn, act and move one by one, without the operators of the game.

It calls only the game's `initial_mean_field`, `move_agents`, `reward` and `observe`, what the game declares of public
state, actions and prices, and the policy. The result is therefore independent of `push` and `expect`, and of everything
that is built on them.
"""

import dataclasses
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from structmfg._checks import check_integer
from structmfg.evaluation import steps
from structmfg.games import AggregateState, Game, Noise, as_game, count_agents, draw_actions, sample_next_states
from structmfg.policies import Hidden, Policy, as_policy


class SimulatedPopulation(NamedTuple):
    """A simulated population.

    Attributes:
        counts: The number of agents in every state at t = 0..T, (T+1, S). Agents whom the game moved outside 0..S-1 are
            counted in no state.
        returns: The return of every agent, discounted to t = 0, (N,).
    """

    counts: Int[Array, "times_and_end states"]
    returns: Float[Array, " agents"]


def simulate_population(
    game: Game,
    policy: Policy,
    noise: Noise,
    *,
    num_agents: int,
    key: PRNGKeyArray,
    within: AggregateState | None = None,
) -> SimulatedPopulation:
    """Simulate N agents along one noise path, drawn from mu_0, who act by a policy.

    Args:
        game: The game.
        policy: The policy of all agents.
        noise: The noise path z_0..z_T that all agents share.
        num_agents: The number of agents N; memory is a few numbers for each.
        key: Random key.
        within: The aggregate states at t = 0..T in which the agents live (those of `rollout`, say), so that they are
            independent of each other. Without it they play the game of N players: prices, rewards and observations
            follow from their own empirical mean field.

    Returns:
        Counts of agents by time and state, and the return of every agent.

    Raises:
        ValueError: If `num_agents` is not a whole number of at least one.
    """
    num_agents = check_integer("num_agents", num_agents, at_least=1)
    game = as_game(game)
    return _simulate(game, as_policy(game, policy), noise, num_agents, key, within)


@eqx.filter_jit
def _simulate(
    game: Game, policy: Policy, noise: Noise, num_agents: int, key: PRNGKeyArray, within: AggregateState | None
) -> SimulatedPopulation:
    prepared = policy.prepare()
    z0, later = jax.tree.map(lambda z: z[0], noise), jax.tree.map(lambda z: z[1:], noise)
    first_key, *keys = jax.random.split(key, 3)
    states = jax.random.choice(first_key, game.num_states, (num_agents,), p=game.initial_mean_field(z0))
    start = count_agents(states, game.num_states)

    def step(
        carry: tuple[AggregateState, Hidden, Array, Array],
        inputs: tuple[Array, Array, Noise, tuple[AggregateState, AggregateState] | None],
    ) -> tuple[tuple[AggregateState, Hidden, Array, Array], Array]:
        aggregate, before, states, returns = carry
        action_key, transition_key, z, fixed = inputs

        def respond(aggregate: AggregateState) -> tuple[Array, Hidden]:
            hidden = policy.update(before, policy.signal(aggregate, game.observe(aggregate)), aggregate.time)
            return jax.nn.softmax(policy.decode(prepared, hidden)), hidden

        if fixed is not None:
            aggregate = fixed[0]
            table, hidden = respond(aggregate.as_observed())
            table = game.restricted(aggregate, table)
        else:
            aggregate, table, hidden = game.decide(aggregate, respond)
        actions = draw_actions(action_key, table, states)
        if fixed is None and "actions" in game.declared:
            joint = jnp.zeros(table.shape).at[states, actions].add(1 / num_agents)
            aggregate = dataclasses.replace(aggregate, actions=game.action_statistics(aggregate, joint))
        arrived = sample_next_states(game, aggregate, states, actions, transition_key)
        counts = count_agents(arrived, game.num_states)
        following = game.advance(aggregate, counts / num_agents, z) if fixed is None else fixed[1]
        rewards = game.reward(aggregate, following)[states, actions]
        returns = returns + game.discount**aggregate.time * rewards
        return (following, hidden, arrived, returns), counts

    within_steps = None if within is None else steps(within)
    first = AggregateState(start / num_agents, z0, jnp.zeros((), int), game.first_public(z0))
    if within_steps is not None:
        first = jax.tree.map(lambda x: x[0], within_steps[0]).before_acting()
    split = [jax.random.split(k, game.horizon) for k in keys]
    carry = (first, policy.start(), states, jnp.zeros(num_agents))
    (_, _, _, returns), counts = jax.lax.scan(step, carry, (*split, later, within_steps))
    return SimulatedPopulation(jnp.concatenate([start[None], counts]), returns)
