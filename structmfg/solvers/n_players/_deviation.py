"""One agent who deviates among N - 1 others who do not: values along what the others did, and the best response.

In a game of N players let nu_t be the empirical mean field of the N - 1 others. An agent in state s then lives in
((N - 1) nu_t + delta_s) / N, and what it does moves the mean field that follows: its own next place counts there by its
expectation given (s, a), which is exact where rewards are linear in the next mean field and else off by O(1 / N^2).

Statistics over games are controlled by copies: agents of the same random numbers who live in the mean field of the
policy instead of their own, so that they are independent and their mean field nu~_t has the expectation mu_t. From
every function f(nu) of the path of the others its first-order part f'(mu)(nu~ - mu) is taken off. That has mean zero,
whatever the game, and where agents act upon each other weakly it leaves a remainder of order 1 / N instead of N^(-1/2),
the order of what is to be measured.
"""

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
    count_agents,
    draw_actions,
    sample_next_states,
)
from structmfg.policies import Hidden, Policy

_TOGETHER = 2**20  # numbers that games computed side by side may take
_LEAST = 1e-30  # stands for the probability of a path that cannot happen


class Played(NamedTuple):
    """A game of N players: the mean fields of N - 1 `others` and of their `copies`, the latter independent.

    `signals`: what the policy was given at t = 0..T-1; `excess`: how much more than the copies the N players earned on
    average, discounted to t = 0.
    """

    others: Float[Array, "*games times_and_end states"]
    copies: Float[Array, "*games times_and_end states"]
    signals: Float[Array, "*games times signal"]
    excess: Float[Array, "*games"]


@eqx.filter_jit
def unroll(game: Game, policy: Policy, noise: Noise) -> Trajectory:
    """The mean field of the policy along every path."""
    return jax.lax.map(lambda path: rollout(game, policy, path), noise)


@eqx.filter_jit
def play(
    game: Game, policy: Policy, along: Trajectory, path: Int[Array, " games"], num_players: int, key: PRNGKeyArray
) -> Played:
    """A game along each of the given paths."""
    prepared, population = policy.prepare(), PopulationGame(game, num_players)

    def mean_field(agents: Array) -> Array:
        return count_agents(agents[1:], game.num_states) / (num_players - 1)

    def step(
        carry: tuple[PopulationState, Hidden, Array], inputs: tuple[Array, AggregateState, AggregateState, Array]
    ) -> tuple[tuple[PopulationState, Hidden, Array], tuple[Array, ...]]:
        state, hidden, copies = carry
        key, now, then, page = inputs
        act, moving = jax.random.split(key)
        signal = policy.signal(state.aggregate, game.observe(state.aggregate))
        hidden = policy.update(hidden, signal, now.time)
        actions = draw_actions(act, jax.nn.softmax(policy.decode(prepared, hidden)), state.agents)
        own = draw_actions(act, page, copies)
        state, rewards = population.advance(moving, state, actions, then.noise)
        excess = game.discount**now.time * jnp.mean(rewards - game.reward(now, then)[copies, own])
        copies = sample_next_states(game, now, copies, own, moving)
        return (state, hidden, copies), (mean_field(state.agents), mean_field(copies), signal, excess)

    def one(inputs: tuple[Array, PRNGKeyArray]) -> Played:
        path, key = inputs
        trajectory = jax.tree.map(lambda x: x[path], along)
        now, then = steps(trajectory.aggregates)
        start, key = jax.random.split(key)
        state = population.start(start, jax.tree.map(lambda z: z[0], now.noise))
        keys = jax.random.split(key, game.horizon)
        carry, rows = (state, policy.start(), state.agents), (keys, now, then, trajectory.policy)
        _, (others, copies, signals, excess) = jax.lax.scan(step, carry, rows)
        first = mean_field(state.agents)[None]
        others, copies = (jnp.concatenate([first, later]) for later in (others, copies))
        return Played(others, copies, signals, jnp.sum(excess))

    size = _side_by_side(len(path), num_players * game.num_actions)
    return jax.lax.map(one, (path, jax.random.split(key, len(path))), batch_size=size)


@eqx.filter_jit
def moves_depend(game: Game, along: Trajectory) -> Bool[Array, ""]:
    """Whether the kernels on the paths change with the mean field: reversed, or replaced by the uniform one."""
    values = jnp.linspace(-1.0, 1.0, game.num_states) ** 3 + jnp.arange(game.num_states) % 2

    def at(aggregate: AggregateState) -> Array:
        mass = aggregate.mean_field
        fields = jnp.stack([mass, mass[::-1], jnp.full_like(mass, 1 / game.num_states)])
        expected = jax.vmap(lambda field: game.kernel(_with(aggregate, field)).expect(values))(fields)
        return jnp.any(expected != expected[0])

    flat = jax.tree.map(lambda x: x[:, :-1].reshape(-1, *x.shape[2:]), along.aggregates)
    return jnp.any(jax.lax.map(at, flat))


# Values of one agent.


