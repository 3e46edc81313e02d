"""The game of N players by enumeration: one who deviates and knows everything so far, against N - 1 who do not.

The deviator faces a Markov decision process over configurations (node of the noise tree, own state, counts of the
others over states, hidden state of the policy). All players, also those who follow the policy, observe and live in the
true empirical mean field, (counts + delta_s) / N. The algorithm:

1. From the configurations at t = 0 on, those of the next time are enumerated (`_advance`). The others move
   independently given the configuration, so the law of their counts is a convolution of multinomials, one for every
   state. Equal configurations are merged.
2. Backward induction over the transitions gives the deviator's optimal values, and those of the policy.
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
Law = dict[Counts, float]  # the probability of every vector of counts


class _Configurations(NamedTuple):
    """The n configurations of one time; `hidden` is that before its observation."""

    nodes: Int[np.ndarray, " n"]
    own: Int[np.ndarray, " n"]
    others: Int[np.ndarray, "n states"]
    hidden: PyTree[Array]

    def mean_fields(self) -> Float[Array, "n states"]:
        """The empirical mean fields, the own state among them."""
        counts = self.others + (self.own[:, None] == np.arange(self.others.shape[1]))
        return jnp.asarray(counts / counts.sum(axis=1, keepdims=True))


class _Transitions(NamedTuple):
    """Transitions to the configurations of the next time, with the probability and reward of every action (m, A)."""

    source: Int[np.ndarray, " m"]
    target: Int[np.ndarray, " m"]
    probability: Float[np.ndarray, "m actions"]
    reward: Float[np.ndarray, "m actions"]

    def action_values(
        self, values: Float[np.ndarray, " following"], discount: float, shape: tuple[int, ...]
    ) -> Float[np.ndarray, "n actions"]:
        """r + gamma P v for the values of the next time; `shape` is that of the result."""
        q = np.zeros(shape)
        np.add.at(q, self.source, self.probability * (self.reward + discount * values[self.target, None]))
        return q


def enumerate_players(game: Game, policy: Policy, num_players: int) -> tuple[float, float]:
    """The return when all play the policy, and the gain of one who deviates with full knowledge.

    Exact, in double precision. Raises `ValueError` if the noise is not finite or there is too much to enumerate.
    """
    if declared := game.declared & {"public", "actions", "price"}:
        raise ValueError(
            f"a deviator who knows everything is not available where a game declares {', '.join(sorted(declared))}: "
            "allowed: non_anticipative, clairvoyant"
        )
    with jax.enable_x64(True):
        policy = in_double(policy)
        tree = noise_tree(game)
        now, weights = _initial_configurations(game, policy, tree, num_players)
        policies, transitions, total = [], [], 0
        for time in range(game.horizon):
            probabilities, following, links = _advance(game, policy, tree, now, time, num_players)
            total += len(links.source)
            if total > MAX_TRANSITIONS:
                raise _too_large(num_players, f"more than {MAX_TRANSITIONS} transitions by time {time + 1}")
            policies.append(probabilities)
            transitions.append(links)
            now = following
        best = own = np.zeros(len(now.own))
        for probabilities, links in zip(reversed(policies), reversed(transitions), strict=True):
            shape = probabilities.shape
            best = links.action_values(best, game.discount, shape).max(axis=1)
            own = np.sum(probabilities * links.action_values(own, game.discount, shape), axis=1)
    return float(weights @ own), float(weights @ (best - own))


def _too_large(num_players: int, what: str) -> ValueError:
    return ValueError(
        f"the game of {num_players} players is too large to enumerate: {what}; take fewer players or states, or a "
        "deviator of another kind (non_anticipative, clairvoyant)"
    )


def _initial_configurations(
    game: Game, policy: Policy, tree: NoiseTree, num_players: int
) -> tuple[_Configurations, Float[np.ndarray, " n"]]:
    """The configurations at t = 0 and their probabilities."""
    nodes, own, others, weights = [], [], [], []
    for node in np.unique(tree.nodes[0]):
        mass = np.asarray(game.initial_mean_field(jax.tree.map(lambda z, n=node: z[n], tree.noise)), float)
        for counts, probability in _law_of_counts(num_players - 1, mass, num_players).items():
            for state in np.flatnonzero(mass):
                nodes.append(node)
                own.append(state)
                others.append(counts)
                weights.append(float(tree.probability[node]) * probability * mass[state])
        if len(own) > MAX_CONFIGURATIONS:
            raise _too_large(num_players, f"more than {MAX_CONFIGURATIONS} configurations at time 0")
    hidden = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(own), *jnp.shape(x))), policy.start())
    return _Configurations(np.array(nodes), np.array(own), np.array(others), hidden), np.array(weights)


def _law_of_counts(count: int, probabilities: Float[np.ndarray, " states"], num_players: int) -> Law:
    """The multinomial law of the counts of `count` agents who each go to a state with the given probabilities."""
    support = np.flatnonzero(probabilities)
    if math.comb(count + len(support) - 1, len(support) - 1) > MAX_CONFIGURATIONS:
        raise _too_large(num_players, f"{count} agents who may go to any of {len(support)} states")
    law: Law = {}
    for split in _compositions(count, len(support)):
        counts = np.zeros(len(probabilities), int)
        counts[support] = split
        orders = math.factorial(count) // math.prod(math.factorial(n) for n in split)
        law[tuple(counts.tolist())] = orders * float(np.prod(probabilities[support] ** np.array(split)))
    return law


def _compositions(count: int, parts: int) -> Iterator[Counts]:
    """All ways to write a number as a sum of so many parts in order."""
    if parts == 1:
        yield (count,)
        return
    for first in range(count + 1):
        for rest in _compositions(count - first, parts - 1):
            yield (first, *rest)


def _law_of_next_counts(
    counts: Int[np.ndarray, " states"], operator: Float[np.ndarray, "states states"], num_players: int
) -> Law:
    """The law of the counts one step later, when every agent moves by the operator."""
    law: Law = {(0,) * len(counts): 1.0}
    for state in np.flatnonzero(counts):
        from_state, before = _law_of_counts(int(counts[state]), operator[state], num_players), law
        law = {}
        for arrived, p in before.items():
            for arriving, q in from_state.items():
                key = tuple(map(int.__add__, arrived, arriving))
                law[key] = law.get(key, 0.0) + p * q
        if len(law) > MAX_CONFIGURATIONS:
            raise _too_large(num_players, f"more than {MAX_CONFIGURATIONS} ways in which the others may move")
    return law


def _advance(
    game: Game, policy: Policy, tree: NoiseTree, now: _Configurations, time: int, num_players: int
) -> tuple[Float[np.ndarray, "n actions"], _Configurations, _Transitions]:
    """What the policy plays in the own states, the configurations of the next time, and the transitions to them."""
    noise, mean_fields = jax.tree.map(lambda z: z[now.nodes], tree.noise), now.mean_fields()
    hidden, *tables = _policies_and_kernels(game, policy, mean_fields, noise, jnp.asarray(time), now.hidden)
    policies, kernels = map(np.asarray, tables)
    operators = np.einsum("nsa,nsax->nsx", policies, kernels)
    remembered = _as_bytes(hidden)
    numbers: dict[tuple[Any, ...], int] = {}  # of the configurations of the next time
    origin, source, target, probability = [], [], [], []
    for index, (node, own) in enumerate(zip(now.nodes, now.own, strict=True)):
        reachable = np.flatnonzero(kernels[index, own].any(axis=0))
        children = zip(np.asarray(tree.children[node]), np.asarray(tree.branch_probability[node]), strict=True)
        law = _law_of_next_counts(now.others[index], operators[index], num_players)
        for child, p in ((child, p) for child, p in children if p > 0):
            for others, q in law.items():
                for state in reachable:
                    key = (int(child), int(state), others, remembered[index])
                    if key not in numbers:
                        numbers[key] = len(numbers)
                        origin.append(index)
                    source.append(index)
                    target.append(numbers[key])
                    probability.append(p * q * kernels[index, own, :, state])
        if len(numbers) > MAX_CONFIGURATIONS or len(source) > MAX_TRANSITIONS:
            raise _too_large(
                num_players,
                f"more than {MAX_CONFIGURATIONS} configurations or {MAX_TRANSITIONS} transitions at time {time + 1}",
            )
    nodes, states, counts, _ = zip(*numbers, strict=True)
    hidden = jax.tree.map(lambda x: x[np.array(origin)], hidden)
    following = _Configurations(np.array(nodes), np.array(states), np.array(counts), hidden)
    ends = np.array(source), np.array(target)
    rewards = _rewards(game, tree, now, following, *ends, time)
    return policies[np.arange(len(policies)), now.own], following, _Transitions(*ends, np.array(probability), rewards)


def _as_bytes(hidden: PyTree[Array]) -> list[bytes]:
    """Every hidden state in bytes, so that equal ones are merged."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(hidden)]
    return [b"".join(leaf[index].tobytes() for leaf in leaves) for index in range(len(leaves[0]))]


