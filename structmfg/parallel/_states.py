"""Kernels and operators whose states are spread over the axis "states" of the mesh in use.

Device d of P has the states d n..(d + 1) n - 1, n = S / P, of every array over states. A law of motion that leads no
further than `reach` states on the line is spread by windows: a product exchanges `reach` numbers with each neighbour.
Any other is spread by rows: the values of all states are gathered, and the mass that arrives is summed up, over all
devices.

By windows, a device applies the law as it is to its own n states. That is right but for the states within `reach` of
its ends, and these get short windows of their own, which reach into the neighbours' states:

    states of a device     | 0 . . . . . . . . . . . . . . . n-1 |
    own window             | x x x o o o o o o o o o o o x x x |          o: right, x: replaced
    window of the low end  h h h o o o v v v                              h: the halo, from the neighbour
    window of the high end                           v v v o o o h h h    v: own values that the end states reach

The adjoint sends the mass of the end states by the short windows, and what arrives in a halo to the neighbour.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array
from typing_extensions import override

from structmfg._checks import check_kind
from structmfg.operators import (
    CompressedOperator,
    ControlledOperator,
    DenseKernel,
    ExplicitKernel,
    ExplicitOperator,
    FactoredKernel,
    LiftedKernel,
    LotteryKernel,
    MixtureKernel,
    PowerOperator,
    ProductOperator,
    SuccessorKernel,
    Successors,
    TransitionKernel,
    TransitionOperator,
    delegate,
    without_ends,
)
from structmfg.parallel._mesh import STATES, axis_size
from structmfg.parallel._rows import Entries, expect_rows, push_rows, spread_entries
from structmfg.parallel._windows import Extent, Law, Window, extent, placements, restrict

AnyLaw = TypeVar("AnyLaw", TransitionKernel, TransitionOperator)
_OWN = PartitionSpec(STATES)


def spread(law: AnyLaw) -> AnyLaw:
    """Spread the states of a kernel or operator over the axis "states" of the mesh in use (`jax.set_mesh`).

    Lattices, noise on them, chains on an inner index, and what is made of these by `>>`, `@`, `**`, `kron`, mixtures
    and patches are spread by windows: a product sends each neighbour as many numbers as moves and noise lead states
    away, however many states there are. Lotteries, lists of successors, dense arrays and sparse matrices are spread by
    rows: every device gathers the values of all S states, or sums up the mass that arrives in all of them. For a while
    it holds S numbers, and it receives S (P - 1) / P of them from the P - 1 others.

    Args:
        law: A kernel or an operator on S states.

    Returns:
        The same law of motion, whose products take and return arrays that are spread over states; the law itself where
        the axis has one device, or no mesh is in use.

    Raises:
        ValueError: The P devices do not divide S; one step leads further than half the states of a device; the law, or
            a part of it, has no such form; or the places of a sparse matrix are traced.

    >>> import structmfg as smfg
    >>> walk = smfg.operators.LatticeKernel(12, (-1, 0, 1))
    >>> with jax.set_mesh(smfg.parallel.make_mesh(states=1)):
    ...     smfg.parallel.spread(walk) is walk
    True
    """
    check_kind("law", law, TransitionKernel | TransitionOperator)
    devices = axis_size(STATES)
    return law if devices == 1 else _spread(law, devices)


def _spread(law: Any, devices: int) -> Any:
    if isinstance(law, SpreadKernel | SpreadOperator):
        return law
    each = functools.partial(_spread, devices=devices)
    if isinstance(law, ControlledOperator):
        return ControlledOperator(each(law.kernel), law.policy, checks=False)
    known = extent(law)
    in_parts = isinstance(law, FactoredKernel | ProductOperator | PowerOperator)
    if known is not None and not (in_parts and law.num_states < 2 * known.reach * devices):
        _check_room(law, known, devices)
        return SpreadKernel(law) if isinstance(law, TransitionKernel) else SpreadOperator(law)
    match law:
        case FactoredKernel():
            return FactoredKernel(each(law.move), each(law.noise))
        case MixtureKernel():
            return MixtureKernel([each(kernel) for kernel in law.kernels], law.weights, checks=False)
        case LiftedKernel():
            return LiftedKernel(each(law.move), law.inner_size)
        case ProductOperator():
            return ProductOperator([each(factor) for factor in law.factors])
        case PowerOperator():
            return PowerOperator(each(law.base), law.exponent)
    _check_room(law, Extent(0), devices)
    match law:
        case LotteryKernel() | DenseKernel() | SuccessorKernel():
            return SpreadKernel(law)
        case ExplicitKernel():
            return SpreadKernel(law, spread_entries(law.matrix, devices, law.num_actions))
        case ExplicitOperator() | CompressedOperator():
            return SpreadOperator(law, spread_entries(law.as_bcoo(), devices, None))
    raise ValueError(
        f"a {type(law).__name__} has no form with its states over devices: give the mesh one device for states, or "
        "make it a SuccessorKernel of its successors(), whose rows are spread"
    )


def _check_room(law: TransitionKernel | TransitionOperator, known: Extent, devices: int) -> None:
    """Raise `ValueError` unless every device gets as many states, whole blocks of them, and room for the halo."""
    states, block = law.num_states, known.block
    if states % (devices * block):
        unit = devices * block
        inner = f", in blocks of {block}" if block > 1 else ""
        raise ValueError(
            f"{states} states cannot be spread over {devices} devices{inner}: the next number that can is "
            f"{-(-states // unit) * unit}"
        )
    own = states // devices
    if own < 2 * known.reach:
        raise ValueError(
            f"a step leads up to {known.reach} states away, so a device needs {2 * known.reach} states at least, but "
            f"{states} states over {devices} devices are {own} for each"
        )


class SpreadKernel(TransitionKernel):
    """A kernel whose states are spread over devices; `spread` makes it.

    Args:
        law: The kernel.
        entries: Its entries by device, of a sparse matrix.
    """

    law: TransitionKernel
    entries: Entries | None = None

    num_states = delegate("law.num_states")
    num_actions = delegate("law.num_actions")
    branching = delegate("law.branching")
    span = delegate("law.span")

    @property
    @override
    def structure(self) -> str:
        return f"{self.law.structure}, states over devices"

    @override
    def expect(self, values: Array) -> Array:
        return _gather(self, values) if extent(self.law) is None else _expect(self, values)

    @override
    def push(self, mass: Array) -> Array:
        if extent(self.law) is None:
            return _scatter(self, mass)
        return self.push_under(mass, jnp.ones(self.num_states, mass.dtype))

    @override
    def expect_under(self, policy: Array, values: Array) -> Array:
        return super().expect_under(policy, values) if extent(self.law) is None else _pull(self, values, policy)

    @override
    def push_under(self, policy: Array, mass: Array) -> Array:
        return super().push_under(policy, mass) if extent(self.law) is None else _push(self, mass, policy)

    @override
    def successors(self) -> Successors:
        return self.law.successors()


class SpreadOperator(TransitionOperator):
    """An operator whose states are spread over devices; `spread` makes it. Its fields are those of `SpreadKernel`."""

    law: TransitionOperator
    entries: Entries | None = None

    num_states = delegate("law.num_states")
    dtype = delegate("law.dtype")
    branching = delegate("law.branching")
    span = delegate("law.span")

    @property
    @override
    def structure(self) -> str:
        return f"{self.law.structure}, states over devices"

    @override
    def mv(self, values: Array) -> Array:
        return _gather(self, values) if extent(self.law) is None else _pull(self, values, None)

    @override
    def rmv(self, mass: Array) -> Array:
        return _scatter(self, mass) if extent(self.law) is None else _push(self, mass, None)

    @override
    def successors(self) -> Successors:
        return self.law.successors()


Spread = SpreadKernel | SpreadOperator
# A map over some of the axes of a mesh must be within `jit`. Called outside, a product is compiled once.
_compiled = functools.partial(jax.jit, inline=True)


def _values_under(law: Any, values: Array, policy: Array | None) -> Array:
    return law.mv(values) if policy is None else law.expect_under(policy, values)


def _mass_under(law: Any, mass: Array, policy: Array | None, margin: int = 0) -> Array:
    """The mass one step later, without that of the first and last `margin` states."""
    return law.rmv(without_ends(mass, margin)) if policy is None else law.push_inside(policy, mass, margin)


@_compiled
def _expect(spread: SpreadKernel, values: Array) -> Array:
    """P v (S, A), by one window with both halos: a table would have to be stored to put short windows into it."""
    reach = _reach(spread.law)

    def on_device(law: TransitionKernel, values: Array) -> Array:
        size, first = values.shape[0], _first(values)
        if not reach:
            return restrict(law, Window(first, size)).expect(values)
        window = Window(first - reach, size + 2 * reach, reach, at_end=True)
        around = jnp.concatenate([_from_below(values[-reach:]), values, _from_above(values[:reach])])
        return restrict(law, window).expect(around)[reach:-reach]

    return _on_devices(on_device, spread.law, placements(spread.law), values)


@_compiled
def _pull(spread: Spread, values: Array, policy: Array | None) -> Array:
    """A^pi v (S,) of a kernel, or A v of an operator, which has no policy."""
    reach = _reach(spread.law)

    def on_device(law: Law, values: Array, policy: Array | None) -> Array:
        size, first = values.shape[0], _first(values)
        expected = _values_under(restrict(law, Window(first, size)), values, policy)
        if not reach:
            return expected

        def at_end(start: Array, around: Array) -> Array:
            window = Window(first + start - reach, 3 * reach, reach, start, True)
            return _values_under(restrict(law, window), around, window.cut(policy))[reach : 2 * reach]

        low = jnp.concatenate([_from_below(values[-reach:]), values[: 2 * reach]])
        high = jnp.concatenate([values[-2 * reach :], _from_above(values[:reach])])
        ends = jax.vmap(at_end)(jnp.array([0, size - reach]), jnp.stack([low, high]))
        return expected.at[_ends(size, reach)].set(jnp.concatenate(ends), unique_indices=True)

    return _on_devices(on_device, spread.law, placements(spread.law), values, policy)


@_compiled
def _push(spread: Spread, mass: Array, policy: Array | None) -> Array:
    """(A^pi)^T mu (S,) of a kernel, or A^T mu of an operator, which has no policy."""
    reach = _reach(spread.law)

    def on_device(law: Law, mass: Array, policy: Array | None) -> Array:
        size, first = mass.shape[0], _first(mass)
        arrived = _mass_under(restrict(law, Window(first, size)), mass, policy, margin=reach)
        if not reach:
            return arrived

        def from_end(start: Array) -> Array:
            window = Window(first + start - reach, 3 * reach, reach, start, True)
            return _mass_under(restrict(law, window), window.cut(mass), window.cut(policy))

        low, high = jax.vmap(from_end)(jnp.array([0, size - reach]))
        received = _from_below(high[2 * reach :]), _from_above(low[:reach])
        states = jnp.concatenate([_ends(size, 2 * reach), _ends(size, reach)])
        return arrived.at[states].add(jnp.concatenate([low[reach:], high[: 2 * reach], *received]))

    return _on_devices(on_device, spread.law, placements(spread.law), mass, policy)


@_compiled
def _gather(spread: Spread, values: Array) -> Array:
    """P v (S, A), or A v (S,), by rows."""

    def on_device(rows: Any, values: Array) -> Array:
        return expect_rows(rows, lax.all_gather(values, STATES, tiled=True), _first(values), values.shape[0])

    rows = _rows(spread)
    return _on_devices(on_device, rows, jax.tree.map(lambda _: _OWN, rows), values)


@_compiled
def _scatter(spread: Spread, mass: Array) -> Array:
    """P^T m (S,), or A^T mu, by rows."""

    def on_device(rows: Any, mass: Array) -> Array:
        return lax.psum_scatter(push_rows(rows, mass, _first(mass), spread.num_states), STATES, tiled=True)

    rows = _rows(spread)
    return _on_devices(on_device, rows, jax.tree.map(lambda _: _OWN, rows), mass)


def _reach(law: Law) -> int:
    known = extent(law)
    assert known is not None  # else it is spread by rows
    return known.reach


def _rows(spread: Spread) -> Any:
    return spread.law if spread.entries is None else spread.entries


def _on_devices(function: Callable[..., Array], law: Any, places: Any, *arrays: Array | None) -> Array:
    """Call a function on every device with its part of a law and of arrays over states; join what it returns."""
    return jax.shard_map(
        function,
        in_specs=(places, *[_OWN] * len(arrays)),
        out_specs=_OWN,
        axis_names={STATES},
        check_vma=False,  # its check of what differs between devices refuses scans
    )(law, *arrays)


def _ends(size: int, count: int) -> Array:
    """The numbers of the first and of the last `count` states of a device."""
    states = jnp.arange(count)
    return jnp.concatenate([states, size - count + states])


def _first(array: Array) -> Array:
    """The number of the first state of this device, of whose own array the size is known."""
    return lax.axis_index(STATES) * array.shape[0]


def _from_below(array: Array) -> Array:
    """What the device before this one has; zeros on the first."""
    return lax.ppermute(array, STATES, [(i, i + 1) for i in range(lax.axis_size(STATES) - 1)])


def _from_above(array: Array) -> Array:
    """What the device after this one has; zeros on the last."""
    return lax.ppermute(array, STATES, [(i + 1, i) for i in range(lax.axis_size(STATES) - 1)])
