"""Moves on a line of states with walls: contiguous slices and convolutions, no gather over states and no scatter.

Away from the walls a move by fixed offsets is a sum of shifted copies, and noise is a convolution. Only the few states
whose targets may lie beyond a wall need more: their rows are computed one by one, from their successors.

Walls stand at both ends of the line and at **barriers**, cells that nobody enters or crosses: a target is clipped into
the cells on its own side. Whoever stands on a barrier is bound by the ends of the line and the other barriers.
"""

import functools
import operator
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int

from structmfg._checks import (
    as_array,
    as_indices,
    as_reals,
    check_integer,
    check_kind,
    check_rows,
    check_shape,
    concrete,
)
from structmfg.operators._base import ROUNDING, Successors, TransitionKernel, TransitionOperator

_MOST_STATES = 2**30 - 1  # whose sums with a displacement indices of 32 bits can number
_LONG = 2**24  # beyond it, XLA's convolution on CPU returns zeros at the end of a signal of 4 n + 1 or 4 n + 2 entries


class _Line(NamedTuple):
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

    def ends(self, width: int) -> list[tuple[ArrayLike, int]]:
        """Windows (first state, number of states): `width` states at each end."""
        return [(0, width), (self.num_states - width, width)]

    def at_barriers(self) -> list[tuple[ArrayLike, int]]:
        """Windows of all states within reach of a barrier; they may overlap each other, and the ends."""
        around = min(2 * self.reach + 1, self.num_states)
        return [(jnp.clip(b - self.reach, 0, self.num_states - around), around) for b in self.barriers]

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


def _total(terms: Iterable[Array]) -> Array:
    return functools.reduce(operator.add, terms)


def _walls(barriers: Int[Array, " barriers"]) -> str:
    count = barriers.shape[0]
    return "walls at the ends" + (f" and at {count} barrier{'s' * (count > 1)}" if count else "")


def _checked_barriers(
    num_states: int, barriers: ArrayLike | Sequence[ArrayLike], checks: bool
) -> Int[Array, " barriers"]:
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


def _checked_offsets(most: int, offsets: Sequence[int]) -> tuple[int, ...]:
    """Whole numbers; those beyond +-`most`, S and what a shift may take back, lead to a wall as it does."""
    check_kind("offsets", offsets, Sequence | np.ndarray)
    if not len(offsets):
        raise ValueError("offsets must name at least one displacement, but are empty")
    for index, offset in enumerate(offsets):
        whole = isinstance(offset, int | np.integer) and not isinstance(offset, bool)
        if not whole and not (isinstance(offset, float | np.floating) and float(offset).is_integer()):
            raise ValueError(f"offsets must be whole numbers, but offset {index} is {offset!r}")
    return tuple(max(-most, min(int(offset), most)) for offset in offsets)


def _check_shift(shift: Any) -> None:
    """Raise `ValueError` unless it is a whole number, traced or not."""
    if not jnp.issubdtype(shift.dtype, jnp.integer) or shift.shape:
        raise ValueError(f"shift must be one whole number, but is of {shift.dtype}, shape {shift.shape}: {shift!r:.40}")


