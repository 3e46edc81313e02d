"""The game of N players by enumeration: one who deviates and knows everything so far, against N - 1 who do not.

The deviator faces a Markov decision process over configurations (node of the noise tree, own state, counts of the
others, hidden state of the policy). All players, also those who follow the policy, observe and live in the true
empirical mean field, (counts + delta_s) / N. The others move independently given the configuration, so that the law of
their counts is a convolution of multinomials, one for every state. Configurations are enumerated breadth-first, equal
ones merged, and values follow by backward induction.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from structmfg.evaluation import in_double
from structmfg.games import AggregateState, Game, Noise, NoiseTree, noise_tree
from structmfg.policies import Hidden, Policy

MAX_CONFIGURATIONS = 20_000  # of one time
MAX_TRANSITIONS = 1_000_000  # of all times

Counts = tuple[int, ...]
Law = dict[Counts, float]


class _Level(NamedTuple):
    """The n configurations of one time; `hidden` is that before its observation."""

    nodes: Int[np.ndarray, " n"]
    own: Int[np.ndarray, " n"]
    others: Int[np.ndarray, "n states"]
    hidden: PyTree[Array]


class _Links(NamedTuple):
    """From a configuration, by every action with a chance, to one of the next time, with a reward (m, A)."""

    source: Int[np.ndarray, " m"]
    target: Int[np.ndarray, " m"]
    chance: Float[np.ndarray, "m actions"]
    reward: Float[np.ndarray, "m actions"]


def enumerate_players(game: Game, policy: Policy, num_players: int) -> tuple[float, float]:
    """The return when all play the policy, and the gain of one who deviates with full knowledge.

    Exact, in double precision. `ValueError` where the noise is not finite or there is too much to enumerate.
    """
    with jax.enable_x64(True):
        policy = in_double(policy)
        tree = noise_tree(game)
        level, weights = _start(game, policy, tree, num_players)
        pages, links, total = [], [], 0
        for time in range(game.horizon):
            page, following, step = _step(game, policy, tree, level, time, num_players)
            total += len(step.source)
            if total > MAX_TRANSITIONS:
                raise _too_large(num_players, f"more than {MAX_TRANSITIONS} transitions by time {time + 1}")
            pages.append(page)
            links.append(step)
            level = following
        best = own = np.zeros(len(level.own))
        for page, step in zip(reversed(pages), reversed(links), strict=True):
            best = _action_values(game, step, best, page.shape).max(axis=1)
            own = np.sum(page * _action_values(game, step, own, page.shape), axis=1)
    return float(weights @ own), float(weights @ (best - own))


def _action_values(
    game: Game, links: _Links, values: Float[np.ndarray, " following"], shape: tuple[int, ...]
) -> Float[np.ndarray, "n actions"]:
    q = np.zeros(shape)
    np.add.at(q, links.source, links.chance * (links.reward + game.discount * values[links.target, None]))
    return q


def _too_large(num_players: int, what: str) -> ValueError:
    return ValueError(
        f"the game of {num_players} players is too large to enumerate: {what}; take fewer players or states, or a "
        "deviator of another kind (non_anticipative, clairvoyant)"
    )


def _start(game: Game, policy: Policy, tree: NoiseTree, num_players: int) -> tuple[_Level, Float[np.ndarray, " n"]]:
    """The configurations at t = 0 and their probabilities."""
    nodes, own, others, weights = [], [], [], []
    for node in np.unique(tree.nodes[0]):
        mass = np.asarray(game.initial_mean_field(jax.tree.map(lambda z, n=node: z[n], tree.noise)), float)
        for counts, chance in _multinomial(num_players - 1, mass, num_players).items():
            for state in np.flatnonzero(mass):
                nodes.append(node)
                own.append(state)
                others.append(counts)
                weights.append(float(tree.probability[node]) * chance * mass[state])
        if len(own) > MAX_CONFIGURATIONS:
            raise _too_large(num_players, f"more than {MAX_CONFIGURATIONS} configurations at time 0")
    hidden = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(own), *jnp.shape(x))), policy.start())
    return _Level(np.array(nodes), np.array(own), np.array(others), hidden), np.array(weights)


def _multinomial(count: int, chances: Float[np.ndarray, " states"], num_players: int) -> Law:
    """Where `count` independent agents are who go to every state with the given chances."""
    support = np.flatnonzero(chances)
    if math.comb(count + len(support) - 1, len(support) - 1) > MAX_CONFIGURATIONS:
        raise _too_large(num_players, f"{count} agents who may go to any of {len(support)} states")
    law: Law = {}
    for split in _splits(count, len(support)):
        counts = np.zeros(len(chances), int)
        counts[support] = split
        ways = math.factorial(count) // math.prod(math.factorial(n) for n in split)
        law[tuple(counts.tolist())] = ways * float(np.prod(chances[support] ** np.array(split)))
    return law


def _splits(count: int, parts: int) -> Iterator[Counts]:
    """All ways to write a number as so many parts in order."""
    if parts == 1:
        yield (count,)
        return
    for first in range(count + 1):
        for rest in _splits(count - first, parts - 1):
            yield (first, *rest)


def _moved(counts: Int[np.ndarray, " states"], operator: Float[np.ndarray, "states states"], num_players: int) -> Law:
    """The law of the counts one step later."""
    law: Law = {(0,) * len(counts): 1.0}
    for state in np.flatnonzero(counts):
        further, law_ = _multinomial(int(counts[state]), operator[state], num_players), law
        law = {}
        for before, p in law_.items():
            for move, q in further.items():
                key = tuple(map(int.__add__, before, move))
                law[key] = law.get(key, 0.0) + p * q
        if len(law) > MAX_CONFIGURATIONS:
            raise _too_large(num_players, f"more than {MAX_CONFIGURATIONS} ways in which the others may move")
    return law


def _step(
    game: Game, policy: Policy, tree: NoiseTree, level: _Level, time: int, num_players: int
) -> tuple[Float[np.ndarray, "n actions"], _Level, _Links]:
    """What the policy plays in the own states, the configurations one time later, and the links to them."""
    noise = jax.tree.map(lambda z: z[level.nodes], tree.noise)
    fields = _mean_fields(level.own, level.others)
    hidden, played, moves = _decide(game, policy, fields, noise, jnp.asarray(time), level.hidden)
    pages, kernels = np.asarray(played), np.asarray(moves)
    operators = np.einsum("nsa,nsax->nsx", pages, kernels)
    marks = _marks(hidden)
    found: dict[tuple[Any, ...], int] = {}
    origin, source, target, chance = [], [], [], []
    for index, (node, own) in enumerate(zip(level.nodes, level.own, strict=True)):
        reach = np.flatnonzero(kernels[index, own].any(axis=0))
        children = zip(np.asarray(tree.children[node]), np.asarray(tree.branch_probability[node]), strict=True)
        law = _moved(level.others[index], operators[index], num_players)
        for child, p in ((child, p) for child, p in children if p > 0):
            for others, q in law.items():
                for state in reach:
                    key = (int(child), int(state), others, marks[index])
                    if key not in found:
                        found[key] = len(found)
                        origin.append(index)
                    source.append(index)
                    target.append(found[key])
                    chance.append(p * q * kernels[index, own, :, state])
        if len(found) > MAX_CONFIGURATIONS or len(source) > MAX_TRANSITIONS:
            raise _too_large(
                num_players,
                f"more than {MAX_CONFIGURATIONS} configurations or {MAX_TRANSITIONS} transitions at time {time + 1}",
            )
    following = _Level(
        np.array([key[0] for key in found]),
        np.array([key[1] for key in found]),
        np.array([key[2] for key in found]),
        jax.tree.map(lambda x: x[np.array(origin)], hidden),
    )
    here, there = np.array(source), np.array(target)
    rewards = _rewards(game, tree, (fields, level.nodes, level.own), following, here, there, time)
    return pages[np.arange(len(pages)), level.own], following, _Links(here, there, np.array(chance), rewards)


def _mean_fields(own: Int[np.ndarray, " n"], others: Int[np.ndarray, "n states"]) -> Float[Array, "n states"]:
    """The empirical mean fields, the own state among them."""
    counts = others + (own[:, None] == np.arange(others.shape[1]))
    return jnp.asarray(counts / counts.sum(axis=1, keepdims=True))


def _marks(hidden: PyTree[Array]) -> list[bytes]:
    """The hidden states in bytes: equal ones are merged."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(hidden)]
    return [b"".join(leaf[index].tobytes() for leaf in leaves) for index in range(len(leaves[0]))]


