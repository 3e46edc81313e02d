"""`four_rooms`: a crowd that spreads over four rooms with doors between them."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from typing_extensions import override

from structmfg._checks import check_positive, plain_fields
from structmfg.games._aggregate import Agents, AggregateState
from structmfg.games._kinds import NoiselessGame
from structmfg.games._validate import check_game
from structmfg.operators import SuccessorKernel, TransitionKernel

_SIZE, _WALL = 11, 5
_DOORS = ((2, 5), (8, 5), (5, 8), (5, 2))
_STEPS = np.array([(1, 0), (0, 1), (-1, 0), (0, -1), (0, 0)])  # of actions and noise: up, right, down, left, none


def _free() -> np.ndarray:
    """Which cells (11, 11) are not walls."""
    free = np.ones((_SIZE, _SIZE), bool)
    free[_WALL, :] = free[:, _WALL] = False
    free[tuple(np.transpose(_DOORS))] = True
    return free


def _targets() -> np.ndarray:
    """The next cell (S, A, 5) for every action and every value of the noise."""
    cells = np.stack(np.divmod(np.arange(_SIZE**2), _SIZE), axis=1)
    proposed = cells[:, None, None] + _STEPS[:, None] + _STEPS
    inside = ((proposed >= 0) & (proposed < _SIZE)).all(-1)
    row, column = np.moveaxis(np.clip(proposed, 0, _SIZE - 1), -1, 0)
    stay = np.arange(_SIZE**2)[:, None, None]
    return np.where(inside & _free()[row, column], row * _SIZE + column, stay)


@dataclasses.dataclass(frozen=True)
class FourRooms(NoiselessGame):
    """Agents in four rooms with doors between them avoid the crowd, for ever.

    Cells of an 11 x 11 grid, index = 11 row + column. Row 5 and column 5 are walls with doors at (row, column) =
    (2, 5), (8, 5), (5, 8), (5, 2). Actions: up (row + 1), right, down, left, stay. An equally likely one of these five
    steps is added to that of the action; where their sum leads into a wall or outside, the agent stays. At the start
    all cells but walls are equally likely.
    Reward: -crowd_aversion log(max(mu(s), 1e-12)).
    Observation: the mean field.

    The game is monotone, so its equilibrium mean field is the only one.

    Attributes:
        crowd_aversion: Weight of the reward.
        horizon: Steps; None for infinitely many.
        discount: Weight of the next reward relative to this one.
    """

    crowd_aversion: float = 1.0
    horizon: int | None = None
    discount: float = 0.9

    num_states = _SIZE**2
    num_actions = len(_STEPS)

    def __post_init__(self) -> None:
        plain_fields(self)
        check_game(self)
        check_positive("crowd_aversion", self.crowd_aversion)

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        targets = _targets()
        return SuccessorKernel(jnp.asarray(targets), jnp.full(targets.shape, 1 / len(_STEPS)))

    @override
    def move_agents(self, aggregate: AggregateState, states: Agents, actions: Agents, key: PRNGKeyArray) -> Agents:
        """The sum of the chosen step and a random one, unless that is no free cell."""
        steps = jnp.asarray(_STEPS)
        moved = steps[actions] + steps[jax.random.randint(key, states.shape, 0, len(_STEPS))]
        row, column = states // _SIZE + moved[:, 0], states % _SIZE + moved[:, 1]
        inside = (row >= 0) & (row < _SIZE) & (column >= 0) & (column < _SIZE)
        free = jnp.asarray(_free())[jnp.clip(row, 0, _SIZE - 1), jnp.clip(column, 0, _SIZE - 1)]
        return jnp.where(inside & free, row * _SIZE + column, states)

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        in_state = -self.crowd_aversion * jnp.log(jnp.maximum(aggregate.mean_field, 1e-12))
        return jnp.broadcast_to(in_state[:, None], (self.num_states, self.num_actions))

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, " states"]:
        return aggregate.mean_field

    @override
    def normalise(self, observation: Float[Array, "*batch observation"]) -> Float[Array, "*batch observation"]:
        return observation * self.num_states

    @override
    def initial_mean_field(self, noise: Int[Array, ""]) -> Float[Array, " states"]:
        free = _free().ravel()
        return jnp.asarray(free / free.sum(), float)

    @override
    def state_axes(self) -> Sequence[tuple[str, Float[np.ndarray, " points"]]]:
        return [("row", np.arange(float(_SIZE))), ("column", np.arange(float(_SIZE)))]
