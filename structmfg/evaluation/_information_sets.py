"""Public information sets on a noise tree: nodes with the same history of observations.

A policy pi(a | s, o_{0:t}) plays the same at all nodes n of an information set. Its action values there are averages
over the set with weights p(n) mu_n(s): the joint probability of the node and of an agent in state s who has played the
population's policy.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from structmfg.evaluation._tree_sweeps import Flow, aggregates_on_tree
from structmfg.games import AggregateState, Game, NoiseTree

LEAST_MASS = 1e-30  # replaces the mass of empty states, so that there the probabilities of the nodes alone decide


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
    """The information sets under given mean fields; observations are equal if they differ by no more than rounding."""
    decisions, size = tree.num_decisions, tree.block
    tolerance = jnp.sqrt(jnp.finfo(flow.dtype).eps)
    nodes = jax.tree.map(lambda x: x[:decisions], aggregates_on_tree(game, tree, flow))
    observations = jax.vmap(game.observe)(nodes.as_observed())
    scale = tolerance * (1 + jnp.max(jnp.abs(observations), axis=0))
    by_level = observations.reshape(decisions // size, size, observations.shape[1])
    parents = (tree.parent[:decisions] % size).reshape(-1, size)

    def step(before: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        observed, parent = inputs
        alike = jnp.all(jnp.abs(observed[:, None] - observed) <= scale, axis=-1)
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
    """Action values averaged over the information set of every slot, with weights `mass`, p(n) mu_n(s)."""
    weights = same_information_set[:, :, None] * mass
    return jnp.einsum("nms,msa->nsa", weights / jnp.maximum(weights.sum(1, keepdims=True), LEAST_MASS**2), q)


def pooling_mass(tree: NoiseTree, flow: Flow, num_states: int) -> Float[Array, "decisions states"]:
    """The weights p(n) mu_n(s), with mu_n(s) at least `LEAST_MASS`; expected mean fields may be negative."""
    decisions = tree.num_decisions
    return tree.probability[:decisions, None] * jnp.maximum(flow[:decisions, :num_states], LEAST_MASS)


def has_perfect_recall(game: Game, tree: NoiseTree, flow: Flow, sets: PublicSets) -> Bool[Array, ""]:
    """Whether an agent's beliefs over the nodes of every information set do not depend on what it has played.

    They do not if a set is a single node, or if its nodes start with the same mean field and have been reached through
    equal kernels; equality of kernels is tested on random values. Only then does backward induction over the sets give
    a best response.

    Args:
        game: The game.
        tree: Its tree, with blocks that are whole levels.
        flow: The mean fields (M, S).
        sets: The information sets under these mean fields.
    """
    decisions, size = tree.num_decisions, tree.block
    probes = jax.random.normal(jax.random.key(0), (2, game.num_states), flow.dtype)
    nodes = jax.tree.map(lambda x: x[:decisions], aggregates_on_tree(game, tree, flow))

    def probe(aggregate: AggregateState) -> Array:
        kernel = game.kernel(aggregate)
        return jnp.stack([kernel.expect(v) for v in probes])

    responses = jax.lax.map(probe, nodes, batch_size=size)
    responses = responses.reshape(-1, size, responses[0].size)
    parents = (tree.parent[:decisions] % size).reshape(-1, size)
    is_node = (tree.probability[:decisions] > 0).reshape(-1, size)
    start = flow[:size, : game.num_states]
    tolerance = jnp.sqrt(jnp.finfo(flow.dtype).eps)

    def same(rows: Array) -> Array:
        return jax.lax.map(lambda row: jnp.all(jnp.abs(rows - row) <= tolerance, axis=-1), rows)

    def step(before: tuple[Array, Array], inputs: tuple[Array, ...]) -> tuple[tuple[Array, Array], Array]:
        beliefs, kernels = before
        response, parent, is_node, same_information_set = inputs
        same_parent = parent[:, None] == parent
        beliefs = beliefs[parent][:, parent] & (same_parent | kernels[parent][:, parent])
        pairs = same_information_set & is_node[:, None] & is_node & ~jnp.eye(size, dtype=bool)
        return (beliefs, same(response)), jnp.all(beliefs | ~pairs)

    # Slots at t = 0 are their own parents, so there the initial mean fields stand for the beliefs.
    first = (same(start), jnp.ones((size, size), bool))
    _, holds = jax.lax.scan(
        step, first, (responses, parents, is_node, sets.same_information_set.reshape(-1, size, size))
    )
    return jnp.all(holds)
