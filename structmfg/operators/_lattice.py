"""Moves on a line of states with walls: contiguous slices and convolutions, no gather over states and no scatter.

Away from the walls a move by fixed offsets is a sum of shifted copies, and noise is a convolution. Only the few states
whose targets may lie beyond a wall need more: their rows are computed one by one, from their successors. `_walls` draws
the walls and these windows of states.
"""

import functools
import operator
from collections.abc import Iterable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int
from typing_extensions import override

from structmfg._checks import as_array, as_indices, as_reals, check_integer, check_rows, check_shape, concrete
from structmfg.operators._base import ROUNDING, Table, Vector, without_ends
from structmfg.operators._kernel import TransitionKernel
from structmfg.operators._operator import TransitionOperator
from structmfg.operators._sparse import Successors
from structmfg.operators._walls import MOST_STATES, Line, as_barriers, as_offsets, states_of

_MOST_SLICES = 32  # that are added up in one loop


class LatticeKernel(TransitionKernel):
    """Action a moves state s to s + offsets[a] + shift, clipped by the walls around s (see `operators._walls`).

    Args:
        num_states: S.
        offsets: A whole numbers, one for each action; static.
        shift: A whole number that is added to every offset; may be traced, and is then clipped to +-`max_shift`.
        max_shift: A static bound on the absolute value of `shift`.
        barriers: Cells (B,) that nobody enters or crosses; may be traced. By default there are none.
        checks: Whether to refuse a shift beyond `max_shift` and barriers outside the line, where they are known.

    >>> kernel = LatticeKernel(6, (-1, 0, 2), barriers=[4])
    >>> kernel.as_dense().argmax(-1)[2]  # from state 2: one down, stay, two up, held back by the barrier at 4
    Array([1, 2, 3], dtype=int32)
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
        self.num_states = check_integer("num_states", num_states, at_least=1, at_most=MOST_STATES)
        self.max_shift = check_integer("max_shift", max_shift, at_least=0, at_most=MOST_STATES - self.num_states)
        self.offsets = as_offsets(self.num_states + self.max_shift, offsets)
        self.barriers = as_barriers(num_states, barriers, checks)
        given = as_array("shift", shift)
        if not jnp.issubdtype(given.dtype, jnp.integer) or given.shape:
            raise ValueError(
                f"shift must be one whole number, but is of {given.dtype}, shape {given.shape}: {given!r:.40}"
            )
        if checks and (known := concrete(given)) is not None and abs(int(known)) > max_shift:
            raise ValueError(f"shift must lie within max_shift, {max_shift}, of 0, but is {known}")
        own = as_indices("shift", shift, last=self.num_states + self.max_shift, checks=False)
        self.shift = own if concrete(own) is not None else jnp.clip(own, -max_shift, max_shift)

    @property
    @override
    def num_actions(self) -> int:
        return len(self.offsets)

    @property
    def _line(self) -> Line:
        return Line(self.num_states, self.barriers, max(abs(o) for o in self.offsets) + self.max_shift)

    @property
    @override
    def span(self) -> int:
        return self._line.span(self.offsets)

    @property
    @override
    def branching(self) -> int:
        return min(self.num_states, len(set(self.offsets)))

    @property
    @override
    def structure(self) -> str:
        return f"shift by one of {self.num_actions} offsets, {self._line.walls}"

    def _targets(self, states: Int[Array, " some"]) -> Int[Array, "some actions"]:
        targets = states[:, None] + jnp.asarray(self.offsets)[None] + self.shift
        return self._line.clip(states, targets)

    @override
    def expect(self, values: Vector) -> Table:
        return values[self._targets(jnp.arange(self.num_states))]

    @override
    def push(self, mass: Table) -> Vector:
        return self.push_under(mass, jnp.ones(self.num_states, mass.dtype))

    @override
    def expect_under(self, policy: Table, values: Vector) -> Vector:
        """Sum slices away from the walls, and rows of their own near them."""
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
        states, written = line.near_walls()
        targets = self._targets(states)
        reached = around[targets + max_shift - self.shift] if max_shift else values[targets]
        return expected.at[written].set(jnp.sum(policy[states] * reached, axis=-1), unique_indices=True, mode="drop")

    @override
    def push_under(self, policy: Table, mass: Vector) -> Vector:
        """Sum shifted copies, and send row by row what they miss near the walls."""
        return self.push_inside(policy, mass, 0)

    @override
    def push_inside(self, policy: Table, mass: Vector, margin: int) -> Vector:
        line = self._line
        if line.short or (margin and self.num_states <= 2 * margin + 6 * line.reach):
            mass = without_ends(mass, margin)
            arrived = jnp.zeros(self.num_states, jnp.result_type(policy, mass))
            return arrived.at[self._targets(jnp.arange(self.num_states))].add(mass[:, None] * policy)
        far, near = line.split(mass)
        offsets, max_shift = self._known_moves
        first = margin + line.reach + max_shift  # what arrives in first..last-1 before the shift is summed up by slices
        last = self.num_states - first
        sums = _total(policy[first - o : last - o, a] * far[first - o : last - o] for a, o in enumerate(offsets))
        if max_shift:
            room = jnp.full(self.num_states, 0 * sums[0])
            arrived = lax.dynamic_update_slice_in_dim(room, sums, first + self.shift, 0)
        else:  # zeros at both ends that XLA does not know to be; see `expect_under`
            arrived = jnp.concatenate([0 * far[:first], sums, 0 * far[last:]])
        states = states_of(line.ends(first + line.reach, margin))
        before = states[:, None] + np.array(offsets)
        missing = (before < first) | (before >= last)
        moving = [(far[states][:, None] * policy[states]) * missing]
        for around, taken in near:
            if margin:
                taken = jnp.where((around >= margin) & (around < self.num_states - margin), taken, 0)
            moving.append(taken[:, None] * policy[around])
        states = jnp.concatenate([states, *(around for around, _ in near)])
        return arrived.at[self._targets(states)].add(jnp.concatenate(moving))

    @property
    def _known_moves(self) -> tuple[tuple[int, ...], int]:
        """Offsets and max_shift, with a shift that is known now counted into the offsets."""
        known = concrete(self.shift)
        if known is None or known.ndim:
            return self.offsets, self.max_shift
        return tuple(o + int(known) for o in self.offsets), 0

    @override
    def successors(self) -> Successors:
        return self.successors_of(jnp.arange(self.num_states))

    @override
    def successors_of(self, states: Int[Array, " some"]) -> Successors:
        targets = self._targets(states)[:, :, None]
        return Successors(targets, jnp.ones(targets.shape))


class LatticeNoise(TransitionOperator):
    """Noise that moves state s to s + offsets[k], clipped by the walls around s, with probability `probabilities[k]`.

    A product is a convolution, with rows of their own near the walls. Its cost grows with the number of offsets.

    Args:
        num_states: S.
        offsets: K whole numbers, static; they are sorted, and those given twice are merged.
        probabilities: (K,), one for each offset.
        barriers: Cells (B,) that nobody enters or crosses; may be traced. By default there are none.
        checks: Whether to refuse probabilities that are not a distribution, and barriers outside the line.
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
        self.num_states = check_integer("num_states", num_states, at_least=1, at_most=MOST_STATES)
        moves = as_offsets(self.num_states, offsets)
        given = as_reals("probabilities", probabilities, float)
        check_shape("probabilities", given, (len(moves),))
        if checks:
            check_rows("probabilities", given[None], least=-ROUNDING)
        distinct, place = np.unique(moves, return_inverse=True)
        self.offsets = tuple(distinct.tolist())
        self.probabilities = jnp.zeros(len(self.offsets), given.dtype).at[place].add(given)
        self.barriers = as_barriers(num_states, barriers, checks)

    @property
    def _line(self) -> Line:
        return Line(self.num_states, self.barriers, max(abs(o) for o in self.offsets))

    @property
    @override
    def span(self) -> int:
        return self._line.span(self.offsets)

    @property
    @override
    def structure(self) -> str:
        return f"convolution with {len(self.offsets)} points, {self._line.walls}"

    def _targets(self, states: Int[Array, " some"]) -> Int[Array, "some offsets"]:
        return self._line.clip(states, states[:, None] + jnp.asarray(self.offsets)[None])

    def _correlate(self, signal: Vector, sign: int) -> Vector:
        """sum_k p_k signal[s + sign * offsets[k]], with zeros beyond the ends.

        Not XLA's convolution: on CPU it is slow in single precision, and in double precision it reads beyond the ends
        of the signal, where there may be no memory.
        """
        reach = self._line.reach
        starts = tuple(reach + sign * offset for offset in self.offsets)
        # Without the barrier, XLA reads some of the slices from the signal, and holds both.
        return _sum_of_slices(
            lax.optimization_barrier(jnp.pad(signal, reach)),
            self.probabilities.astype(signal.dtype),
            starts,
            signal.shape[0],
        )

    @override
    def mv(self, values: Vector) -> Vector:
        """Convolve, and replace the rows near the walls."""
        line = self._line

        def near(states: Int[Array, " some"]) -> Array:
            return jnp.matmul(values[self._targets(states)], self.probabilities, precision="highest")

        if line.short:
            return near(jnp.arange(self.num_states))
        expected = self._correlate(values, 1)
        states, written = line.near_walls()
        return expected.at[written].set(near(states), unique_indices=True, mode="drop")

    @override
    def rmv(self, mass: Vector) -> Vector:
        """Convolve what is out of reach of barriers, and send row by row what would leave the line."""
        line = self._line
        if line.short:
            arrived = jnp.zeros_like(mass)
            return arrived.at[self._targets(jnp.arange(self.num_states))].add(mass[:, None] * self.probabilities[None])
        far, near = line.split(mass)
        arrived = self._correlate(far, -1)  # all but what would leave the line
        states = states_of(line.ends(line.reach))
        beyond = states[:, None] + np.array(self.offsets)
        missing = (beyond < 0) | (beyond >= self.num_states)
        moving = [far[states][:, None] * self.probabilities * missing]
        moving += [taken[:, None] * self.probabilities for _, taken in near]
        states = jnp.concatenate([states, *(around for around, _ in near)])
        return arrived.at[self._targets(states)].add(jnp.concatenate(moving))

    @override
    def successors(self) -> Successors:
        return self.successors_of(jnp.arange(self.num_states))

    @override
    def successors_of(self, states: Int[Array, " some"]) -> Successors:
        targets = self._targets(states)
        return Successors(targets, jnp.broadcast_to(self.probabilities, targets.shape))


@functools.partial(jax.jit, static_argnames=("starts", "size"), inline=True)
def _sum_of_slices(
    padded: Float[Array, " padded"], weights: Float[Array, " slices"], starts: tuple[int, ...], size: int
) -> Float[Array, " size"]:
    """sum_k weights[k] padded[starts[k] : starts[k] + size], in a loop over blocks where there are many."""
    whole = (len(starts) - 1) // _MOST_SLICES * _MOST_SLICES
    slices = (lax.slice(padded, (start,), (start + size,)) for start in starts[whole:])
    total = _total(weight * piece for weight, piece in zip(weights[whole:], slices, strict=True))
    if not whole:
        return total

    def add(total: Array, block: tuple[Array, Array]) -> tuple[Array, None]:
        slices = (lax.dynamic_slice(padded, (start,), (size,)) for start in block[0])
        return total + _total(weight * piece for weight, piece in zip(block[1], slices, strict=True)), None

    blocks = (jnp.asarray(starts[:whole]), weights[:whole])
    return lax.scan(add, total, jax.tree.map(lambda x: x.reshape(-1, _MOST_SLICES), blocks))[0]


def _total(terms: Iterable[Array]) -> Array:
    return functools.reduce(operator.add, terms)
