"""Kernels of every structure in `structmfg.operators`."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st
from jaxtyping import Array, ArrayLike, Float

from structmfg import operators as ops
from structmfg._checks import check_integer, check_name
from structmfg.verification.strategies._arrays import distributions, policies, whole

Kernels: TypeAlias = st.SearchStrategy[ops.TransitionKernel]
Operators: TypeAlias = st.SearchStrategy[ops.TransitionOperator]

_ACTIONS = 2
_SIZES = (4,)
_LINES = (4, 20)  # sizes of lines: on the first all states are near a wall
_ON_LINES = {"lattice", "factored_lattice", "mixture", "patched"}


def kernels(structure: str | None = None, *, num_states: int | None = None, num_actions: int | None = None) -> Kernels:
    """Random kernels of one structure, or of any.

    Args:
        structure: One of the `STRUCTURES`; any by default.
        num_states: S, at least 2; by default 4, on lines 4 or 20.
        num_actions: A; by default 2.

    Raises:
        ValueError: If the structure is unknown, or a number out of range.
    """
    if structure is not None:
        check_name("structure", structure, STRUCTURES)
    if num_states is not None:
        check_integer("num_states", num_states, at_least=2)
    if num_actions is not None:
        check_integer("num_actions", num_actions, at_least=1)

    @st.composite
    def drawn(draw: Callable[..., Any]) -> ops.TransitionKernel:
        name = structure or draw(st.sampled_from(tuple(STRUCTURES)))
        sizes = _LINES if name in _ON_LINES else _SIZES
        count = num_states or draw(st.sampled_from(sizes))
        return draw(STRUCTURES[name](count, num_actions or _ACTIONS))

    return drawn()


def _dense(num_states: int, num_actions: int) -> Kernels:
    return st.builds(ops.DenseKernel, distributions(num_states, num_actions, num_states))


def _successors(num_states: int, num_actions: int) -> Kernels:
    shape = (num_states, num_actions, 2)
    return st.builds(ops.SuccessorKernel, whole(shape, 0, num_states - 1).map(jnp.asarray), distributions(*shape))


def _offsets(count: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*[st.integers(-2, 2)] * count)


def _barriers(num_states: int) -> st.SearchStrategy[tuple[int, ...]]:
    cell = st.integers(0, num_states - 1)
    return st.just(()) | st.tuples(cell, cell)


def _lattice(num_states: int, num_actions: int) -> Kernels:
    return st.builds(
        ops.LatticeKernel,
        st.just(num_states),
        _offsets(num_actions),
        shift=st.integers(-1, 1),
        max_shift=st.just(1),
        barriers=_barriers(num_states),
    )


def _lattice2d(num_states: int, num_actions: int) -> Kernels:
    cells = (num_states // _inner(num_states), _inner(num_states))
    step = st.tuples(st.integers(-2, 2), st.integers(-1, 1))
    obstacles = whole(cells, 0, 1).map(lambda mask: mask.astype(bool))
    return st.builds(ops.LatticeKernel2d, st.just(cells), st.tuples(*[step] * num_actions), obstacles=obstacles)


def _lattice_noise(num_states: int) -> Operators:
    return st.builds(
        ops.LatticeNoise, st.just(num_states), _offsets(2), distributions(2), barriers=_barriers(num_states)
    )


def _factored_lattice(num_states: int, num_actions: int) -> Kernels:
    return st.builds(ops.FactoredKernel, _lattice(num_states, num_actions), _lattice_noise(num_states))


def _inner(num_states: int) -> int:
    """The size of the inner index where S states are a product of two, 1 where they cannot be."""
    return next((inner for inner in (2, 3) if num_states % inner == 0 and num_states > inner), 1)


def lottery(grid: ops.Grid, positions: ArrayLike) -> ops.LotteryKernel:
    """The kernel of next positions (S, A) on a grid."""
    return ops.LotteryKernel(grid.num_points, *grid.lottery(jnp.asarray(positions, float)))


def increasing(steps: ArrayLike) -> Float[Array, " points"]:
    """Points from 0 with the given steps between them."""
    return jnp.asarray(np.cumsum([0, *np.asarray(steps)]), float)


def _lotteries(grids: Callable[[int], st.SearchStrategy[ops.Grid]]) -> Callable[[int, int], Kernels]:
    def drawn(num_states: int, num_actions: int) -> Kernels:
        outer = num_states // _inner(num_states)
        positions = whole((num_states, num_actions), -1, 4 * outer).map(lambda halves: halves / 2)
        return st.builds(lottery, grids(outer), positions)

    return drawn


def _arbitrary_grids(num_points: int) -> st.SearchStrategy[ops.Grid]:
    return st.builds(ops.ArbitraryGrid, whole(num_points - 1, 1, 3).map(increasing))


def _geometric_grids(num_points: int) -> st.SearchStrategy[ops.Grid]:
    return st.builds(ops.GeometricGrid, st.just(num_points), st.just(0.0), st.sampled_from((1.0, 9.0, 99.0)))


_lottery, _geometric_lottery = _lotteries(_arbitrary_grids), _lotteries(_geometric_grids)


def _kronecker(num_states: int) -> Operators:
    inner = _inner(num_states)
    return st.builds(ops.KroneckerOperator, st.just(num_states), distributions(inner, inner))


def _factored_kronecker(num_states: int, num_actions: int) -> Kernels:
    return st.builds(ops.FactoredKernel, _lottery(num_states, num_actions), _kronecker(num_states))


def _simple(num_states: int, num_actions: int) -> Kernels:
    """The kernels that composite kernels are made of."""
    makers = (_dense, _successors, _factored_lattice, _lottery)
    return st.one_of([make(num_states, num_actions) for make in makers])


def _factored(num_states: int, num_actions: int) -> Kernels:
    """A controlled step followed by any noise, or by another kernel under a policy."""
    controlled = st.builds(
        ops.ControlledOperator, _simple(num_states, num_actions), policies((num_states, num_actions))
    )
    noise = _lattice_noise(num_states) | _kronecker(num_states) | controlled
    return st.builds(ops.FactoredKernel, _simple(num_states, num_actions), noise)


def _mixture(num_states: int, num_actions: int) -> Kernels:
    weights = distributions(2) | distributions(num_states, 2).map(jnp.transpose)
    part = _simple(num_states, num_actions)
    return st.builds(ops.MixtureKernel, st.tuples(part, part), weights)


def _patched(num_states: int, num_actions: int) -> Kernels:
    part = _simple(num_states, num_actions)
    return st.builds(ops.PatchedKernel, part, part, st.integers(0, num_states - 1))


def _lifted(num_states: int, num_actions: int) -> Kernels:
    inner = _inner(num_states)
    return st.builds(ops.LiftedKernel, _simple(num_states // inner, num_actions), st.just(inner))


def _kron(num_states: int, num_actions: int) -> Kernels:
    inner = _inner(num_states)
    return st.builds(ops.kron, _simple(num_states // inner, num_actions), distributions(inner, inner))


def _kron_operator(num_states: int, num_actions: int) -> Kernels:
    inner = _inner(num_states)
    return st.builds(ops.kron, _simple(num_states // inner, num_actions), _lattice_noise(inner))


def _explicit(num_states: int, num_actions: int) -> Kernels:
    return _simple(num_states, num_actions).map(ops.TransitionKernel.explicit)


STRUCTURES: dict[str, Callable[[int, int], Kernels]] = {
    "dense": _dense,
    "successors": _successors,
    "lattice": _lattice,
    "lattice2d": _lattice2d,
    "lottery": _lottery,
    "geometric_lottery": _geometric_lottery,
    "factored": _factored,
    "factored_lattice": _factored_lattice,
    "factored_kronecker": _factored_kronecker,
    "mixture": _mixture,
    "patched": _patched,
    "lifted": _lifted,
    "kron": _kron,
    "kron_operator": _kron_operator,
    "explicit": _explicit,
}
