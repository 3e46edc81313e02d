"""`left_right`: one choice between two sides, of which the right one is twice as bad when crowded (MFGLib's test game).

At the equilibrium two thirds go left. Cui & Koeppl 2021, arXiv 2102.01585.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from structmfg.games._base import AggregateState, Game, NoisePaths
from structmfg.operators import SuccessorKernel, TransitionKernel


@dataclasses.dataclass(frozen=True)
class LeftRight(Game):
    """States 0 (start), 1 (left), 2 (right); actions 0 (to the left) and 1 (to the right); one step, no common noise.

    Reward: -mu'(1) for going left, -2 mu'(2) for going right, mu' being the mean field after the step.
    Observation: (mu(1), mu(2)).
    """

    num_states = 3
    num_actions = 2
    horizon = 1
    discount = 1.0

    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        """Where one wants to be, from everywhere."""
        targets = jnp.broadcast_to(jnp.array([1, 2]), (3, 2))[:, :, None]
        return SuccessorKernel(targets, jnp.ones(targets.shape))

    def move_agents(
        self,
        aggregate: AggregateState,
        states: Int[Array, " agents"],
        actions: Int[Array, " agents"],
        key: PRNGKeyArray,
    ) -> Int[Array, " agents"]:
        """Where one wants to be."""
        return actions + 1

    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        """See the class."""
        return jnp.broadcast_to(-following.mean_field[1:] * jnp.array([1.0, 2.0]), (3, 2))

    def observe(self, aggregate: AggregateState) -> Float[Array, "2"]:
        """(mass on the left, mass on the right)."""
        return aggregate.mean_field[1:]

    def initial_mean_field(self, noise: Int[Array, ""]) -> Float[Array, " states"]:
        """All at the start."""
        return jnp.array([1.0, 0.0, 0.0])

    def aggregates(self, mean_field: Float[Array, " states"]) -> Float[Array, "2"]:
        """(mass on the left, mass on the right)."""
        return mean_field[1:]

    def initial_noise(self, uniform: Float[Array, ""]) -> Int[Array, ""]:
        """Always 0."""
        return jnp.zeros((), int)

    def next_noise(self, noise: Int[Array, ""], uniform: Float[Array, ""], time: Int[Array, ""]) -> Int[Array, ""]:
        """Always 0."""
        return noise

    def scenarios(self) -> NoisePaths:
        """One path."""
        return NoisePaths(jnp.zeros((1, 2), int), jnp.ones(1))

    def quantities(self, aggregate: AggregateState) -> dict[str, Array]:
        """The mass on either side."""
        return {"mass on the left": aggregate.mean_field[1], "mass on the right": aggregate.mean_field[2]}

    def state_axis(self) -> tuple[str, Float[Array, " states"]]:
        """Start, left and right."""
        return "state (0 start, 1 left, 2 right)", jnp.arange(3.0)

    def noise_label(self, noise: Int[Array, " times"]) -> str:
        """There is none."""
        return "no common noise"
