"""Moves on a line of states with walls: contiguous slices, no gather over states and no scatter."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int

from structmfg._checks import check_shape
from structmfg.operators._base import ControlledOperator, Successors, TransitionKernel


class LatticeKernel(TransitionKernel):
    """Action a moves state s to clip(s + offsets[a] + shift, lower, upper).

    `offsets` are static integers, one an action. `shift`, common to all, may be traced, and is bounded by the static
    `max_shift`. `lower` and `upper` are the walls (inclusive; may be traced); they default to the ends of the line.
    """

    num_states: int = eqx.field(static=True)
    offsets: tuple[int, ...] = eqx.field(static=True)
    max_shift: int = eqx.field(static=True)
    shift: Int[Array, ""]
    lower: Int[Array, ""]
    upper: Int[Array, ""]

    def __init__(
        self,
        num_states: int,
        offsets: Sequence[int],
        *,
        shift: ArrayLike = 0,
        max_shift: int = 0,
        lower: ArrayLike = 0,
        upper: ArrayLike | None = None,
    ) -> None:
        self.num_states = num_states
        self.offsets = tuple(int(o) for o in offsets)
        self.max_shift = max_shift
        self.shift = jnp.asarray(shift)
        self.lower = jnp.asarray(lower)
        self.upper = jnp.asarray(num_states - 1 if upper is None else upper)

    def __check_init__(self) -> None:
        if not self.offsets:
            raise ValueError("offsets must name at least one action, but are empty")
        if any(isinstance(x, jax.core.Tracer) for x in (self.shift, self.lower, self.upper)):
            return  # values that are not known yet are the caller's to see to
        shift, lower, upper = (np.asarray(x) for x in (self.shift, self.lower, self.upper))
        if (abs(shift) > self.max_shift).any():
            raise ValueError(f"shift must lie within max_shift, {self.max_shift}, of 0, but is {shift}")
        if not ((lower >= 0) & (lower <= upper) & (upper < self.num_states)).all():
            raise ValueError(f"walls need 0 <= lower <= upper <= {self.num_states - 1}, but are {lower} and {upper}")

    @property
    def num_actions(self) -> int:
        """A."""
        return len(self.offsets)

    @property
    def span(self) -> int:
        """Clipping is 1-Lipschitz, so successors of two states lie no further apart than the states and the offsets."""
        return max(self.offsets) - min(self.offsets)

    @property
    def branching(self) -> int:
        """No more distinct successors than distinct offsets."""
        return min(self.num_states, len(set(self.offsets)))

    @property
    def _reach(self) -> int:
        return max(abs(o) for o in self.offsets)

    def expect(self, values: Float[Array, " states"]) -> Float[Array, "states actions"]:
        """P v: extend v beyond the walls by its value there, then slice once an action."""
        check_shape("values", values, (self.num_states,))
        values = jnp.asarray(values)  # a NumPy array cannot be indexed by a wall that is traced
        margin = self._reach + self.max_shift
        positions = jnp.arange(-margin, self.num_states + margin)
        extended = jnp.pad(values, margin)
        extended = jnp.where(positions < self.lower, values[self.lower], extended)
        extended = jnp.where(positions > self.upper, values[self.upper], extended)
        if self.max_shift:
            length = self.num_states + 2 * self._reach
            extended = lax.dynamic_slice_in_dim(extended, self.max_shift + self.shift, length)
        slices = [lax.slice_in_dim(extended, i, i + self.num_states) for i in self._starts]
        return jnp.stack(slices, axis=-1)

    def push(self, mass: Float[Array, "states actions"]) -> Float[Array, " states"]:
        """P^T m: add up shifted copies on a longer line, then fold what lies beyond the walls onto them."""
        check_shape("mass", mass, (self.num_states, self.num_actions))
        mass = jnp.asarray(mass)
        end = 2 * self._reach
        arrived = sum(
            (jnp.pad(mass[:, a], (start, end - start)) for a, start in enumerate(self._starts)),
            start=jnp.zeros(self.num_states + end, mass.dtype),
        )
        margin = self._reach + self.max_shift
        if self.max_shift:
            length = self.num_states + 2 * margin
            padded = jnp.pad(arrived, 2 * self.max_shift)
            arrived = lax.dynamic_slice_in_dim(padded, self.max_shift - self.shift, length)
        positions = jnp.arange(-margin, self.num_states + margin)
        below = jnp.sum(jnp.where(positions < self.lower, arrived, 0))
        above = jnp.sum(jnp.where(positions > self.upper, arrived, 0))
        inside = jnp.where((positions >= self.lower) & (positions <= self.upper), arrived, 0)
        inside = inside[margin : margin + self.num_states]
        states = jnp.arange(self.num_states)
        return inside + jnp.where(states == self.lower, below, 0) + jnp.where(states == self.upper, above, 0)

    @property
    def _starts(self) -> tuple[int, ...]:
        return tuple(self._reach + o for o in self.offsets)

    def successors(self) -> Successors:
        """One successor of every state and action."""
        targets = jnp.arange(self.num_states)[:, None] + jnp.asarray(self.offsets) + self.shift
        targets = jnp.clip(targets, self.lower, self.upper)[:, :, None]
        return Successors(targets, jnp.ones(targets.shape))


def lattice_noise(
    num_states: int,
    offsets: Sequence[int],
    probabilities: Sequence[float],
    *,
    lower: ArrayLike = 0,
    upper: ArrayLike | None = None,
) -> ControlledOperator:
    """Noise clip(s + offsets[k], lower, upper) with probability probabilities[k]: a lattice under a fixed policy."""
    kernel = LatticeKernel(num_states, offsets, lower=lower, upper=upper)
    row = jnp.asarray(np.asarray(probabilities, dtype=np.float64))
    return kernel.under(jnp.broadcast_to(row, (num_states, len(row))))