def values_among(
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

    def joined(crowd: AggregateState, place: Array) -> AggregateState:
        mean_field = crowd.mean_field + weight * (place - crowd.mean_field)
        return AggregateState(mean_field, crowd.noise, crowd.time)

    def at(state: Array) -> Array:
        aggregate = joined(now, jnp.arange(game.num_states) == state)
        kernel = game.kernel(aggregate)
        targets, chances = kernel.successors_of(state[None])

        def reward(action: Array, targets: Array, chances: Array) -> Array:
            place = jnp.zeros(game.num_states).at[targets].add(chances)
            return game.reward(aggregate, joined(then, place))[state, action]

        # What does not depend on the action, or on the state, is computed once.
        rewards = jax.vmap(reward)(jnp.arange(game.num_actions), targets[0], chances[0])
        return rewards + game.discount * jax.vmap(kernel.expect)(values)[:, state]

    return jnp.moveaxis(jax.vmap(at)(jnp.arange(game.num_states)), 0, 1)


def _controlled(
    function: Callable[[Array], Array], others: Array, copies: Array, mean: Array, about: Callable[[Array], Array]
) -> Array:
    """function(others) less the first-order part of `about` at the mean field in the direction of the copies.

    Where there is no derivative, nothing is taken off: that is the same for all games.
    """
    _, slope = jax.jvp(about, (mean,), (copies - mean,))
    return function(others) - jnp.where(jnp.isfinite(slope), slope, 0)


@eqx.filter_jit
def respond(
    game: Game,
    weight: Float[Array, ""] | None,
    along: Trajectory,
    probabilities: Float[Array, " paths"],
    nodes: Int[Array, "times_and_end paths"],
    played: Played,
) -> Int[Array, "times paths states"]:
    """The best response by backward induction, its action values averaged over games and over paths of one node.

    `played` has the leading axes (games, paths); `nodes` numbers at every time what the deviator knows of the path.
    """
    repeats, paths = played.excess.shape
    index = jnp.tile(jnp.arange(paths), repeats)

    def flat(array: Array) -> Array:
        """(games * paths, T, 2, S): the pairs of one time and the next."""
        array = array.reshape(repeats * paths, *array.shape[2:])
        return jnp.stack([array[:, :-1], array[:, 1:]], axis=2)

    others, copies = (jnp.moveaxis(flat(array), 1, 0) for array in (played.others, played.copies))
    now, then = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), _pairs(along.aggregates))

    def step(values: Array, inputs: tuple[AggregateState, AggregateState, Array, Array, Array]) -> tuple[Array, Array]:
        now, then, others, copies, node = inputs

        def one(inputs: tuple[Array, Array, Array]) -> Array:
            path, others, copies = inputs
            here, after, value = jax.tree.map(lambda x: x[path], (now, then, values))

            def q(crowd: Array) -> Array:
                return values_among(game, weight, _with(here, crowd[0]), _with(after, crowd[1]), value[None])[0]

            return _controlled(q, others, copies, jnp.stack([here.mean_field, after.mean_field]), q)

        q = jax.lax.map(
            one,
            (index, others, copies),
            batch_size=_side_by_side(len(index), _size(game)),
        )
        q = probabilities[:, None, None] * jnp.mean(q.reshape(repeats, paths, *q.shape[1:]), axis=0)
        total = jax.ops.segment_sum(probabilities, node, num_segments=paths)
        q = (jax.ops.segment_sum(q, node, num_segments=paths) / jnp.maximum(total, _LEAST)[:, None, None])[node]
        return jnp.max(q, axis=-1), jnp.argmax(greedy(q), axis=-1)

    end = jnp.zeros((paths, game.num_states))
    return jax.lax.scan(step, end, (now, then, others, copies, nodes[:-1]), reverse=True)[1]


@eqx.filter_jit
def deviate(
    game: Game,
    policy: Policy,
    weight: Float[Array, ""] | None,
    along: Trajectory,
    response: Int[Array, "times paths states"],
    played: Played,
) -> Float[Array, "games paths"]:
    """What an agent gains by the response, in every game: values of both along the game, its own luck integrated."""
    repeats, paths = played.excess.shape
    index = jnp.tile(jnp.arange(paths), repeats)

    def gain(aggregates: AggregateState, pages: Array, better: Array, others: Array) -> Array:
        now, then = steps(_with(aggregates, others))

        def step(values: Array, inputs: tuple[AggregateState, AggregateState, Array, Array]) -> tuple[Array, None]:
            now, then, page, better = inputs
            q = values_among(game, weight, now, then, values)
            chosen = jnp.take_along_axis(q[0], better[:, None], axis=-1)[:, 0]
            return jnp.stack([chosen, jnp.sum(page * q[1], axis=-1)]), None

        end = jnp.zeros((2, game.num_states))
        values, _ = jax.lax.scan(step, end, (now, then, pages, better), reverse=True)
        return aggregates.mean_field[0] @ (values[0] - values[1])

    def one(inputs: tuple[Array, Played]) -> Array:
        path, played = inputs
        trajectory = jax.tree.map(lambda x: x[path], along)
        pages, better = jax.nn.softmax(policy.unroll(played.signals)), response[:, path]
        return _controlled(
            lambda others: gain(trajectory.aggregates, pages, better, others),
            played.others,
            played.copies,
            trajectory.aggregates.mean_field,
            lambda others: gain(trajectory.aggregates, trajectory.policy, better, others),
        )

    flat = jax.tree.map(lambda x: x.reshape(repeats * paths, *x.shape[2:]), played)
    gains = jax.lax.map(one, (index, flat), batch_size=_side_by_side(len(index), _size(game)))
    return gains.reshape(repeats, paths)


def _pairs(aggregates: AggregateState) -> tuple[AggregateState, AggregateState]:
    """Aggregates (paths, T) at t and at t + 1."""
    return jax.tree.map(lambda x: x[:, :-1], aggregates), jax.tree.map(lambda x: x[:, 1:], aggregates)


def _with(aggregate: AggregateState, mean_field: Array) -> AggregateState:
    return AggregateState(mean_field, aggregate.noise, aggregate.time)


def _size(game: Game) -> int:
    """Rewards of one agent's state and action where its own next place counts."""
    return (game.num_states * game.num_actions) ** 2


def _side_by_side(games: int, numbers: int) -> int:
    """How many games to compute together that take so many numbers each: a divisor, so that one program serves all."""
    return max(size for size in range(1, games + 1) if games % size == 0 and size * numbers <= max(_TOGETHER, numbers))