class LatticeKernel(TransitionKernel):
    """Action a moves state s to clip(s + offsets[a] + shift), the walls being those of s.

    `offsets` are static integers, one an action. `shift`, common to all, may be traced, and is bounded by the static
    `max_shift`: one that is traced is clipped to it. `barriers` (B,) may be traced; none by default.
    """

    num_states: int = eqx.field(static=True)
    offsets: tuple[int, ...] = eqx.field(static=True)
    max_shift: int = eqx.field(static=True)
    shift: Int[Array, ""]
    barriers: Int[Array, " barriers"]

    def __init__(
        self,
        num_states: int,
        offsets: Sequence[int],
        *,
        shift: ArrayLike = 0,
        max_shift: int = 0,
        barriers: ArrayLike | Sequence[ArrayLike] = (),
        checks: bool = True,
    ) -> None:
        self.num_states = check_integer("num_states", num_states, at_least=1, at_most=_MOST_STATES)
        self.max_shift = check_integer("max_shift", max_shift, at_least=0, at_most=_MOST_STATES - self.num_states)
        self.offsets = _checked_offsets(self.num_states + self.max_shift, offsets)
        self.barriers = _checked_barriers(num_states, barriers, checks)
        given = as_array("shift", shift)
        _check_shift(given)
        if checks and (known := concrete(given)) is not None and abs(int(known)) > max_shift:
            raise ValueError(f"shift must lie within max_shift, {max_shift}, of 0, but is {known}")
        own = as_indices("shift", shift, last=self.num_states + self.max_shift, checks=False)
        self.shift = own if concrete(own) is not None else jnp.clip(own, -max_shift, max_shift)

    @property
    def num_actions(self) -> int:
        """A."""
        return len(self.offsets)

    @property
    def _line(self) -> _Line:
        return _Line(self.num_states, self.barriers, max(abs(o) for o in self.offsets) + self.max_shift)

    @property
    def span(self) -> int:
        """Clipping at the ends is 1-Lipschitz; past a barrier, a state and its successor are within `reach`."""
        apart = max(self.offsets) - min(self.offsets)
        return max(apart, 2 * self._line.reach) if self.barriers.shape[0] else apart

    @property
    def branching(self) -> int:
        """No more distinct successors than distinct offsets."""
        return min(self.num_states, len(set(self.offsets)))

    @property
    def structure(self) -> str:
        """See `TransitionKernel.structure`."""
        return f"shift by one of {self.num_actions} offsets, {_walls(self.barriers)}"

    def _targets(self, states: Int[Array, " some"]) -> Int[Array, "some actions"]:
        targets = states[:, None] + jnp.asarray(self.offsets)[None] + self.shift
        return self._line.clip(states, targets)

    def expect(self, values: Float[Array, " states"]) -> Float[Array, "states actions"]:
        """P v."""
        check_shape("values", values, (self.num_states,))
        return values[self._targets(jnp.arange(self.num_states))]

    def push(self, mass: Float[Array, "states actions"]) -> Float[Array, " states"]:
        """P^T m."""
        check_shape("mass", mass, (self.num_states, self.num_actions))
        return self.push_under(mass, jnp.ones(self.num_states, mass.dtype))

    def expect_under(
        self, policy: Float[Array, "states actions"], values: Float[Array, " states"]
    ) -> Float[Array, " states"]:
        """sum_a pi (P v): a sum of slices inside, rows of their own near the walls."""
        check_shape("values", values, (self.num_states,))
        check_shape("policy", policy, (self.num_states, self.num_actions))
        line = self._line
        if line.short:
            return jnp.sum(policy * self.expect(values), axis=-1)
        offsets, max_shift = self._known_moves
        first, last = line.reach, self.num_states - line.reach
        if max_shift:  # around[i] = values[i - max_shift + shift]
            # Zeros from the data: constant ones would be made outside the caller's loop, and copied at every turn.
            room = jnp.full(self.num_states + 2 * max_shift, 0 * values[0])
            around = lax.dynamic_update_slice_in_dim(room, values, max_shift - self.shift, 0)
        else:
            around = values
        sums = _total(
            policy[first:last, a] * around[first + max_shift + o : last + max_shift + o] for a, o in enumerate(offsets)
        )
        # Joined with anything and overwritten: written into zeros, it would become a `pad`, and slow down its loop.
        expected = jnp.concatenate([around[:first], sums, around[: line.reach]])
        for start, size in [*line.ends(line.reach), *line.at_barriers()]:
            states = jnp.asarray(start) + jnp.arange(size)
            targets = self._targets(states)
            reached = around[targets + max_shift - self.shift] if max_shift else values[targets]
            expected = expected.at[states].set(jnp.sum(policy[states] * reached, axis=-1), unique_indices=True)
        return expected

    def push_under(
        self, policy: Float[Array, "states actions"], mass: Float[Array, " states"]
    ) -> Float[Array, " states"]:
        """P^T (pi mu), the adjoint: shifted copies inside; what they miss near the walls is sent row by row."""
        check_shape("mass", mass, (self.num_states,))
        check_shape("policy", policy, (self.num_states, self.num_actions))
        line = self._line
        if line.short:
            arrived = jnp.zeros(self.num_states, jnp.result_type(policy, mass))
            return arrived.at[self._targets(jnp.arange(self.num_states))].add(mass[:, None] * policy)
        far, near = line.split(mass)
        offsets, max_shift = self._known_moves
        first = line.reach + max_shift  # what arrives in first..last-1 before the shift is summed up by slices
        last = self.num_states - first
        sums = _total(policy[first - o : last - o, a] * far[first - o : last - o] for a, o in enumerate(offsets))
        if max_shift:
            room = jnp.full(self.num_states, 0 * sums[0])
            arrived = lax.dynamic_update_slice_in_dim(room, sums, first + self.shift, 0)
        else:  # zeros at both ends that XLA does not know to be; see `expect_under`
            arrived = jnp.concatenate([0 * far[:first], sums, 0 * far[last:]])
        for start, size in line.ends(first + line.reach):
            states = jnp.asarray(start) + jnp.arange(size)
            before = states[:, None] + np.array(offsets)
            missing = (before < first) | (before >= last)
            moving = (far[states][:, None] * policy[states]) * missing
            arrived = arrived.at[self._targets(states)].add(moving)
        for states, taken in near:
            arrived = arrived.at[self._targets(states)].add(taken[:, None] * policy[states])
        return arrived

    @property
    def _known_moves(self) -> tuple[tuple[int, ...], int]:
        """Offsets and max_shift, with a shift that is known now counted into the offsets."""
        known = concrete(self.shift)
        if known is None or known.ndim:
            return self.offsets, self.max_shift
        return tuple(o + int(known) for o in self.offsets), 0

    def successors(self) -> Successors:
        """One successor of every state and action."""
        return self.successors_of(jnp.arange(self.num_states))

    def successors_of(self, states: Int[Array, " some"]) -> Successors:
        """See `TransitionKernel.successors_of`."""
        targets = self._targets(states)[:, :, None]
        return Successors(targets, jnp.ones(targets.shape))


