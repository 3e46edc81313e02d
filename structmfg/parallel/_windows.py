"""Kernels on a line of states of which every device has a window: what they reach, and what they are on a window.

A window is the states first..first + size - 1 of the line, counted from 0. There the law of motion is that of the same
class of kernel, with its barriers in the window's own numbers. The ends of the line become two more barriers, at -1 and
at S of the line: where they lie follows from the number of the device, so they are traced, and one program serves all.
"""

import functools
import math
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Int

from structmfg.operators import (
    ControlledOperator,
    FactoredKernel,
    KroneckerOperator,
    LatticeKernel,
    LatticeNoise,
    LiftedKernel,
    LiftedOperator,
    MixtureKernel,
    PatchedKernel,
    PowerOperator,
    ProductOperator,
    TransitionKernel,
    TransitionOperator,
)
from structmfg.parallel._mesh import STATES

Law: TypeAlias = TransitionKernel | TransitionOperator


class Window(NamedTuple):
    """States first..first + size - 1 of the line; a device has those in the middle, `halo` at each end are others'.

    Attributes:
        first: The first state; traced, and negative at the beginning of the line.
        size: The number of states.
        halo: The number of states at each end that the device has not; 0 for its own window.
        start: Where in the device's own arrays the states in the middle begin.
        at_end: Whether an end of the line may lie within reach of the states in the middle.
    """

    first: Int[Array, ""]
    size: int
    halo: int = 0
    start: Int[Array, ""] | int = 0
    at_end: bool = False

    def cut(self, array: Any, axis: int = 0) -> Any:
        """The window of an array of the device with this axis of states: zeros where the device has none."""
        if not self.halo or array is None:
            return array
        own = lax.dynamic_slice_in_dim(array, self.start, self.size - 2 * self.halo, axis)
        return jnp.pad(own, [(self.halo, self.halo) if i == axis else (0, 0) for i in range(array.ndim)])

    def over(self, inner: int) -> "Window":
        """The window of the outer index of product states, of which each has so many inner ones."""
        return Window(self.first // inner, self.size // inner, self.halo // inner, self.start // inner, self.at_end)

    def walls(self, barriers: Int[Array, " barriers"], num_states: int) -> Int[Array, " walls"]:
        """Barriers of the line in the numbers of the window, with the ends of the line where they may matter."""
        cells = jnp.concatenate([barriers, jnp.array([-1, num_states])]) if self.at_end else barriers
        return (cells - self.first).astype(int)


class Extent(NamedTuple):
    """How far a law of motion leads on the line of states: `reach`, in windows that are multiples of `block`."""

    reach: int
    block: int = 1


@functools.singledispatch
def extent(law: Any) -> Extent | None:
    """How far the successors of a state lie from it on the line; None where no bound is known."""
    return None


@extent.register
def _(law: LatticeKernel) -> Extent | None:
    return Extent(max(map(abs, law.offsets)) + law.max_shift)


@extent.register
def _(law: LatticeNoise) -> Extent | None:
    return Extent(max(map(abs, law.offsets)))


@extent.register
def _(law: KroneckerOperator) -> Extent | None:
    return Extent(0, law.chain.shape[0])


@extent.register
def _(law: LiftedKernel) -> Extent | None:
    return _times(extent(law.move), law.inner_size)


@extent.register
def _(law: LiftedOperator) -> Extent | None:
    if law.outer_size > 1:  # the middle index moves within its own block of states
        return Extent(0, law.move_by.num_states * law.inner_size)
    return _times(extent(law.move_by), law.inner_size)


@extent.register
def _(law: ControlledOperator) -> Extent | None:
    return extent(law.kernel)


@extent.register
def _(law: FactoredKernel) -> Extent | None:
    return _in_a_row((law.move, law.noise))


@extent.register
def _(law: ProductOperator) -> Extent | None:
    return _in_a_row(law.factors)


@extent.register
def _(law: PowerOperator) -> Extent | None:
    known = extent(law.base)
    return None if known is None else Extent(known.reach * law.exponent, known.block)


@extent.register
def _(law: MixtureKernel) -> Extent | None:
    return _widest(law.kernels)


@extent.register
def _(law: PatchedKernel) -> Extent | None:
    return _widest((law.base, law.other))


def _known(laws: tuple[Law, ...]) -> list[Extent] | None:
    known = [each for each in map(extent, laws) if each is not None]
    return known if len(known) == len(laws) else None


def _in_a_row(laws: tuple[Law, ...]) -> Extent | None:
    """How far several laws lead, one after another."""
    known = _known(laws)
    return None if known is None else _rounded(sum(each.reach for each in known), known)


def _widest(laws: tuple[Law, ...]) -> Extent | None:
    """How far one of several laws leads."""
    known = _known(laws)
    return None if known is None else _rounded(max(each.reach for each in known), known)


def _rounded(reach: int, known: list[Extent]) -> Extent:
    block = math.lcm(*(each.block for each in known))
    return Extent(-(-reach // block) * block, block)


def _times(known: Extent | None, inner: int) -> Extent | None:
    return None if known is None else Extent(known.reach * inner, known.block * inner)


@functools.singledispatch
def restrict(law: Any, window: Window) -> Any:
    """The law of motion on a window; arrays over states in it are those of the device."""
    raise NotImplementedError(type(law).__name__)  # `spread` refuses such a law, by name, before it comes here


@restrict.register
def _(law: LatticeKernel, window: Window) -> LatticeKernel:
    walls = window.walls(law.barriers, law.num_states)
    return LatticeKernel(
        window.size, law.offsets, shift=law.shift, max_shift=law.max_shift, barriers=walls, checks=False
    )


@restrict.register
def _(law: LatticeNoise, window: Window) -> LatticeNoise:
    walls = window.walls(law.barriers, law.num_states)
    return LatticeNoise(window.size, law.offsets, law.probabilities, barriers=walls, checks=False)


@restrict.register
def _(law: KroneckerOperator, window: Window) -> KroneckerOperator:
    return KroneckerOperator(window.size, law.chain, checks=False)


@restrict.register
def _(law: LiftedKernel, window: Window) -> LiftedKernel:
    return LiftedKernel(restrict(law.move, window.over(law.inner_size)), law.inner_size)


@restrict.register
def _(law: LiftedOperator, window: Window) -> LiftedOperator:
    if law.outer_size > 1:
        return LiftedOperator(law.move_by, window.size // (law.move_by.num_states * law.inner_size), law.inner_size)
    return LiftedOperator(restrict(law.move_by, window.over(law.inner_size)), 1, law.inner_size)


@restrict.register
def _(law: ControlledOperator, window: Window) -> ControlledOperator:
    return ControlledOperator(restrict(law.kernel, window), window.cut(law.policy), checks=False)


@restrict.register
def _(law: FactoredKernel, window: Window) -> FactoredKernel:
    return FactoredKernel(restrict(law.move, window), restrict(law.noise, window))


@restrict.register
def _(law: ProductOperator, window: Window) -> ProductOperator:
    return ProductOperator([restrict(factor, window) for factor in law.factors])


@restrict.register
def _(law: PowerOperator, window: Window) -> PowerOperator:
    return PowerOperator(restrict(law.base, window), law.exponent)


@restrict.register
def _(law: MixtureKernel, window: Window) -> MixtureKernel:
    weights = law.weights if law.weights.ndim == 1 else window.cut(law.weights, axis=1)
    return MixtureKernel([restrict(kernel, window) for kernel in law.kernels], weights, checks=False)


@restrict.register
def _(law: PatchedKernel, window: Window) -> PatchedKernel:
    state = law.state - window.first
    inside = (state >= 0) & (state < window.size)
    state = jnp.where(inside, state, window.size)  # which is no state, so that nothing is patched
    return PatchedKernel(restrict(law.base, window), restrict(law.other, window), state, checks=False)


def placements(law: Law) -> Any:
    """For every array of a law that has an extent, over which of its axes it is spread: a tree like the law."""

    def place(path: tuple[Any, ...], array: Array) -> PartitionSpec:
        name = getattr(path[-1], "name", "")
        if name == "policy":
            return PartitionSpec(STATES)
        if name == "weights" and array.ndim == 2:
            return PartitionSpec(None, STATES)
        return PartitionSpec()

    return jax.tree_util.tree_map_with_path(place, law)
