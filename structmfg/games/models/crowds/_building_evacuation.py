"""`building_evacuation`: a crowd in a building wants to be on the ground floor, and not too close to each other.

This is MFGLib's game of this name, after Perolat et al. 2021 (Scaling up mean field games with online mirror descent,
arXiv 2103.00623). MFGLib's T is the last time at which agents act and are paid, so its T = 3 is `horizon=4` here. Its
`exploitability_score` of the uniform policy, in double precision, is 0.32126509367461153.
"""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from typing_extensions import override

from structmfg._checks import check_between, check_integer, check_positive, plain_fields
from structmfg.games._aggregate import AggregateState
from structmfg.games._kinds import NoiselessGame
from structmfg.games._validate import check_game
from structmfg.operators import SuccessorKernel, TransitionKernel

_STEPS = np.array([(1, 0), (-1, 0), (0, -1), (0, 1)])  # of (length, width)


@dataclasses.dataclass(frozen=True)
class BuildingEvacuation(NoiselessGame):
    """A crowd in a building wants to be on the ground floor, and not too close to each other.

    A state is a floor and a place (i, j) on it, index = (floor * length + i) * width + j. Actions 0..3 are steps to
    i + 1, i - 1, j - 1 and j + 1, held back at the walls; action 4 goes a floor down from (0, 0), action 5 a floor up
    from (length - 1, width - 1), and both stay anywhere else. At the start all are spread over the building.

    Reward: escape * 1{floor = 0} - crowd_aversion * log(max(mu(s), least_mass)). Observation: the mean field.

    Attributes:
        floors: Floors.
        length: Places along one side of a floor.
        width: Places along the other.
        escape: Reward of a step on the ground floor.
        crowd_aversion: Weight of the crowd.
        least_mass: Keeps the reward finite in an empty place.
        horizon: Steps.
        discount: Weight of the next reward relative to this one.
    """

    floors: int = 5
    length: int = 10
    width: int = 10
    escape: float = 10.0
    crowd_aversion: float = 1.0
    least_mass: float = 1e-20
    horizon: int = 4
    discount: float = 1.0

    num_actions = 6

    def __post_init__(self) -> None:
        plain_fields(self)
        for name in ("floors", "length", "width"):
            check_integer(name, getattr(self, name), at_least=1, at_most=10_000)
        if self.num_states < 2:
            raise ValueError("floors, length and width must not all be 1: a game needs at least two states")
        for name in ("escape", "crowd_aversion"):
            check_between(name, getattr(self, name), 0, 1e6)
        check_positive("least_mass", self.least_mass)
        check_game(self)

    @property
    def num_states(self) -> int:
        """Floors times places."""
        return self.floors * self.length * self.width

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        state = jnp.arange(self.num_states)
        floor, i, j = state // (self.length * self.width), state // self.width % self.length, state % self.width
        steps = jnp.asarray(_STEPS, int)
        to_i = jnp.clip(i[:, None] + steps[:, 0], 0, self.length - 1)
        to_j = jnp.clip(j[:, None] + steps[:, 1], 0, self.width - 1)
        walked = (floor[:, None] * self.length + to_i) * self.width + to_j
        down = (i == 0) & (j == 0) & (floor > 0)
        up = (i == self.length - 1) & (j == self.width - 1) & (floor < self.floors - 1)
        stairs = jnp.stack([state - down * self.length * self.width, state + up * self.length * self.width], axis=1)
        targets = jnp.concatenate([walked, stairs], axis=1)[:, :, None]
        return SuccessorKernel(targets, jnp.ones(targets.shape), checks=False)

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        ground = jnp.arange(self.num_states) < self.length * self.width
        crowd = jnp.log(jnp.maximum(aggregate.mean_field, self.least_mass))
        paid = self.escape * ground - self.crowd_aversion * crowd
        return jnp.broadcast_to(paid[:, None], (self.num_states, self.num_actions))

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, " states"]:
        return aggregate.mean_field

    @override
    def normalise(self, observation: Float[Array, "*batch observation"]) -> Float[Array, "*batch observation"]:
        return observation * self.num_states

    @override
    def state_features(self) -> Float[Array, "states features"]:
        """The state by itself where there are few; else its coordinates."""
        if self.num_states <= 1000:
            return jnp.eye(self.num_states)
        sizes = (self.floors, self.length, self.width)
        places = np.stack(np.unravel_index(np.arange(self.num_states), sizes), axis=1)
        return jnp.asarray(2 * places / np.maximum(np.array(sizes) - 1, 1) - 1, float)

    @override
    def quantities(self, aggregate: AggregateState) -> dict[str, Array]:
        return {"share on the ground floor": jnp.sum(aggregate.mean_field[: self.length * self.width])}

    @override
    def state_axes(self) -> Sequence[tuple[str, Float[np.ndarray, " points"]]]:
        sizes = (("floor", self.floors), ("place along the length", self.length), ("across", self.width))
        return [(name, np.arange(float(size))) for name, size in sizes]
