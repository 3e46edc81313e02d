"""Walls on a line of states, and the windows of states that they concern.

Walls stand at both ends of the line and at **barriers**, cells that nobody enters or crosses: a target is clipped into
the cells on its own side. Whoever stands on a barrier is bound by the ends of the line and the other barriers.

    states       0   1   2   3   4   5   6   7   8   9  10  11      S = 12, offset +3
               | .   .   .   .   .   .   .   .   #   .   .   . |    a barrier # at 8
    from 1           o----------->                                  a plain shift, to 1 + 3
    from 6                               o--->                      clipped to 7, before the barrier
    from 10                                              o--->      clipped to 11, before the end

No move goes further than `reach`, here 3, so only states within `reach` of a wall can be clipped. They lie in a few
short windows, in which every state gets a row of its own. Elsewhere a move is a shift of the whole vector:

    states       0   1   2   3   4   5   6   7   8   9  10  11
    ends        [---------]                         [---------]     `reach` states at each end
    barrier                         [-------------------------]     2 `reach` + 1 states around it
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int

from structmfg._checks import as_array, as_reals, check_kind, concrete

MOST_STATES = 2**30 - 1  # whose sums with a displacement indices of 32 bits can number


class Line(NamedTuple):
    """States 0..S-1 with barriers at the given cells (B,), and `reach`: how far any move may go."""

    num_states: int
    barriers: Int[Array, " barriers"]
    reach: int

    def clip(self, states: Int[Array, " some"], targets: Int[Array, "some moves"]) -> Int[Array, "some moves"]:
        """The targets, clipped into the cells on the side of the states."""
        states = states[:, None]
        targets = jnp.clip(targets, 0, self.num_states - 1)
        for barrier in self.barriers:
            targets = jnp.where(states < barrier, jnp.minimum(targets, barrier - 1), targets)
            targets = jnp.where(states > barrier, jnp.maximum(targets, barrier + 1), targets)
        return targets

    @property
    def short(self) -> bool:
        """Whether hardly any state is out of reach of both ends: then all are treated as near a wall."""
        return self.num_states <= 6 * self.reach

    @property
    def walls(self) -> str:
        """The walls, in words."""
        count = self.barriers.shape[0]
        return "walls at the ends" + (f" and at {count} barrier{'s' * (count > 1)}" if count else "")

    def span(self, offsets: Sequence[int]) -> int:
        """How far apart successors of neighbours may lie, see `Transitions.span`.

        Clipping at the ends is 1-Lipschitz; past a barrier, a state and its successor are within `reach`.
        """
        apart = max(offsets) - min(offsets)
        return max(apart, 2 * self.reach) if self.barriers.shape[0] else apart

    def ends(self, width: int, margin: int = 0) -> list[tuple[ArrayLike, int]]:
        """Windows (first state, number of states): `width` states at each end, less the outermost `margin`."""
        return [(margin, width - margin), (self.num_states - width, width - margin)]

    def at_barriers(self) -> list[tuple[ArrayLike, int]]:
        """Windows of all states within reach of a barrier; they may overlap each other, and the ends."""
        around = min(2 * self.reach + 1, self.num_states)
        return [(jnp.clip(b - self.reach, 0, self.num_states - around), around) for b in self.barriers]

    def near_walls(self) -> tuple[Int[Array, " some"], Int[Array, " some"]]:
        """The states that may be clipped, window by window, and where to write their rows, all in one operation.

        To write, a state that is in an earlier window as well has a number of its own beyond the line, which a scatter
        drops: with no number twice, JAX can transpose it.
        """
        windows = [*self.ends(self.reach), *self.at_barriers()]
        states = states_of(windows)
        if not self.barriers.shape[0]:
            return states, states
        starts, sizes = jnp.stack([jnp.asarray(first) for first, _ in windows]), np.array([size for _, size in windows])
        own = np.repeat(np.arange(len(windows)), sizes)
        inside = (states[:, None] >= starts) & (states[:, None] < starts + sizes)
        again = jnp.any(inside & (np.arange(len(windows)) < own[:, None]), axis=1)
        return states, jnp.where(again, self.num_states + jnp.arange(len(own)), states)

    def split(self, mass: Float[Array, " states"]) -> tuple[Array, list[tuple[Array, Array]]]:
        """The mass out of reach of any barrier, and the rest as (states, mass), counted in the first window it is in.

        What starts out of reach crosses none.
        """
        near: list[tuple[Array, Array]] = []
        far, windows = mass, self.at_barriers()
        for i, (first, size) in enumerate(windows):
            states = jnp.asarray(first) + jnp.arange(size)
            counted = [(start <= states) & (states < start + length) for start, length in windows[:i]]
            taken = lax.dynamic_slice_in_dim(mass, first, size)
            near.append((states, jnp.where(jnp.any(jnp.array(counted), axis=0), 0, taken) if counted else taken))
            far = lax.dynamic_update_slice_in_dim(far, jnp.zeros_like(taken), first, 0)
        return far, near


def states_of(windows: Sequence[tuple[ArrayLike, int]]) -> Int[Array, " some"]:
    """The states in windows, one window after the other."""
    return jnp.concatenate([jnp.asarray(first) + jnp.arange(size) for first, size in windows])


def as_barriers(num_states: int, barriers: ArrayLike | Sequence[ArrayLike], checks: bool) -> Int[Array, " barriers"]:
    """The cells (B,) of barriers, or `ValueError` where they are not whole numbers of cells."""
    array = as_array("barriers", barriers)
    if array.ndim != 1:
        raise ValueError(f"barriers must be cells (B,), but have shape {array.shape}")
    if array.dtype == bool and array.size:
        raise ValueError("barriers must be the numbers of cells, but are booleans; of a mask, take np.flatnonzero")
    if checks and (known := concrete(array)) is not None:
        wrong = np.flatnonzero(~((known >= 0) & (known < num_states) & (known == np.floor(known))))
        if wrong.size:
            index = int(wrong[0])
            raise ValueError(
                f"barriers must be cells, whole numbers that lie in 0..{num_states - 1}, but barrier {index} is "
                f"{known[index]}"
            )
    return as_reals("barriers", barriers).astype(int)


def as_offsets(most: int, offsets: Sequence[int]) -> tuple[int, ...]:
    """Whole numbers; those beyond +-`most`, S and what a shift may take back, lead to a wall as it does."""
    check_kind("offsets", offsets, Sequence | np.ndarray)
    if not getattr(offsets, "ndim", 1):
        raise ValueError(f"offsets must be a sequence of whole numbers, but are {offsets!r}")
    if not len(offsets):
        raise ValueError("offsets must name at least one displacement, but are empty")
    for index, offset in enumerate(offsets):
        whole = isinstance(offset, int | np.integer) and not isinstance(offset, bool)
        if not whole and not (isinstance(offset, float | np.floating) and float(offset).is_integer()):
            raise ValueError(f"offsets must be whole numbers, but offset {index} is {offset!r}")
    return tuple(max(-most, min(int(offset), most)) for offset in offsets)
