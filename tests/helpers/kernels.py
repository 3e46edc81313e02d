"""One small instance of every kernel and operator, each with its dense twin."""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import numpy_kernels as twin
from structmfg import operators as ops

S, A = 36, 3  # long enough for lattices to have states out of reach of both ends
_random = np.random.default_rng(7)


def stochastic(*shape):
    """A random array whose last axis sums to one, with zeros in it."""
    raw = _random.random(shape) * (_random.random(shape) < 0.8) + 1e-3
    return raw / raw.sum(-1, keepdims=True)


POLICY, VALUES, MASS = stochastic(S, A), _random.normal(size=S), stochastic(S)
JOINT_MASS = stochastic(S * A).reshape(S, A)

OFFSETS, STENCIL, STENCIL_WEIGHTS = (-2, 0, 3), (-2, 0, 0, 1), (0.1, 0.3, 0.4, 0.2)
WALLS = {"barriers": (9, 16)}
_dense = stochastic(S, A, S)
_indices, _probabilities = _random.integers(0, S, (S, A, 4)), stochastic(S, A, 4)
_chain = stochastic(2, 2)
_points = np.array([0.0, 0.3, 1.0, 1.5, 4.0, 6.0])
_positions = _random.uniform(-1.0, 7.0, (S, A))
_positions[0], _positions[1] = (0.0, 6.0, 1.5), (-5.0, 60.0, 0.3)  # ends, points of the grid, and beyond


class Case(NamedTuple):
    """`build()` makes the kernel or operator in the current precision; `twin` is its dense array."""

    build: Any
    twin: np.ndarray


def _lottery(grid):
    index, weight = grid.lottery(jnp.asarray(_positions, float))
    return ops.LotteryKernel(6, index, weight)


def _geometric():
    return ops.GeometricGrid(6, 0.0, 6.0)


def _steps(walls):
    return ops.LatticeKernel(S, OFFSETS, **walls) >> ops.LatticeNoise(S, STENCIL, STENCIL_WEIGHTS, **walls)


_stencil = twin.noise(S, STENCIL, STENCIL_WEIGHTS)
_lottery_twin = twin.lottery(_points, _positions, 6)
_steps_twin, _walled_twin = (
    twin.followed_by(twin.lattice(S, OFFSETS, **walls), twin.noise(S, STENCIL, STENCIL_WEIGHTS, **walls))
    for walls in ({}, WALLS)
)
_weights = stochastic(S, 2).T
_moves = ((0, 1), (-1, 0), (2, -1))
_few_actions = stochastic(S - 20, A - 1, S - 20)
_mask = np.zeros((4, 9), bool)
_mask[[0, 1, 2, 3, 3], [4, 4, 7, 0, 8]] = True  # side by side, alone, and in two corners

