"""An aggregate state as one vector: the mean field, and after it the entries of public state, actions and price.

Solvers on noise trees hold one such vector a node. In a game that declares none of the three it is the mean field.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from structmfg.games._aggregate import AggregateState, Noise
from structmfg.games._base import Game


def as_vector(game: Game, aggregate: AggregateState) -> Float[Array, " entries"]:
    """The mean field with the entries of public state, actions and price behind it; zero for what is not known."""
    if not game.declared & {"public", "actions", "price"}:
        return aggregate.mean_field
    entries = [aggregate.mean_field]
    members = aggregate.public, aggregate.actions, aggregate.price
    for shapes, given in zip(_members(game, aggregate.noise), members, strict=True):
        known = jax.tree.map(lambda shape: jnp.zeros(shape.shape), shapes) if given is None else given
        entries += [jnp.ravel(leaf).astype(aggregate.mean_field.dtype) for leaf in jax.tree.leaves(known)]
    return jnp.concatenate(entries)


def from_vector(game: Game, vector: Float[Array, " entries"], noise: Noise, time: Int[Array, ""]) -> AggregateState:
    """The aggregate state of a vector. Whole numbers in the public state are rounded."""
    if not game.declared & {"public", "actions", "price"}:
        return AggregateState(vector, noise, time)
    leaves, structure = jax.tree.flatten(_members(game, noise))
    start, found = game.num_states, []
    for leaf in leaves:
        entries = vector[start : start + leaf.size].reshape(leaf.shape)
        whole = not jnp.issubdtype(leaf.dtype, jnp.inexact)
        found.append(jnp.round(entries).astype(leaf.dtype) if whole else entries)
        start += leaf.size
    return AggregateState(vector[: game.num_states], noise, time, *jax.tree.unflatten(structure, found))


def num_entries(game: Game, noise: Noise) -> int:
    """The size of the vector, given the noise at any one time."""
    if not game.declared & {"public", "actions", "price"}:
        return game.num_states
    return game.num_states + sum(leaf.size for leaf in jax.tree.leaves(_members(game, noise)))


def _members(game: Game, noise: Noise) -> tuple[Any, Any, Any]:
    """The shapes of public state, actions and price; None for what the game does not declare."""

    def members(noise: Noise) -> tuple[Any, Any, Any]:
        table = jnp.full((game.num_states, game.num_actions), 1 / game.num_actions)
        aggregate, *_ = game.decide(game.at_start(noise), lambda _: (table, None))
        return aggregate.public, aggregate.actions, aggregate.price

    return jax.eval_shape(members, noise)
