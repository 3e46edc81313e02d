"""Two-point lotteries on a grid: mass between two grid points goes to both, by linear weights.

The lottery keeps the mean of the position (Young 2010, doi:10.1016/j.jedc.2008.11.010). Finding the neighbours
dominates its cost; on a geometric grid their index has a closed form.
"""

import abc
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from typing_extensions import override

from structmfg._checks import (
    as_array,
    as_floats,
    as_indices,
    check_between,
    check_entries,
    check_integer,
    check_positive,
    check_reals,
    check_shape,
    concrete,
    plain,
)
from structmfg.operators._base import Table, Vector
from structmfg.operators._kernel import TransitionKernel
from structmfg.operators._sparse import Successors


class Grid(eqx.Module):
    """A strictly increasing grid of n >= 2 points."""

    if TYPE_CHECKING:  # see `StateModule.num_states`

        @property
        @abc.abstractmethod
        def num_points(self) -> int:
            """The number of points n."""
    else:
        num_points: eqx.AbstractVar[int]

    @abc.abstractmethod
    def points(self) -> Float[Array, " points"]:
        """Return the points (n,), in increasing order."""

    @abc.abstractmethod
    def lottery(self, positions: Float[Array, "*shape"]) -> tuple[Int[Array, "*shape"], Float[Array, "*shape"]]:
        """Return the neighbours of positions of any shape, and the weights that keep their mean.

        Args:
            positions: Points on the line; one below the first or above the last point counts as that end point.

        Returns:
            The index i in 0..n-2 of the interval [x_i, x_{i+1}], and the weight in [0, 1] of its upper point.
        """

    def extended(self, factor: float) -> "Grid":
        """Return these points and more above them, to `factor` > 1 times the length or a little further.

        The widths of intervals go on to grow by the ratio of the last two, or stay equal if those do not grow.
        """
        check_positive("factor - 1", factor - 1)
        points = np.asarray(self.points())
        widths = np.diff(points[-3:])
        ratio = max(1.0, float(widths[-1] / widths[0]))
        end, more, width = points[0] + factor * (points[-1] - points[0]), list(points), float(widths[-1])
        while more[-1] < end:
            width *= ratio
            more.append(more[-1] + width)
        return ArbitraryGrid(jnp.asarray(np.array(more), points.dtype))


class ArbitraryGrid(Grid):
    """A grid of any increasing points, located by binary search.

    Args:
        values: The points (n,).
    """

    values: Float[Array, " points"]

    def __check_init__(self) -> None:
        check_reals("a grid", self.values)
        if self.values.ndim != 1 or self.num_points < 2:
            raise ValueError(f"a grid needs at least 2 points, shape (n,), but has shape {tuple(self.values.shape)}")
        if (known := concrete(self.values)) is None:
            return
        wrong = np.flatnonzero(~(np.diff(known) > 0))
        if wrong.size:
            i = int(wrong[0])
            raise ValueError(
                f"a grid must increase, but point {i + 1}, {known[i + 1]:g}, does not exceed point {i}, {known[i]:g}"
            )

    @property
    @override
    def num_points(self) -> int:
        return int(self.values.shape[0])

    @override
    def points(self) -> Float[Array, " points"]:
        return self.values

    @override
    def lottery(self, positions: Float[Array, "*shape"]) -> tuple[Int[Array, "*shape"], Float[Array, "*shape"]]:
        values, positions = as_floats("a grid", self.values), as_floats("positions", positions)
        index = jnp.clip(jnp.searchsorted(values, positions, side="right") - 1, 0, self.num_points - 2)
        left, right = values[index], values[index + 1]
        return index, jnp.clip((positions - left) / (right - left), 0, 1)