KERNELS = {
    "dense": Case(lambda: ops.DenseKernel(jnp.asarray(_dense, float)), _dense),
    "successors": Case(
        lambda: ops.SuccessorKernel(jnp.asarray(_indices), jnp.asarray(_probabilities, float)),
        twin.successors(_indices, _probabilities),
    ),
    "lattice": Case(lambda: ops.LatticeKernel(S, OFFSETS), twin.lattice(S, OFFSETS)),
    "lattice_walls": Case(lambda: ops.LatticeKernel(S, OFFSETS, **WALLS), twin.lattice(S, OFFSETS, **WALLS)),
    "lattice_up": Case(lambda: ops.LatticeKernel(S, OFFSETS, shift=2, max_shift=2), twin.lattice(S, OFFSETS, shift=2)),
    "lattice_down_walls": Case(
        lambda: ops.LatticeKernel(S, OFFSETS, shift=-1, max_shift=2, **WALLS),
        twin.lattice(S, OFFSETS, shift=-1, **WALLS),
    ),
    "lattice_short": Case(  # all states near a wall
        lambda: ops.LatticeKernel(S, OFFSETS, shift=-5, max_shift=5), twin.lattice(S, OFFSETS, shift=-5)
    ),
    "lottery": Case(lambda: _lottery(ops.ArbitraryGrid(jnp.asarray(_points, float))), _lottery_twin),
    "lottery_geometric": Case(
        lambda: _lottery(_geometric()),
        twin.lottery(np.geomspace(0.25, 6.25, 6) - 0.25, _positions, 6),
    ),
    "factored": Case(lambda: _steps({}), _steps_twin),
    "factored_walls": Case(lambda: _steps(WALLS), _walled_twin),
    "factored_kronecker": Case(
        lambda: ops.FactoredKernel(
            _lottery(ops.ArbitraryGrid(jnp.asarray(_points, float))),
            ops.KroneckerOperator(S, jnp.asarray(_chain, float)),
        ),
        twin.followed_by(_lottery_twin, twin.kronecker(S, _chain)),
    ),
    "mixture": Case(
        lambda: ops.MixtureKernel([_steps({}), ops.DenseKernel(jnp.asarray(_dense, float))], _weights),
        twin.mixture([_steps_twin, _dense], _weights),
    ),
    "mixture_even": Case(
        lambda: ops.MixtureKernel([ops.LatticeKernel(S, OFFSETS), _steps(WALLS)], (0.25, 0.75)),
        twin.mixture([twin.lattice(S, OFFSETS), _walled_twin], np.outer((0.25, 0.75), np.ones(S))),
    ),
    "patched": Case(
        lambda: ops.PatchedKernel(_steps(WALLS), _steps({}), jnp.asarray(9)),
        twin.patched(_walled_twin, _steps_twin, 9),
    ),
    "patched_wider": Case(
        lambda: ops.PatchedKernel(ops.LatticeKernel(S, OFFSETS), ops.DenseKernel(jnp.asarray(_dense, float)), 0),
        twin.patched(twin.lattice(S, OFFSETS), _dense, 0),
    ),
    "kron": Case(
        lambda: ops.kron(ops.LatticeKernel(S // 2, (-1, 0, 2)), jnp.asarray(_chain, float)),
        twin.kron(twin.lattice(S // 2, (-1, 0, 2)), _chain),
    ),
    "kron_operator": Case(
        lambda: ops.kron(ops.LatticeKernel(S // 4, (-1, 0, 2)), ops.LatticeNoise(4, (-1, 2), (0.3, 0.7))),
        twin.kron(twin.lattice(S // 4, (-1, 0, 2)), twin.noise(4, (-1, 2), (0.3, 0.7))),
    ),
    "lattice2d": Case(lambda: ops.LatticeKernel2d((6, 6), _moves), twin.lattice2d((6, 6), _moves, np.zeros((6, 6)))),
    "lattice2d_obstacles": Case(
        lambda: ops.LatticeKernel2d((4, 9), _moves, obstacles=_mask), twin.lattice2d((4, 9), _moves, _mask)
    ),
    "direct_sum": Case(  # the second has one action less
        lambda: ops.direct_sum(
            ops.LatticeKernel(12, OFFSETS),
            ops.DenseKernel(jnp.asarray(_few_actions, float)),
            ops.LatticeKernel(8, (1, 0)),
        ),
        twin.direct_sum(twin.lattice(12, OFFSETS), _few_actions, twin.lattice(8, (1, 0))),
    ),
}

OPERATORS = {
    "kronecker": Case(lambda: ops.KroneckerOperator(S, jnp.asarray(_chain, float)), twin.kronecker(S, _chain)),
    "noise": Case(lambda: ops.LatticeNoise(S, STENCIL, STENCIL_WEIGHTS), _stencil),
    "noise_walls": Case(
        lambda: ops.LatticeNoise(S, STENCIL, STENCIL_WEIGHTS, **WALLS),
        twin.noise(S, STENCIL, STENCIL_WEIGHTS, **WALLS),
    ),
    "noise_short": Case(
        lambda: ops.LatticeNoise(S, (-6, 0, 5), (0.2, 0.5, 0.3)), twin.noise(S, (-6, 0, 5), (0.2, 0.5, 0.3))
    ),
    "kron_of_two": Case(
        lambda: ops.kron(ops.LatticeNoise(9, (-1, 1), (0.4, 0.6)), ops.LatticeNoise(4, (-1, 2), (0.3, 0.7))),
        np.kron(twin.noise(9, (-1, 1), (0.4, 0.6)), twin.noise(4, (-1, 2), (0.3, 0.7))),
    ),
    "kron_chain": Case(
        lambda: ops.kron(ops.LatticeNoise(18, (0, 1), (0.4, 0.6)), jnp.asarray(_chain, float)),
        np.kron(twin.noise(18, (0, 1), (0.4, 0.6)), _chain),
    ),
    "power": Case(lambda: ops.LatticeNoise(S, STENCIL, STENCIL_WEIGHTS) ** 6, np.linalg.matrix_power(_stencil, 6)),
} | {
    name: Case(lambda build=case.build: build().under(jnp.asarray(POLICY, float)), twin.under(case.twin, POLICY))
    for name, case in KERNELS.items()
}


# These differ from a neighbour by their numbers alone: the fast tests look at their products, and at nothing more.
VARIANTS = ("lattice_walls", "lattice_up", "lottery_geometric", "factored", "mixture_even", "patched_wider")


def with_slow_variants(names):
    """The names as parameters of a test."""
    return [pytest.param(name, marks=[pytest.mark.slow] * (name in VARIANTS)) for name in names]


def crossed(names, others=("float32", "float64"), first=0):
    """Parameters for every name with one of the others by turns, from the given one on; the rest of the pairs are slow.

    Two tests of the same names that start from different ones together have every pair.
    """
    return [
        pytest.param(name, other, marks=[pytest.mark.slow] * ((i + j + first) % len(others) != 0))
        for i, name in enumerate(names)
        for j, other in enumerate(others)
    ]


def chain(matrix):
    """The operator of a dense matrix (S, S)."""
    matrix = np.asarray(matrix, float)
    return ops.DenseKernel(jnp.asarray(matrix[:, None], float)).under(np.ones((len(matrix), 1)))


def assert_close(actual, expected, precision, digits=1.0):
    """Equal up to a few units in the last place, at arrays of order one, and of this dtype."""
    tolerance = digits * {"float32": 2e-6, "float64": 1e-14}[precision]
    assert np.asarray(actual).dtype == precision
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def in_both_forms(operator, values, mass):
    """A v and A^T mu, matrix-free and by an explicit form built here."""
    explicit = operator.explicit()
    return [form.mv(values) for form in (operator, explicit)], [form.T.mv(mass) for form in (operator, explicit)]


def is_merged(matrix):
    """Whether a BCOO matrix (S, S) is sorted, has no entry twice, zeros in unused slots at the end, and says so."""
    rows, columns = np.asarray(matrix.indices).T
    used = rows < matrix.shape[0]
    entries = rows[used] * matrix.shape[0] + columns[used]
    return (
        matrix.indices_sorted
        and matrix.unique_indices
        and (np.diff(entries) > 0).all()
        and used[: used.sum()].all()
        and not np.asarray(matrix.data)[~used].any()
    )


@functools.cache
def made(family, name, form, x64):
    """The case in one form and precision, built once."""
    case = {"kernel": KERNELS, "operator": OPERATORS}[family][name]
    with jax.enable_x64(x64):
        matrix_free = case.build()
        # As one program: outside jit, each of its operations would be compiled alone.
        return eqx.filter_jit(lambda some: some.explicit())(matrix_free) if form == "explicit" else matrix_free
