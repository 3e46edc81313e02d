"""A population of N agents who are drawn, act and move one by one: the model as it is told, without its operators.

Only the game's `initial_mean_field`, `move_agents`, `reward` and `observe`, and the policy, are asked. What comes out
is therefore independent of `push` and `expect`, and of everything that is built on them.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from structmfg._checks import check_integer
from structmfg.evaluation import steps
from structmfg.games import AggregateState, Game, Noise, as_game, count_agents, draw_actions, sample_next_states
from structmfg.policies import Hidden, Policy, as_policy


class Population(NamedTuple):
    """How many agents were in every state at t = 0..T, and what every agent earned, discounted to t = 0.

    Agents whom the game moved outside 0..S-1 are counted in no state.
    """

    counts: Int[Array, "times_and_end states"]
    returns: Float[Array, " agents"]


def population(
    game: Game,
    policy: Policy,
    noise: Noise,
    *,
    num_agents: int,
    key: PRNGKeyArray,
    within: AggregateState | None = None,
) -> Population:
    """N agents along one noise path z_0..z_T, drawn from mu_0, who act by a policy and share the common noise.

    Without `within`, they are a finite game: prices, rewards and what the policy observes follow from their own
    empirical mean field. With `within`, aggregates at t = 0..T (those of `rollout`, say), they live among the crowd
    given there, so that they are independent of each other, each with the law of that crowd under the policy.

    Memory is that of a few numbers an agent. `ValueError` unless `num_agents` is a whole number of at least one.
    """
    num_agents = check_integer("num_agents", num_agents, at_least=1)
    game = as_game(game)
    return _population(game, as_policy(game, policy), noise, num_agents, key, within)


@eqx.filter_jit
def _population(
    game: Game, policy: Policy, noise: Noise, num_agents: int, key: PRNGKeyArray, within: AggregateState | None
) -> Population:
    prepared = policy.prepare()
    z0, later = jax.tree.map(lambda z: z[0], noise), jax.tree.map(lambda z: z[1:], noise)
    first_key, *keys = jax.random.split(key, 3)
    states = jax.random.choice(first_key, game.num_states, (num_agents,), p=game.initial_mean_field(z0))
    start = count_agents(states, game.num_states)

    def living(counts: Array, z: Noise, time: Array, given: AggregateState | None) -> AggregateState:
        return AggregateState(counts / num_agents, z, time) if given is None else given

    def step(
        carry: tuple[AggregateState, Hidden, Array, Array],
        inputs: tuple[Array, Array, Noise, AggregateState | None],
    ) -> tuple[tuple[AggregateState, Hidden, Array, Array], Array]:
        aggregate, hidden, states, returns = carry
        act, move_key, z, given = inputs
        hidden = policy.update(hidden, policy.signal(aggregate, game.observe(aggregate)), aggregate.time)
        actions = draw_actions(act, jax.nn.softmax(policy.decode(prepared, hidden)), states)
        moved = sample_next_states(game, aggregate, states, actions, move_key)
        counts = count_agents(moved, game.num_states)
        following = living(counts, z, aggregate.time + 1, given)
        rewards = game.reward(aggregate, following)[states, actions]
        returns = returns + game.discount**aggregate.time * rewards
        return (following, hidden, moved, returns), counts

    now, then = (None, None) if within is None else steps(within)
    first = living(start, z0, jnp.zeros((), int), jax.tree.map(lambda x: x[0], now))
    split = [jax.random.split(k, game.horizon) for k in keys]
    carry = (first, policy.start(), states, jnp.zeros(num_agents))
    (_, _, _, returns), counts = jax.lax.scan(step, carry, (*split, later, then))
    return Population(jnp.concatenate([start[None], counts]), returns)