class GeometricGrid(Grid):
    """A grid that is dense near its lower end: x_i + p is geometric from lower + p to upper + p.

    Args:
        num_points: n.
        lower: The first point, at least 0.
        upper: The last point.
        pivot: p is the larger of `lower` and `pivot`; the smaller it is, the denser the points near `lower`.
    """

    num_points: int = eqx.field(static=True, converter=plain)
    lower: float = eqx.field(static=True, converter=plain)
    upper: float = eqx.field(static=True, converter=plain)
    pivot: float = eqx.field(static=True, converter=plain, default=0.25)

    def __check_init__(self) -> None:
        check_integer("num_points", self.num_points, at_least=2)
        check_between("lower", self.lower, 0, np.inf)
        check_between("upper", self.upper, -np.inf, np.inf)
        check_positive("pivot", self.pivot)
        if not self.lower < self.upper:
            raise ValueError(f"a grid needs 0 <= lower < upper, but has lower {self.lower} and upper {self.upper}")

    @property
    def shift(self) -> float:
        """p: the logarithms of x_i + p are equally spaced."""
        return max(abs(self.lower), self.pivot)

    @property
    def _log_ratio(self) -> float:
        """log of the ratio of neighbouring widths."""
        return float(np.log((self.upper + self.shift) / (self.lower + self.shift)) / (self.num_points - 1))

    @override
    def extended(self, factor: float) -> "GeometricGrid":
        check_positive("factor - 1", factor - 1)
        p = self.shift
        end = self.lower + factor * (self.upper - self.lower)
        more = int(np.ceil(np.log((end + p) / (self.upper + p)) / self._log_ratio))
        upper = (self.upper + p) * float(np.exp(self._log_ratio * more)) - p
        return GeometricGrid(self.num_points + more, self.lower, upper, self.pivot)

    @override
    def points(self) -> Float[Array, " points"]:
        """Compute the points in double precision outside `jit`: rounded once, and the same numbers everywhere.

        Raises:
            ValueError: Rounding makes two points equal; weights between them would be NaN.
        """
        p, kind = self.shift, np.dtype(jnp.result_type(float))
        points = np.maximum(np.geomspace(self.lower + p, self.upper + p, self.num_points) - p, 0).astype(kind)
        equal = np.flatnonzero(~(np.diff(points) > 0))
        if equal.size:
            i = int(equal[0])
            raise ValueError(
                f"a grid must increase, but in {kind} points {i} and {i + 1} are both {points[i]:g}; take fewer "
                "points, a wider range, or jax_enable_x64"
            )
        return jnp.asarray(points)

    @override
    def lottery(self, positions: Float[Array, "*shape"]) -> tuple[Int[Array, "*shape"], Float[Array, "*shape"]]:
        """Find i as the floor of log((x + p) / (lower + p)) / log(ratio).

        Rounding may yield a neighbouring interval, which shows as a weight outside [0, 1]. Widths grow by a constant
        ratio, so the weight in the right interval follows without the grid.
        """
        positions = as_floats("positions", positions)
        positions = positions.astype(jnp.promote_types(positions.dtype, np.float32))  # half as many bits name no index
        last, ratio = self.num_points - 2, float(np.exp(self._log_ratio))
        points = self.points()
        per_width = 1 / jnp.diff(points)
        scale = 1 / (self.lower + self.shift)
        guess = jnp.log(jnp.maximum(positions * scale + self.shift * scale, 1)) * (1 / self._log_ratio)
        index = jnp.minimum(guess.astype(int), last)
        weight = (positions - points[index]) * per_width[index]
        below, above = (weight < 0) & (index > 0), (weight >= 1) & (index < last)
        weight = jnp.where(below, 1 + weight * ratio, jnp.where(above, (weight - 1) / ratio, weight))
        return index - below + above, jnp.clip(weight, 0, 1)


class LotteryKernel(TransitionKernel):
    """State (outer, inner) = outer * m + inner moves by lottery on a grid of the outer index; the inner index stays.

    Mass goes to outer = index with probability 1 - weight, and to outer = index + 1 with probability weight.

    Args:
        num_outer: The number of grid points; S is a multiple of it.
        index: (S, A), whole numbers in 0..num_outer-2, from `Grid.lottery` of the next positions.
        weight: (S, A), in [0, 1], from the same.
        checks: Whether to refuse indices and weights out of range.
    """

    num_outer: int = eqx.field(static=True)
    index: Int[Array, "states actions"]
    weight: Table

    def __init__(self, num_outer: int, index: Any, weight: Any, *, checks: bool = True) -> None:
        self.num_outer = check_integer("num_outer", num_outer, at_least=2)
        given = as_array("index", index)
        shape = tuple(given.shape)
        if len(shape) != 2 or 0 in shape:
            raise ValueError(f"index must have shape (S, A), each at least 1, but has shape {shape}")
        if shape[0] % self.num_outer:
            raise ValueError(f"states must be a multiple of num_outer {self.num_outer}, but are {shape[0]}")
        self.index = as_indices("index", given, last=self.num_outer - 2, room=shape[0] * shape[1], checks=checks)
        self.weight = as_floats("weight", weight)
        check_shape("weight", self.weight, shape)
        if checks:
            check_entries("weight", self.weight, 0, 1)

    @property
    @override
    def structure(self) -> str:
        return f"two-point lottery on {self.num_outer} points"

    @property
    @override
    def num_states(self) -> int:
        return int(self.index.shape[0])

    @property
    @override
    def num_actions(self) -> int:
        return int(self.index.shape[1])

    @property
    @override
    def branching(self) -> int:
        return min(self.num_outer, 2 * self.num_actions)

    @property
    def _inner(self) -> int:
        return self.num_states // self.num_outer

    def _lower(self) -> Int[Array, "states actions"]:
        return self.index * self._inner + (jnp.arange(self.num_states) % self._inner)[:, None]

    @override
    def expect(self, values: Vector) -> Table:
        """Interpolate v linearly between grid points."""
        lower = self._lower()
        left = values[lower]
        return left + self.weight * (values[lower + self._inner] - left)

    @override
    def push(self, mass: Table) -> Vector:
        lower, up = self._lower(), mass * self.weight
        arrived = jnp.zeros(self.num_states, mass.dtype)
        return arrived.at[lower].add(mass - up).at[lower + self._inner].add(up)

    @override
    def successors(self) -> Successors:
        lower = self._lower()
        indices = jnp.stack([lower, lower + self._inner], axis=-1)
        return Successors(indices, jnp.stack([1 - self.weight, self.weight], axis=-1))