@eqx.filter_jit
def _policies_and_kernels(
    game: Game, policy: Policy, mean_fields: Float[Array, "n states"], noise: Noise, time: Int[Array, ""],
    hidden: Hidden,
) -> tuple[Hidden, Float[Array, "n states actions"], Float[Array, "n states actions following"]]:  # fmt: skip
    """The hidden states after the observation, what the policy plays, and the dense kernels."""
    prepared = policy.prepare()

    def at(mean_field: Array, noise: Noise, hidden: Hidden) -> tuple[Hidden, Array, Array]:
        aggregate = AggregateState(mean_field, noise, time)
        hidden = policy.update(hidden, policy.signal(aggregate, game.observe(aggregate)), time)
        rows = jax.vmap(game.kernel(aggregate).expect, out_axes=-1)(jnp.eye(game.num_states))
        return hidden, game.restricted(aggregate, jax.nn.softmax(policy.decode(prepared, hidden))), rows

    return jax.vmap(at)(mean_fields, noise, hidden)


def _rewards(
    game: Game,
    tree: NoiseTree,
    now: _Configurations,
    then: _Configurations,
    source: Int[np.ndarray, " m"],
    target: Int[np.ndarray, " m"],
    time: int,
) -> Float[np.ndarray, "m actions"]:
    """The deviator's rewards on every transition."""
    length = len(source)
    width = 1 << (length - 1).bit_length()  # padded, so that few programs are compiled
    source, target = (np.resize(index, width) for index in (source, target))
    rewards = _rewards_on(
        game,
        jax.tree.map(lambda z: z[now.nodes[source]], tree.noise),
        jax.tree.map(lambda z: z[then.nodes[target]], tree.noise),
        now.mean_fields()[source], then.mean_fields()[target], jnp.asarray(now.own[source]), jnp.asarray(time),
    )  # fmt: skip
    return np.asarray(rewards)[:length]


@eqx.filter_jit
def _rewards_on(
    game: Game, noise: Noise, next_noise: Noise, mean_field: Array, next_mean_field: Array, own: Array, time: Array
) -> Float[Array, "m actions"]:
    def reward(inputs: tuple[Noise, Noise, Array, Array, Array]) -> Array:
        noise, next_noise, mean_field, next_mean_field, own = inputs
        now = AggregateState(mean_field, noise, time)
        return game.reward_of_allowed(now, AggregateState(next_mean_field, next_noise, time + 1))[own]

    inputs = noise, next_noise, mean_field, next_mean_field, own
    return jax.lax.map(reward, inputs, batch_size=1024)