@eqx.filter_jit
def _decide(
    game: Game, policy: Policy, fields: Float[Array, "n states"], noise: Noise, time: Int[Array, ""], hidden: Hidden
) -> tuple[Hidden, Float[Array, "n states actions"], Float[Array, "n states actions following"]]:
    """Hidden states after the observation, the policy's pages, and the kernels' rows."""
    prepared = policy.prepare()

    def one(mean_field: Array, noise: Noise, hidden: Hidden) -> tuple[Hidden, Array, Array]:
        aggregate = AggregateState(mean_field, noise, time)
        hidden = policy.update(hidden, policy.signal(aggregate, game.observe(aggregate)), time)
        rows = jax.vmap(game.kernel(aggregate).expect, out_axes=-1)(jnp.eye(game.num_states))
        return hidden, jax.nn.softmax(policy.decode(prepared, hidden)), rows

    return jax.vmap(one)(fields, noise, hidden)


def _rewards(
    game: Game,
    tree: NoiseTree,
    here: tuple[Float[Array, "n states"], Int[np.ndarray, " n"], Int[np.ndarray, " n"]],
    following: _Level,
    source: Int[np.ndarray, " m"],
    target: Int[np.ndarray, " m"],
    time: int,
) -> Float[np.ndarray, "m actions"]:
    """Those of the deviator on every link."""
    fields, nodes, own = here
    then = _mean_fields(following.own, following.others)
    width = 1 << (len(source) - 1).bit_length()  # padded, so that few programs are compiled
    length = len(source)
    source, target = (np.resize(index, width) for index in (source, target))
    found = _rewards_along(
        game,
        jax.tree.map(lambda z: z[nodes[source]], tree.noise),
        jax.tree.map(lambda z: z[following.nodes[target]], tree.noise),
        fields[source], then[target], jnp.asarray(own[source]), jnp.asarray(time),
    )  # fmt: skip
    return np.asarray(found)[:length]


@eqx.filter_jit
def _rewards_along(
    game: Game, noise: Noise, after: Noise, now: Array, then: Array, own: Array, time: Array
) -> Float[Array, "m actions"]:
    def one(inputs: tuple[Noise, Noise, Array, Array, Array]) -> Array:
        noise, after, now, then, own = inputs
        return game.reward(AggregateState(now, noise, time), AggregateState(then, after, time + 1))[own]

    return jax.lax.map(one, (noise, after, now, then, own), batch_size=1024)
