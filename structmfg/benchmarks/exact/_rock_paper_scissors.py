"""One round of rock, paper and scissors against a crowd, on which classical fictitious play goes round in circles."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from typing_extensions import override

from structmfg.games import AggregateState, NoiselessGame
from structmfg.operators import SuccessorKernel, TransitionKernel


@dataclasses.dataclass(frozen=True)
class OneRound(NoiselessGame):
    """The finite game of Cui & Koeppl 2021 (arXiv 2102.01585), after Shapley (1964): a move, and what it earns.

    States 0 (start), 1, 2, 3; the actions lead to 1, 2 and 3. What is won against one move is twice what is lost to
    the other, and all is two and three times as much for the second and the third.
    """

    num_states = 4
    num_actions = 3
    horizon = 2
    discount = 1.0

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        targets = jnp.broadcast_to(jnp.array([1, 2, 3]), (4, 3))[:, :, None]
        return SuccessorKernel(targets, jnp.ones(targets.shape))

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        mass = aggregate.mean_field
        earned = jnp.stack(
            [jnp.zeros_like(mass[0]), 2 * mass[3] - mass[2], 4 * mass[1] - 2 * mass[3], 6 * mass[2] - 3 * mass[1]]
        )
        return jnp.broadcast_to(earned[:, None], (4, 3))

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, "3"]:
        return aggregate.mean_field[1:]

    @override
    def initial_mean_field(self, noise: Int[Array, ""]) -> Float[Array, " states"]:
        return jnp.array([1.0, 0.0, 0.0, 0.0])