class LatticeNoise(TransitionOperator):
    """Noise clip(s + offsets[k]) with probability `probabilities[k]`: a convolution inside, and walls as of a lattice.

    Offsets are static and sorted; those given twice are merged. The cost of a product grows with their range.
    """

    num_states: int = eqx.field(static=True)
    offsets: tuple[int, ...] = eqx.field(static=True)
    probabilities: Float[Array, " offsets"]
    barriers: Int[Array, " barriers"]

    def __init__(
        self,
        num_states: int,
        offsets: Sequence[int],
        probabilities: ArrayLike | Sequence[float],
        *,
        barriers: ArrayLike | Sequence[ArrayLike] = (),
        checks: bool = True,
    ) -> None:
        self.num_states = check_integer("num_states", num_states, at_least=1, at_most=_MOST_STATES)
        moves = _checked_offsets(self.num_states, offsets)
        given = as_reals("probabilities", probabilities, float)
        check_shape("probabilities", given, (len(moves),))
        if checks:
            check_rows("probabilities", given[None], least=-ROUNDING)
        distinct, place = np.unique(moves, return_inverse=True)
        self.offsets = tuple(distinct.tolist())
        self.probabilities = jnp.zeros(len(self.offsets), given.dtype).at[place].add(given)
        self.barriers = _checked_barriers(num_states, barriers, checks)

    @property
    def _line(self) -> _Line:
        return _Line(self.num_states, self.barriers, max(abs(o) for o in self.offsets))

    @property
    def span(self) -> int:
        """See `LatticeKernel.span`."""
        apart = self.offsets[-1] - self.offsets[0]
        return max(apart, 2 * self._line.reach) if self.barriers.shape[0] else apart

    @property
    def structure(self) -> str:
        """See `TransitionKernel.structure`."""
        return f"convolution with {len(self.offsets)} points, {_walls(self.barriers)}"

    def _targets(self, states: Int[Array, " some"]) -> Int[Array, "some offsets"]:
        return self._line.clip(states, states[:, None] + jnp.asarray(self.offsets)[None])

    def _correlate(self, signal: Float[Array, " states"], sign: int) -> Float[Array, " states"]:
        """sum_k p_k signal[s + sign * offsets[k]], with zeros beyond the ends.

        A convolution, because XLA neither fuses it nor computes it again where its result is used many times.
        """
        reach = self._line.reach
        taps = jnp.zeros(2 * reach + 1, self.probabilities.dtype)
        taps = taps.at[reach + sign * np.array(self.offsets)].set(self.probabilities).astype(signal.dtype)
        size, highest = signal.shape[0], lax.Precision.HIGHEST
        if size > _LONG:
            signal = jnp.pad(signal, (0, -size % 4))
        result = lax.conv_general_dilated(signal[None, None], taps[None, None], (1,), "SAME", precision=highest)[0, 0]
        return result[:size]

    def mv(self, values: Float[Array, " states"]) -> Float[Array, " states"]:
        """N v."""
        check_shape("values", values, (self.num_states,))
        line = self._line

        def near(states: Int[Array, " some"]) -> Array:
            return values[self._targets(states)] @ self.probabilities

        if line.short:
            return near(jnp.arange(self.num_states))
        expected = self._correlate(values, 1)
        for first, size in [*line.ends(line.reach), *line.at_barriers()]:
            states = jnp.asarray(first) + jnp.arange(size)  # as a slice, it would make XLA copy the convolution first
            expected = expected.at[states].set(near(states), unique_indices=True)
        return expected

    def rmv(self, mass: Float[Array, " states"]) -> Float[Array, " states"]:
        """N^T mu."""
        check_shape("mass", mass, (self.num_states,))
        line = self._line
        if line.short:
            arrived = jnp.zeros_like(mass)
            return arrived.at[self._targets(jnp.arange(self.num_states))].add(mass[:, None] * self.probabilities[None])
        far, near = line.split(mass)
        arrived = self._correlate(far, -1)  # all but what would leave the line
        for start, size in line.ends(line.reach):
            states = jnp.asarray(start) + jnp.arange(size)
            beyond = states[:, None] + np.array(self.offsets)
            missing = (beyond < 0) | (beyond >= self.num_states)
            arrived = arrived.at[self._targets(states)].add(far[states][:, None] * self.probabilities * missing)
        for states, taken in near:
            arrived = arrived.at[self._targets(states)].add(taken[:, None] * self.probabilities)
        return arrived

    def successors(self) -> Successors:
        """All offsets, (S, K)."""
        return self.successors_of(jnp.arange(self.num_states))

    def successors_of(self, states: Int[Array, " some"]) -> Successors:
        """See `TransitionKernel.successors_of`."""
        targets = self._targets(states)
        return Successors(targets, jnp.broadcast_to(self.probabilities, targets.shape))
