"""Moves on a two-dimensional lattice with obstacles: shifted copies, no gather over states and no scatter.

States number the cells row by row, s = row * W + column, so a move by (rows, columns) is a shift by rows * W + columns
of the vector of all states. A shift carries some cells over the edge of their row, around the ends, or into an
obstacle; these moves are not made. Where they are made is known once and for all, so that a product is

    (P v)(s, a) = v(s + d_a) where move a is made from s, and v(s) where it is not.
"""

import functools
import operator
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Int
from typing_extensions import override

from structmfg._checks import as_reals, check_integer, check_kind, check_shape, concrete
from structmfg.operators._base import Table, Vector
from structmfg.operators._kernel import TransitionKernel
from structmfg.operators._sparse import Successors

_MOST_STATES = 2**31 - 1  # what indices of 32 bits can number
_STAY_AND_NEIGHBOURS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))


class LatticeKernel2d(TransitionKernel):
    """Action a moves the cell (row, column) by moves[a] = (rows, columns), or leaves it where that is not possible.

    A move is not possible if it would end outside the grid or on an obstacle; cells on the way do not matter. Nobody
    enters an obstacle, and mass that starts on one stays there. Noise is the same kernel under a policy: for instance
    `LatticeKernel2d(shape).under(np.full((S, 5), 1 / 5))`.

    Args:
        shape: (H, W), rows and columns; S = H * W states, row by row.
        moves: One pair of whole numbers an action; by default staying, down, up, right, left.
        obstacles: Mask (H, W), true where nobody may enter; may be traced. By default there are none.

    >>> kernel = LatticeKernel2d((2, 2), obstacles=[[False, True], [False, False]])
    >>> kernel.expect(jnp.arange(4.0))[0]  # of the cell (0, 0): its right neighbour is an obstacle
    Array([0., 2., 0., 0., 0.], dtype=float32)
    """

    cells: tuple[int, int] = eqx.field(static=True)
    moves: tuple[tuple[int, int], ...] = eqx.field(static=True)
    made: Bool[Array, "actions states"]

    def __init__(
        self,
        shape: Sequence[int],
        moves: Sequence[Sequence[int]] = _STAY_AND_NEIGHBOURS,
        *,
        obstacles: ArrayLike | Sequence[Any] | None = None,
    ) -> None:
        self.cells = _checked_cells(shape)
        self.moves = _checked_moves(moves)
        free = jnp.ones(self.cells, bool) if obstacles is None else ~_checked_mask(obstacles, self.cells)
        self.made = jnp.stack([_made(free, *move).ravel() for move in self.moves])

    @property
    @override
    def num_states(self) -> int:
        return self.cells[0] * self.cells[1]

    @property
    @override
    def num_actions(self) -> int:
        return len(self.moves)

    @property
    @override
    def branching(self) -> int:
        return min(self.num_states, len({*self.moves, (0, 0)}))

    @property
    @override
    def span(self) -> int:
        return 2 * max((abs(shift) for shift in self._shifts), default=0)

    @property
    @override
    def structure(self) -> str:
        height, width = self.cells
        return f"shift by one of {self.num_actions} moves on a lattice of {height} x {width} cells, or none"

    @property
    def _shifts(self) -> list[int]:
        """How far each move goes on the line of states; 0 for one that no cell has room for."""
        height, width = self.cells
        return [r * width + c if abs(r) < height and abs(c) < width else 0 for r, c in self.moves]

    @override
    def expect(self, values: Vector) -> Table:
        each = [jnp.where(made, jnp.roll(values, -d), values) for made, d in zip(self.made, self._shifts, strict=True)]
        return jnp.stack(each, axis=-1)

    @override
    def push(self, mass: Table) -> Vector:
        return self.push_under(mass, jnp.ones(self.num_states, mass.dtype))

    @override
    def expect_under(self, policy: Table, values: Vector) -> Vector:
        return functools.reduce(
            operator.add,
            (
                policy[:, a] * jnp.where(self.made[a], jnp.roll(values, -shift), values)
                for a, shift in enumerate(self._shifts)
            ),
        )

    @override
    def push_under(self, policy: Table, mass: Vector) -> Vector:
        """Shift what moves the other way; the rest stays."""
        arrived = []
        for a, shift in enumerate(self._shifts):
            moving = policy[:, a] * mass
            arrived += [jnp.where(self.made[a], 0, moving), jnp.roll(jnp.where(self.made[a], moving, 0), shift)]
        return functools.reduce(operator.add, arrived)

    @override
    def successors(self) -> Successors:
        return self.successors_of(jnp.arange(self.num_states))

    @override
    def successors_of(self, states: Int[Array, " some"]) -> Successors:
        shifts = jnp.asarray(self._shifts, states.dtype)
        targets = (states[:, None] + jnp.where(self.made[:, states].T, shifts, 0))[:, :, None]
        return Successors(targets, jnp.ones(targets.shape))


def _made(free: Bool[Array, "height width"], rows: int, columns: int) -> Bool[Array, "height width"]:
    """Whether a move is made, for every cell: from a free cell to a free cell."""
    height, width = free.shape
    if abs(rows) >= height or abs(columns) >= width:
        return jnp.zeros_like(free)
    # target[r, c] = free[r + rows, c + columns], and false beyond the edges.
    target = jnp.pad(free, ((max(-rows, 0), max(rows, 0)), (max(-columns, 0), max(columns, 0))))
    first = max(rows, 0), max(columns, 0)
    return free & target[first[0] : first[0] + height, first[1] : first[1] + width]


def _checked_cells(shape: Sequence[int]) -> tuple[int, int]:
    check_kind("shape", shape, Sequence | np.ndarray)
    if len(shape) != 2:
        raise ValueError(f"shape must be a pair (H, W), rows and columns, but is {shape!r:.60}")
    cells = (
        check_integer("the number of rows", shape[0], at_least=1),
        check_integer("the number of columns", shape[1], at_least=1),
    )
    check_integer("the number of cells", cells[0] * cells[1], at_least=1, at_most=_MOST_STATES)
    return cells


def _checked_moves(moves: Sequence[Sequence[int]]) -> tuple[tuple[int, int], ...]:
    check_kind("moves", moves, Sequence | np.ndarray)
    if not len(moves):
        raise ValueError("moves must name at least one displacement (rows, columns), but are empty")
    checked = []
    for index, move in enumerate(moves):
        pair = isinstance(move, Sequence | np.ndarray) and len(move) == 2
        if not pair or any(isinstance(x, bool) or not isinstance(x, int | np.integer) for x in move):
            raise ValueError(f"moves must be pairs of whole numbers (rows, columns), but move {index} is {move!r:.40}")
        checked.append((int(move[0]), int(move[1])))
    return tuple(checked)


def _checked_mask(obstacles: ArrayLike | Sequence[Any], cells: tuple[int, int]) -> Bool[Array, "height width"]:
    mask = as_reals("obstacles", obstacles)
    check_shape("obstacles", mask, cells)
    known = concrete(mask)
    if mask.dtype != bool and known is not None and not np.isin(known, (0, 1)).all():
        row, column = np.argwhere(~np.isin(known, (0, 1)))[0]
        raise ValueError(f"obstacles must be true or false, but that of cell ({row}, {column}) is {known[row, column]}")
    return mask.astype(bool)
