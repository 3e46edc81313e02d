"""One agent who deviates among N - 1 others who do not: its values along the path of the others, its best response.

In a game of N players let nu_t be the empirical mean field of the N - 1 others. An agent in state s then lives in the
mean field

    mu_t = ((N - 1) nu_t + delta_s) / N,

and what it does moves the mean field that follows: there its own next state counts by its expectation given (s, a),
which is exact where rewards are linear in the next mean field and else off by O(1 / N^2).

The algorithm:

1. `mean_field_paths`: the mean field of the policy along every noise path, as N grows without bound.
2. `play`: games of N players along these paths. Beside the path nu of the others, each game records the path nu~ of
   their control variates: agents with the same random numbers who live in the mean field of the policy instead of
   their own. They are independent, and nu~_t has the known expectation mu_t.
3. `best_responses`: backward induction on action values that are averaged over what the deviator does not know.
4. `gains`: what the deviator gains by a response, in other games, by the values of both along the others' path.

In 3 and 4 every function f(nu) of the others' path is replaced by (`_controlled`)

    f(nu) - f'(mu)(nu~ - mu).

What is taken off has mean zero, whatever the game, so averages stay unbiased. Where agents act upon each other weakly,
it leaves a remainder of order 1 / N instead of N^(-1/2), the order of what is to be measured.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from structmfg.evaluation import Trajectory, action_values, greedy, rollout, steps
from structmfg.games import (
    AggregateState,
    Game,
    Noise,
    PopulationGame,
    PopulationState,
    as_vector,
    count_agents,
    draw_actions,
    from_vector,
    sample_next_states,
)
from structmfg.policies import Hidden, Policy

_MAX_NUMBERS_AT_ONCE = 2**20  # in the arrays of games that are computed side by side
_MIN_PROBABILITY = 1e-30  # of what a deviator knows: divides where a path cannot happen


class PopulationRollout(NamedTuple):
    """Games of N players.

    Attributes:
        others: The aggregate states of the game as vectors (`games.as_vector`), with the mean fields of N - 1 players.
        control_variates: The same with the mean fields of their control variates, which are independent of each other.
            Public state, actions and price are there those of the mean field.
        signals: What the policy was given at t = 0..T-1.
        excess: How much more than their control variates the N players earned on average, discounted to t = 0.
    """

    others: Float[Array, "*games times_and_end entries"]
    control_variates: Float[Array, "*games times_and_end entries"]
    signals: Float[Array, "*games times signal"]
    excess: Float[Array, "*games"]


@eqx.filter_jit
def mean_field_paths(game: Game, policy: Policy, noise: Noise) -> Trajectory:
    """The trajectory of the mean field under the policy along every noise path (leading axis: paths)."""
    return jax.lax.map(lambda path: rollout(game, policy, path), noise)


@eqx.filter_jit
def play(
    game: Game, policy: Policy, along: Trajectory, path: Int[Array, " games"], num_players: int, key: PRNGKeyArray
) -> PopulationRollout:
    """Play one game of N players along each of the paths with the given indices in `along`."""
    prepared, population = policy.prepare(), PopulationGame(game, num_players)

    def others(agents: Array, aggregate: AggregateState) -> Array:
        """The aggregate state as a vector, with the mean field of all these agents but the first."""
        mean_field = count_agents(agents[1:], game.num_states) / (num_players - 1)
        return as_vector(game, dataclasses.replace(aggregate, mean_field=mean_field))

    def step(
        carry: tuple[PopulationState, Hidden, Array], inputs: tuple[Array, AggregateState, AggregateState, Array]
    ) -> tuple[tuple[PopulationState, Hidden, Array], tuple[Array, ...]]:
        state, hidden, variates = carry
        key, now, then, probabilities = inputs
        action_key, move_key = jax.random.split(key)
        signal = policy.signal(state.aggregate, game.observe(state.aggregate))
        hidden = policy.update(hidden, signal, now.time)
        table = game.restricted(state.aggregate, jax.nn.softmax(policy.decode(prepared, hidden)))
        actions = draw_actions(action_key, table, state.agents)
        variate_actions = draw_actions(action_key, probabilities, variates)
        acting = population.acting(state, actions)
        recorded = others(state.agents, acting), others(variates, now), signal
        state, rewards = population.advance(move_key, state, actions, then.noise, respond(hidden))
        excess = game.discount**now.time * jnp.mean(rewards - game.reward(now, then)[variates, variate_actions])
        variates = sample_next_states(game, now, variates, variate_actions, move_key)
        return (state, hidden, variates), (*recorded, excess)

    def respond(hidden: Hidden) -> Callable[[AggregateState], Array]:
        """What the population plays at a price, given the hidden state before its observation."""

        def at(aggregate: AggregateState) -> Array:
            now = policy.update(hidden, policy.signal(aggregate, game.observe(aggregate)), aggregate.time)
            return jax.nn.softmax(policy.decode(prepared, now))

        return at

    def play_one(inputs: tuple[Array, PRNGKeyArray]) -> PopulationRollout:
        path, key = inputs
        trajectory = jax.tree.map(lambda x: x[path], along)
        now, then = steps(trajectory.aggregates)
        start_key, key = jax.random.split(key)
        state = population.start(start_key, jax.tree.map(lambda z: z[0], now.noise), respond(policy.start()))
        keys = jax.random.split(key, game.horizon)
        carry, rows = (state, policy.start(), state.agents), (keys, now, then, trajectory.policy)
        (last, _, last_variates), (played, variates, signals, excess) = jax.lax.scan(step, carry, rows)
        end = jax.tree.map(lambda x: x[-1], then)
        ends = others(last.agents, last.aggregate.before_acting()), others(last_variates, end)
        played, variates = (jnp.concatenate([x, y[None]]) for x, y in zip((played, variates), ends, strict=True))
        return PopulationRollout(played, variates, signals, jnp.sum(excess))

    size = _side_by_side(len(path), num_players * game.num_actions)
    return jax.lax.map(play_one, (path, jax.random.split(key, len(path))), batch_size=size)


@eqx.filter_jit
def kernel_depends_on_mean_field(game: Game, along: Trajectory) -> Bool[Array, ""]:
    """Whether the kernels on the paths change if the mean field is reversed, or replaced by the uniform one."""
    values = jnp.linspace(-1.0, 1.0, game.num_states) ** 3 + jnp.arange(game.num_states) % 2

    def at(aggregate: AggregateState) -> Array:
        mass = aggregate.mean_field
        fields = jnp.stack([mass, mass[::-1], jnp.full_like(mass, 1 / game.num_states)])

        def expect(field: Array) -> Array:
            return game.kernel(dataclasses.replace(aggregate, mean_field=field)).expect(values)

        expected = jax.vmap(expect)(fields)
        return jnp.any(expected != expected[0])

    flat = jax.tree.map(lambda x: x[:, :-1].reshape(-1, *x.shape[2:]), along.aggregates)
    return jnp.any(jax.lax.map(at, flat))


def finite_n_action_values(
    game: Game,
    weight: Float[Array, ""] | None,
    now: AggregateState,
    then: AggregateState,
    values: Float[Array, "some states"],
) -> Float[Array, "some states actions"]:
    """r + gamma P v of one agent of the given weight, 1 / N, where now and then hold the mean fields of the others.

    Without a weight the agent is one of a continuum.
    """
    if weight is None:
        return jax.vmap(lambda v: action_values(game, now, then, v))(values)

    def joined(others: AggregateState, own: Array) -> AggregateState:
        """The aggregate state with the agent in it, where it is in state s with the probability own(s)."""
        return dataclasses.replace(others, mean_field=others.mean_field + weight * (own - others.mean_field))

    def in_state(state: Array) -> Array:
        aggregate = joined(now, jnp.arange(game.num_states) == state)
        kernel = game.kernel(aggregate)
        targets, probabilities = kernel.successors_of(state[None])

        def reward(action: Array, targets: Array, probabilities: Array) -> Array:
            own = jnp.zeros(game.num_states).at[targets].add(probabilities)
            return game.reward_of_allowed(aggregate, joined(then, own))[state, action]

        # What does not depend on the action, or on the state, is computed once.
        rewards = jax.vmap(reward)(jnp.arange(game.num_actions), targets[0], probabilities[0])
        return rewards + game.discount * jax.vmap(kernel.expect)(values)[:, state]

    return jnp.moveaxis(jax.vmap(in_state)(jnp.arange(game.num_states)), 0, 1)


def _controlled(
    function: Callable[[Array], Array],
    others: Array,
    variates: Array,
    mean: Array,
    differentiated: Callable[[Array], Array],
) -> Array:
    """function(others) - differentiated'(mean)(variates - mean).

    Where there is no derivative, nothing is taken off: that is the same for all games.
    """
    _, slope = jax.jvp(differentiated, (mean,), (variates - mean,))
    return function(others) - jnp.where(jnp.isfinite(slope), slope, 0)


@eqx.filter_jit
def best_responses(
    game: Game,
    weight: Float[Array, ""] | None,
    along: Trajectory,
    probabilities: Float[Array, " paths"],
    nodes: Int[Array, "times_and_end paths"],
    played: PopulationRollout,
) -> Int[Array, "times paths states"]:
    """The best actions by backward induction, action values averaged over games and over paths of one node.

    `played` has the leading axes (games, paths); `nodes` numbers at every time what the deviator knows of the path.
    """
    repeats, paths = played.excess.shape
    index = jnp.tile(jnp.arange(paths), repeats)

    def now_and_then(array: Array) -> Array:
        """(T, games * paths, 2, S): the pairs of one time and the next."""
        array = array.reshape(repeats * paths, *array.shape[2:])
        return jnp.moveaxis(jnp.stack([array[:, :-1], array[:, 1:]], axis=2), 1, 0)

    others, variates = map(now_and_then, (played.others, played.control_variates))
    now, then = steps(jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), along.aggregates))

    def step(values: Array, inputs: tuple[AggregateState, AggregateState, Array, Array, Array]) -> tuple[Array, Array]:
        now, then, others, variates, node = inputs

        def in_game(inputs: tuple[Array, Array, Array]) -> Array:
            path, others, variates = inputs
            here, after, value = jax.tree.map(lambda x: x[path], (now, then, values))

            def q(vectors: Array) -> Array:
                now = from_vector(game, vectors[0], here.noise, here.time)
                then = from_vector(game, vectors[1], after.noise, after.time).before_acting()
                return finite_n_action_values(game, weight, now, then, value[None])[0]

            mean = jnp.stack([as_vector(game, here), as_vector(game, after)])
            return _controlled(q, others, variates, mean, q)

        size = _side_by_side(len(index), _numbers_of_own_weight(game))
        q = jax.lax.map(in_game, (index, others, variates), batch_size=size)
        q = probabilities[:, None, None] * jnp.mean(q.reshape(repeats, paths, *q.shape[1:]), axis=0)
        total = jnp.maximum(jax.ops.segment_sum(probabilities, node, num_segments=paths), _MIN_PROBABILITY)
        q = (jax.ops.segment_sum(q, node, num_segments=paths) / total[:, None, None])[node]
        return jnp.max(q, axis=-1), jnp.argmax(greedy(q), axis=-1)

    end = jnp.zeros((paths, game.num_states))
    return jax.lax.scan(step, end, (now, then, others, variates, nodes[:-1]), reverse=True)[1]


@eqx.filter_jit
def gains(
    game: Game,
    policy: Policy,
    weight: Float[Array, ""] | None,
    along: Trajectory,
    response: Int[Array, "times paths states"],
    played: PopulationRollout,
) -> Float[Array, "games paths"]:
    """What an agent gains by the response over the policy, in every game, averaged over its own luck."""
    repeats, paths = played.excess.shape
    index = jnp.tile(jnp.arange(paths), repeats)

    def gain(aggregates: AggregateState, probabilities: Array, better: Array, others: Array) -> Array:
        now, then = steps(_from_vectors(game, others, aggregates))

        def step(values: Array, inputs: tuple[AggregateState, AggregateState, Array, Array]) -> tuple[Array, None]:
            now, then, probabilities, better = inputs
            q = finite_n_action_values(game, weight, now, then, values)
            chosen = jnp.take_along_axis(q[0], better[:, None], axis=-1)[:, 0]
            return jnp.stack([chosen, jnp.sum(probabilities * q[1], axis=-1)]), None

        end = jnp.zeros((2, game.num_states))
        values, _ = jax.lax.scan(step, end, (now, then, probabilities, better), reverse=True)
        return aggregates.mean_field[0] @ (values[0] - values[1])

    def in_game(inputs: tuple[Array, PopulationRollout]) -> Array:
        path, played = inputs
        aggregates, _, mean_field_policy = jax.tree.map(lambda x: x[path], along)
        probabilities, better = jax.nn.softmax(policy.unroll(played.signals)), response[:, path]
        if "allowed" in game.declared:
            now = steps(_from_vectors(game, played.others, aggregates))[0]
            probabilities = jax.vmap(game.restricted)(now, probabilities)
        return _controlled(
            lambda others: gain(aggregates, probabilities, better, others),
            played.others,
            played.control_variates,
            vectors_of(game, aggregates),
            lambda others: gain(aggregates, mean_field_policy, better, others),
        )

    flat = jax.tree.map(lambda x: x.reshape(repeats * paths, *x.shape[2:]), played)
    size = _side_by_side(len(index), _numbers_of_own_weight(game))
    return jax.lax.map(in_game, (index, flat), batch_size=size).reshape(repeats, paths)


def vectors_of(game: Game, aggregates: AggregateState) -> Float[Array, "*paths times_and_end entries"]:
    """The aggregate states along paths as vectors; zero for actions and price at T, where nobody acts."""
    known = jax.tree.map(lambda x: jnp.nan_to_num(x), (aggregates.actions, aggregates.price))
    aggregates = dataclasses.replace(aggregates, actions=known[0], price=known[1])
    convert = functools.partial(as_vector, game)
    for _ in range(aggregates.time.ndim):
        convert = jax.vmap(convert)
    return convert(aggregates)


def _from_vectors(game: Game, vectors: Float[Array, "times_and_end entries"], along: AggregateState) -> AggregateState:
    """The aggregate states of vectors along one path, with the noise and the times of `along`."""
    return jax.vmap(lambda vector, z, t: from_vector(game, vector, z, t))(vectors, along.noise, along.time)


def _numbers_of_own_weight(game: Game) -> int:
    """The rewards that `finite_n_action_values` computes: all of them for each of the agent's states and actions."""
    return (game.num_states * game.num_actions) ** 2


def _side_by_side(games: int, numbers: int) -> int:
    """The most games, a divisor of `games` so that one program serves all, to compute at once with so many numbers."""
    allowed = max(_MAX_NUMBERS_AT_ONCE, numbers)
    return max(size for size in range(1, games + 1) if games % size == 0 and size * numbers <= allowed)
