"""`crowd_modelling_2d`: a walk on a grid towards its centre, away from the crowd, and around walls.

This is OpenSpiel's `mfg_crowd_modelling_2d` (Perrin et al. 2020, arXiv 2007.03458; Geist et al. 2022, arXiv
2106.03787). Its settings are `layout="open"`, `layout="four_rooms", horizon=40, attraction=0` and `layout="maze",
horizon=100, attraction=0`. OpenSpiel's numbers differ in two ways. Its reward at t = 0 is that of a uniform crowd, also
where all start in one cell: in four rooms it has 144.22392764514893 for the return of the uniform policy, which is by
log(169) more than that of the game as defined; the exploitability, 167.6604464714278, is the same. With attraction its
value table forgets the last action: on the open grid it has 55.2057 for the return of the uniform policy, which is
10 (1 + log 100) - 0.72 = 55.3317, and 5.4429 for its exploitability, which is 5.3548.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from typing_extensions import override

from structmfg._checks import check_between, check_integer, check_name, plain_fields
from structmfg.games._aggregate import Agents, AggregateState
from structmfg.games._kinds import NoiselessGame
from structmfg.games._validate import check_game
from structmfg.operators import SuccessorKernel, TransitionKernel

_STEPS = np.array([(-1, 0), (0, -1), (0, 0), (0, 1), (1, 0)])  # of (row, column): up, left, stay, right, down
_COSTS = np.array([1.0, 1.0, 0.0, 1.0, 1.0])
_LEAST_MASS = 1e-25  # keeps the reward finite in an empty cell
_ROOMS = ["#############", *["#     #     #"] * 2, "#           #", *["#     #     #"] * 2, "### ##### ###"]
_FOUR_ROOMS = tuple([*_ROOMS, *_ROOMS[5:0:-1], _ROOMS[0]])
_MAZE = (
    "######################",
    "#      #     #     # #",
    "#      #     #     # #",
    "######    #  # ##  # #",
    "#         #  # #   # #",
    "#         #  # ### # #",
    "#  ########  #   #   #",
    "#    # # #  ##   #   #",
    "#    # # #     # # ###",
    "#    # # #     # # # #",
    "###### # ####### # # #",
    "#  #         #   # # #",
    "#  # ## ###  #   # # #",
    "## # #    #  ##### # #",
    "## # # #  #      # # #",
    "#    # ####        # #",
    "# ####  # ########   #",
    "#       #  #   # ### #",
    "#  #  # #  # # #   # #",
    "# ##### #    # #     #",
    "#            #       #",
    "######################",
)
_LAYOUTS = {"four_rooms": _FOUR_ROOMS, "maze": _MAZE}


@dataclasses.dataclass(frozen=True)
class CrowdModelling2d(NoiselessGame):
    """Agents on a grid walk towards its centre, away from the crowd, and around walls.

    A state is a cell, index = columns * row + column, of a grid whose edges are joined: from the last row a step leads
    to the first. Actions: up (row - 1), left, stay, right, down; those that lead into a wall are not allowed. After the
    step of the action comes a random one: none with probability 1 - noise, else one of the five, equally likely those
    that do not lead into a wall.

    Reward at t: attraction * (2 - |row - c| / c - |column - d| / d - moved / rows) - crowd_aversion * log(mu(s) +
    1e-25), with c = rows // 2, d = columns // 2 and moved = 1 unless the action by which s was entered was to stay (0
    at t = 0). The cost of an action, due on arrival, is charged with a discount when the action is taken; the action at
    T-1 is free. Observation: the mean field.

    At the start all are spread over an open grid, or in the first free cell of a layout with walls.

    Attributes:
        layout: "open", "four_rooms" or "maze", or the rows of a layout of one's own, in which # is a wall.
        size: Rows and columns of the open grid.
        attraction: Weight of the place and of the cost of moving.
        crowd_aversion: Weight of the crowd.
        noise: Probability that a random step comes after that of the action.
        horizon: Steps.
        discount: Weight of the next reward relative to this one.
    """

    layout: str | tuple[str, ...] = "open"
    size: int = 10
    attraction: float = 1.0
    crowd_aversion: float = 1.0
    noise: float = 1.0
    horizon: int = 10
    discount: float = 1.0

    num_actions = len(_STEPS)

    def __post_init__(self) -> None:
        plain_fields(self)
        check_integer("size", self.size, at_least=2, at_most=10_000)
        if isinstance(self.layout, str):
            check_name("layout", self.layout, ["open", *_LAYOUTS])
        else:
            _check_layout(self.layout)
        for name in ("attraction", "crowd_aversion"):
            check_between(name, getattr(self, name), 0, 1e6)
        check_between("noise", self.noise, 0, 1)
        check_game(self)

    @property
    def walls(self) -> np.ndarray:
        """Which cells (rows, columns) are walls."""
        if self.layout == "open":
            return np.zeros((self.size, self.size), bool)
        rows = _LAYOUTS[self.layout] if isinstance(self.layout, str) else self.layout
        return np.array([[cell == "#" for cell in row] for row in rows])

    @property
    def num_states(self) -> int:
        """The cells, walls among them."""
        return self.walls.size

    @property
    def _steps(self) -> tuple[np.ndarray, np.ndarray]:
        return _list_steps(self.walls.tobytes(), self.walls.shape)

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        """The chosen step, then a random one: 5 + 5 successors a cell instead of 25."""
        targets = jnp.asarray(self._steps[0], int)[:, :, None]
        step = SuccessorKernel(targets, jnp.ones(targets.shape), checks=False)
        return step >> step.under(self._chances)

    @override
    def allowed(self, aggregate: AggregateState) -> Bool[Array, "states actions"]:
        return jnp.asarray(self._steps[1])

    @property
    def _chances(self) -> Float[Array, "states steps"]:
        """The probability of every random step."""
        open_ways = self._steps[1]
        chances = self.noise * open_ways / open_ways.sum(1, keepdims=True) + (1 - self.noise) * (1 - _COSTS)
        return jnp.asarray(chances, float)

    @override
    def move_agents(self, aggregate: AggregateState, states: Agents, actions: Agents, key: PRNGKeyArray) -> Agents:
        """The chosen step and a random one, drawn among those that lead into no wall."""
        key_of_step, key_of_noise = jax.random.split(key)
        states = self._after(states, actions)
        weights = jax.random.uniform(key_of_step, (len(_STEPS), *states.shape))
        random = jnp.argmax(weights * jnp.asarray(self._steps[1].T)[:, states], axis=0)
        noisy = jax.random.uniform(key_of_noise, states.shape) < self.noise
        return jnp.where(noisy, self._after(states, random), states)

    def _after(self, states: Agents, steps: Agents) -> Agents:
        rows, columns = self.walls.shape
        up, right = jnp.asarray(_STEPS, int).T[:, steps]
        row, column = (states // columns + up) % rows, (states % columns + right) % columns
        return jnp.where(jnp.asarray(self.walls)[row, column], states, row * columns + column)

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        rows, columns = self.walls.shape
        row, column = (jnp.asarray(place) for place in np.divmod(np.arange(self.num_states), columns))
        place = 2 - jnp.abs(row - rows // 2) / (rows // 2) - jnp.abs(column - columns // 2) / (columns // 2)
        later = self.discount * jnp.asarray(_COSTS / rows, float)
        cost = jnp.where(self.is_last(aggregate), 0, later)
        crowd = self.crowd_aversion * jnp.log(aggregate.mean_field + _LEAST_MASS)
        return self.attraction * (place[:, None] - cost) - crowd[:, None]

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, " states"]:
        return aggregate.mean_field

    @override
    def normalise(self, observation: Float[Array, "*batch observation"]) -> Float[Array, "*batch observation"]:
        return observation * self.num_states

    @override
    def initial_mean_field(self, noise: Int[Array, ""]) -> Float[Array, " states"]:
        free = np.flatnonzero(~self.walls)
        start = free if self.layout == "open" else free[:1]
        return jnp.zeros(self.num_states).at[start].set(1 / len(start))

    @override
    def state_features(self) -> Float[Array, "states features"]:
        rows, columns = self.walls.shape
        row, column = np.divmod(np.arange(self.num_states), columns)
        return jnp.asarray(np.stack([row / (rows - 1), column / (columns - 1)], axis=1) * 2 - 1, float)

    @override
    def quantities(self, aggregate: AggregateState) -> dict[str, Array]:
        return {"share of the fullest cell": jnp.max(aggregate.mean_field)}

    @override
    def state_axes(self) -> Sequence[tuple[str, Float[np.ndarray, " points"]]]:
        rows, columns = self.walls.shape
        return [("row", np.arange(float(rows))), ("column", np.arange(float(columns)))]


@functools.lru_cache(maxsize=16)
def _list_steps(walls: bytes, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The next cell (S, A) for every step, and whether the step leads into no wall."""
    cells = np.stack(np.divmod(np.arange(shape[0] * shape[1]), shape[1]), axis=1)
    row, column = np.moveaxis((cells[:, None] + _STEPS) % shape, -1, 0)
    wall = np.frombuffer(walls, bool).reshape(shape)[row, column]
    targets = np.where(wall, np.arange(len(cells))[:, None], row * shape[1] + column)
    return targets, ~wall | (_COSTS == 0)


def _check_layout(layout: Any) -> None:
    shapely = isinstance(layout, tuple | list) and all(isinstance(row, str) for row in layout)
    if not shapely or len({len(row) for row in layout}) != 1 or len(layout) < 2 or len(layout[0]) < 2:
        raise ValueError(
            f"layout must be open, four_rooms, maze, or two or more rows of text of one length, but is {layout!r:.60}"
        )
    if all(cell == "#" for row in layout for cell in row):
        raise ValueError("layout must have a cell that is no wall")
