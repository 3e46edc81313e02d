"""`crowd_modelling`: a walk on a ring towards one cell, away from the crowd; no common noise (Perrin et al. 2020).

This is the form of OpenSpiel's mean field tests (arXiv 2007.03458). OpenSpiel's numbers come from a value table without
the last action. Those of the game as defined, with 10 cells, are 27.42585092994044 for the return of the uniform policy
and 30.21253334623878 for that of the best response to it.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from typing_extensions import override

from structmfg._checks import plain_fields
from structmfg.games._aggregate import Agents, AggregateState
from structmfg.games._kinds import NoiselessGame
from structmfg.games._validate import check_game
from structmfg.operators import SuccessorKernel, TransitionKernel

_STEPS = np.array([-1, 0, 1])  # the actions, and the values of the noise
_LEAST_MASS = 1e-25  # keeps the reward finite in an empty cell


@dataclasses.dataclass(frozen=True)
class CrowdModelling(NoiselessGame):
    """Agents on a ring walk towards one cell and away from the crowd.

    Cells 0..S-1 of a ring, actions -1, 0, 1; the next cell is s + a + e mod S, e uniform on -1, 0, 1.

    Reward at t = 0..T-1, with c = S // 2: 1 - |s - c| / c - log(mu(s) + 1e-25) - |last a| / 10, the last action being
    that by which s was entered (none at t = 0). The cost of an action, due on arrival, is charged with a discount when
    the action is taken; the action at T-1 is free. Observation: the mean field.

    Attributes:
        num_states: Cells of the ring.
        horizon: Steps.
        discount: Weight of the next reward relative to this one.
    """

    num_states: int = 10
    horizon: int = 10
    discount: float = 1.0

    def __post_init__(self) -> None:
        plain_fields(self)
        check_game(self)

    @property
    @override
    def num_actions(self) -> int:
        return len(_STEPS)

    @property
    def actions(self) -> np.ndarray:
        """The displacement (A,) of every action."""
        return _STEPS

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        """The chosen step, then a random one: 3 + 3 successors a cell instead of 9."""
        targets = ((jnp.arange(self.num_states)[:, None] + jnp.asarray(_STEPS, int)) % self.num_states)[:, :, None]
        step = SuccessorKernel(targets, jnp.ones(targets.shape))
        return step >> step.under(jnp.full(targets.shape[:2], 1 / len(_STEPS)))

    @override
    def move_agents(self, aggregate: AggregateState, states: Agents, actions: Agents, key: PRNGKeyArray) -> Agents:
        """The chosen step and a random one, round the ring."""
        random = jax.random.randint(key, states.shape, -1, 2)
        return (states + jnp.asarray(_STEPS, int)[actions] + random) % self.num_states

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        centre = self.num_states // 2
        place = 1 - jnp.abs(jnp.arange(self.num_states) - centre) / centre
        later = self.discount * jnp.asarray(np.abs(_STEPS) / 10)
        in_state = place - jnp.log(aggregate.mean_field + _LEAST_MASS)
        return in_state[:, None] - jnp.where(self.is_last(aggregate), 0, later)

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, " states"]:
        return aggregate.mean_field

    @override
    def normalise(self, observation: Float[Array, "*batch observation"]) -> Float[Array, "*batch observation"]:
        return observation * self.num_states

    @override
    def quantities(self, aggregate: AggregateState) -> dict[str, Array]:
        return {"mass at the centre": aggregate.mean_field[self.num_states // 2]}

    @override
    def action_axis(self) -> tuple[str, np.ndarray]:
        return "mean displacement (cells per step)", self.actions.astype(float)

    @override
    def state_axis(self) -> tuple[str, Float[Array, " states"]]:
        return "cell", jnp.arange(self.num_states, dtype=float)
