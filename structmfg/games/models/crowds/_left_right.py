"""`left_right`: one choice between two sides, of which the right one is twice as bad when crowded (MFGLib's test game).

At the equilibrium two thirds go left. Cui & Koeppl 2021, arXiv 2102.01585.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray
from typing_extensions import override

from structmfg.games._aggregate import Agents, AggregateState
from structmfg.games._kinds import NoiselessGame
from structmfg.operators import SuccessorKernel, TransitionKernel


@dataclasses.dataclass(frozen=True)
class LeftRight(NoiselessGame):
    """One choice between two sides, of which the right one is twice as bad when crowded.

    States 0 (start), 1 (left), 2 (right); actions 0 (to the left) and 1 (to the right); one step, no common noise.

    Reward: -mu'(1) for going left, -2 mu'(2) for going right, mu' being the mean field after the step.
    Observation: (mu(1), mu(2)).
    """

    num_states = 3
    num_actions = 2
    horizon = 1
    discount = 1.0

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        """Every action leads, from any state, to the side that it names."""
        targets = jnp.broadcast_to(jnp.array([1, 2]), (3, 2))[:, :, None]
        return SuccessorKernel(targets, jnp.ones(targets.shape))

    @override
    def move_agents(self, aggregate: AggregateState, states: Agents, actions: Agents, key: PRNGKeyArray) -> Agents:
        return actions + 1

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        return jnp.broadcast_to(-following.mean_field[1:] * jnp.array([1.0, 2.0]), (3, 2))

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, "2"]:
        return aggregate.mean_field[1:]

    @override
    def initial_mean_field(self, noise: Int[Array, ""]) -> Float[Array, " states"]:
        return jnp.array([1.0, 0.0, 0.0])

    @override
    def aggregates(self, mean_field: Float[Array, " states"]) -> Float[Array, "2"]:
        return mean_field[1:]

    @override
    def quantities(self, aggregate: AggregateState) -> dict[str, Array]:
        return {"mass on the left": aggregate.mean_field[1], "mass on the right": aggregate.mean_field[2]}

    @override
    def state_axis(self) -> tuple[str, Float[Array, " states"]]:
        return "state (0 start, 1 left, 2 right)", jnp.arange(3.0)
