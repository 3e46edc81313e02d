"""What the public knows on a noise tree: nodes that no history of observations tells apart.

A policy pi(a | s, o_{0:t}) plays alike at all nodes of an information set. What it is worth there is an average over
the set with weights p(n) mu_n(s), the joint probability of the node and of an agent in s who has played that policy.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from structmfg.evaluation._tree_sweeps import Flow
from structmfg.games import AggregateState, Game, Noise, NoiseTree

LEAST_MASS = 1e-30  # stands for the mass of empty states, where the node's probability alone decides


class PublicSets(NamedTuple):
    """The information sets of a tree whose blocks are whole levels.

    Attributes:
        same_information_set: (D, B); whether slot n and the b-th slot of its level have the same history of
            observations.
        members: (D,); the first slot of the information set of each slot, which stands for the set.
        observations: (D, O); the public observation at each slot.
    """

    same_information_set: Bool[Array, "decisions block"]
    members: Int[Array, " decisions"]
    observations: Float[Array, "decisions observation"]


def public_sets(game: Game, tree: NoiseTree, flow: Flow) -> PublicSets:
    """The information sets where the mean field is `flow`; observations count as equal up to rounding."""
    decisions, size = tree.num_decisions, tree.block
    tolerance = jnp.sqrt(jnp.finfo(flow.dtype).eps)
    noise = jax.tree.map(lambda z: z[:decisions], tree.noise)
    observations = jax.vmap(lambda mu, z, t: game.observe(AggregateState(mu, z, t)))(
        flow[:decisions], noise, tree.slot_time[:decisions]
    )
    scale = tolerance * (1 + jnp.max(jnp.abs(observations), axis=0))
    by_level = observations.reshape(decisions // size, size, observations.shape[1])
    parents = (tree.parent[:decisions] % size).reshape(-1, size)

    def step(before: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        seen, parent = inputs
        alike = jnp.all(jnp.abs(seen[:, None] - seen) <= scale, axis=-1)
        same_information_set = alike & before[parent][:, parent]
        return same_information_set, same_information_set

    _, same_information_set = jax.lax.scan(step, jnp.ones((size, size), bool), (by_level, parents))
    first = jnp.argmax(same_information_set, axis=-1) + size * jnp.arange(len(same_information_set))[:, None]
    return PublicSets(same_information_set.reshape(decisions, size), first.reshape(decisions), observations)


def pool(
    q: Float[Array, "block states actions"],
    same_information_set: Bool[Array, "block block"],
    mass: Float[Array, "block states"],
) -> Float[Array, "block states actions"]:
    """Action values averaged over every slot's information set with weights `mass`, p(n) mu_n(s)."""
    weights = same_information_set[:, :, None] * mass
    return jnp.einsum("nms,msa->nsa", weights / jnp.maximum(weights.sum(1, keepdims=True), LEAST_MASS**2), q)


def pooling_mass(tree: NoiseTree, flow: Flow) -> Float[Array, "decisions states"]:
    """p(n) mu_n(s); where nobody is, p(n) alone decides. Expected mean fields may be signed: that counts as nobody."""
    decisions = tree.num_decisions
    return tree.probability[:decisions, None] * jnp.maximum(flow[:decisions], LEAST_MASS)


def has_perfect_recall(game: Game, tree: NoiseTree, flow: Flow, sets: PublicSets) -> Bool[Array, ""]:
    """Whether beliefs over the nodes of every set are the same whatever the agent has played.

    So it is where a set is a single node, or where its nodes start alike and have been reached through equal kernels;
    that two are equal is probed with random values. Only then is backward induction over the sets a best response.
    """
    decisions, size = tree.num_decisions, tree.block
    probes = jax.random.normal(jax.random.key(0), (2, game.num_states), flow.dtype)
    noise = jax.tree.map(lambda z: z[:decisions], tree.noise)

    def probe(mean_field: Array, noise: Noise, time: Array) -> Array:
        kernel = game.kernel(AggregateState(mean_field, noise, time))
        return jnp.stack([kernel.expect(v) for v in probes])

    marks = jax.lax.map(lambda x: probe(*x), (flow[:decisions], noise, tree.slot_time[:decisions]), batch_size=size)
    marks = marks.reshape(-1, size, marks[0].size)
    parents = (tree.parent[:decisions] % size).reshape(-1, size)
    real = (tree.probability[:decisions] > 0).reshape(-1, size)
    start = flow[:size]
    tolerance = jnp.sqrt(jnp.finfo(flow.dtype).eps)

    def same(rows: Array) -> Array:
        return jax.lax.map(lambda row: jnp.all(jnp.abs(rows - row) <= tolerance, axis=-1), rows)

    def step(before: tuple[Array, Array], inputs: tuple[Array, ...]) -> tuple[tuple[Array, Array], Array]:
        beliefs, kernels = before
        mark, parent, real, same_information_set = inputs
        one_parent = parent[:, None] == parent
        beliefs = beliefs[parent][:, parent] & (one_parent | kernels[parent][:, parent])
        judged = same_information_set & real[:, None] & real & ~jnp.eye(size, dtype=bool)
        return (beliefs, same(mark)), jnp.all(beliefs | ~judged)

    # The slots at t = 0 are their own parents: what counts there is where the population starts.
    first = (same(start), jnp.ones((size, size), bool))
    _, good = jax.lax.scan(step, first, (marks, parents, real, sets.same_information_set.reshape(-1, size, size)))
    return jnp.all(good)
