"""`crowd_modelling`: a walk on a ring towards one cell, away from the crowd; no common noise (Perrin et al. 2020).

The form of OpenSpiel's mean field tests (arXiv 2007.03458). Their figures come from a value table without the last
action; those of the game as defined, with 10 cells, are: the uniform policy's return 27.42585092994044, that of the
best response to it 30.21253334623878.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from structmfg._checks import plain_fields
from structmfg.games._base import AggregateState, Game, NoisePaths, check_game
from structmfg.operators import SuccessorKernel, TransitionKernel

_STEPS = np.array([-1, 0, 1])  # the actions, and the values of the noise
_LEAST_MASS = 1e-25  # keeps the reward finite in an empty cell


@dataclasses.dataclass(frozen=True)
class CrowdModelling(Game):
    """Cells 0..S-1 of a ring, actions -1, 0, 1; the next cell is s + a + e mod S, e uniform on -1, 0, 1.

    Reward at t = 0..T-1, with c = S // 2: 1 - |s - c| / c - log(mu(s) + 1e-25) - |last a| / 10, the last action being
    that by which s was entered (none at t = 0). What an action costs on arrival is charged, discounted, when it is
    taken; that of T-1 is free. Observation: the mean field.
    """

    num_states: int = 10
    horizon: int = 10
    discount: float = 1.0

    def __post_init__(self) -> None:
        plain_fields(self)
        check_game(self)

    @property
    def num_actions(self) -> int:
        """A."""
        return len(_STEPS)

    @property
    def actions(self) -> np.ndarray:
        """The displacements (A,)."""
        return _STEPS

    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        """A step round the ring, followed by another at random: 3 + 3 successors a cell rather than 9."""
        targets = jnp.asarray((np.arange(self.num_states)[:, None] + _STEPS) % self.num_states)[:, :, None]
        step = SuccessorKernel(targets, jnp.ones(targets.shape))
        return step >> step.under(jnp.full(targets.shape[:2], 1 / len(_STEPS)))

    def move_agents(
        self,
        aggregate: AggregateState,
        states: Int[Array, " agents"],
        actions: Int[Array, " agents"],
        key: PRNGKeyArray,
    ) -> Int[Array, " agents"]:
        """A step of one's own and another at random, round the ring."""
        return (states + jnp.asarray(_STEPS)[actions] + jax.random.randint(key, states.shape, -1, 2)) % self.num_states

    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        """See the class."""
        centre = self.num_states // 2
        place = 1 - jnp.asarray(np.abs(np.arange(self.num_states) - centre) / centre)
        later = self.discount * jnp.asarray(np.abs(_STEPS) / 10)
        in_state = place - jnp.log(aggregate.mean_field + _LEAST_MASS)
        return in_state[:, None] - jnp.where(self.is_last(aggregate), 0, later)

    def observe(self, aggregate: AggregateState) -> Float[Array, " states"]:
        """The mean field."""
        return aggregate.mean_field

    def normalise(self, observation: Float[Array, "*batch observation"]) -> Float[Array, "*batch observation"]:
        """Relative to the uniform mean field."""
        return observation * self.num_states

    def initial_noise(self, uniform: Float[Array, ""]) -> Int[Array, ""]:
        """Always 0."""
        return jnp.zeros((), int)

    def next_noise(self, noise: Int[Array, ""], uniform: Float[Array, ""], time: Int[Array, ""]) -> Int[Array, ""]:
        """Always 0."""
        return noise

    def scenarios(self) -> NoisePaths:
        """One path."""
        return NoisePaths(jnp.zeros((1, self.horizon + 1), int), jnp.ones(1))

    def quantities(self, aggregate: AggregateState) -> dict[str, Array]:
        """The mass in the cell that all prefer."""
        return {"mass at the centre": aggregate.mean_field[self.num_states // 2]}

    def state_axis(self) -> tuple[str, Float[Array, " states"]]:
        """The cell."""
        return "cell", jnp.arange(self.num_states, dtype=float)

    def noise_label(self, noise: Int[Array, " times"]) -> str:
        """There is none."""
        return "no common noise"
