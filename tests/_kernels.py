"""One small instance of every kernel and operator, each with its dense twin."""

import functools
from typing import Any, NamedTuple

import _numpy_kernels as twin
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from structmfg import operators as ops

S, A = 12, 3
_random = np.random.default_rng(7)


def stochastic(*shape):
    """A random array whose last axis sums to one, with zeros in it."""
    raw = _random.random(shape) * (_random.random(shape) < 0.8) + 1e-3
    return raw / raw.sum(-1, keepdims=True)


POLICY, VALUES, MASS = stochastic(S, A), _random.normal(size=S), stochastic(S)
JOINT_MASS = stochastic(S * A).reshape(S, A)

OFFSETS, STENCIL, STENCIL_WEIGHTS = (-2, 0, 3), (-2, 0, 0, 1), (0.1, 0.3, 0.4, 0.2)
WALLS = {"lower": 2, "upper": 8}
_dense = stochastic(S, A, S)
_indices, _probabilities = _random.integers(0, S, (S, A, 4)), stochastic(S, A, 4)
_chain = stochastic(2, 2)
_points = np.array([0.0, 0.3, 1.0, 1.5, 4.0, 6.0])
_positions = _random.uniform(-1.0, 7.0, (S, A))
_positions[0], _positions[1] = (0.0, 6.0, 1.5), (-5.0, 60.0, 0.3)  # ends, points of the grid, and beyond
_PIECE = np.array([0] * 5 + [2] + [1] * 6)
_BOUNDS = ((0, 4), (6, S - 1), (0, S - 1))


class Case(NamedTuple):
    """`build()` makes the kernel or operator in the current precision; `twin` is its dense array."""

    build: Any
    twin: np.ndarray


def _lottery(grid):
    index, weight = grid.lottery(jnp.asarray(_positions, float))
    return ops.LotteryKernel(6, index, weight)


def _geometric():
    return ops.GeometricGrid(6, 0.0, 6.0)


def _pieces():
    def side(lower, upper):
        return ops.FactoredKernel(
            ops.LatticeKernel(S, OFFSETS, lower=lower, upper=upper),
            ops.lattice_noise(S, STENCIL, STENCIL_WEIGHTS, lower=lower, upper=upper),
        )

    lower, upper = jnp.array(_BOUNDS).T
    return ops.PiecewiseKernel(eqx.filter_vmap(side)(lower, upper), jnp.asarray(_PIECE))


_stencil = twin.noise(S, STENCIL, STENCIL_WEIGHTS)
_lottery_twin = twin.lottery(_points, _positions, 2)

KERNELS = {
    "dense": Case(lambda: ops.DenseKernel(jnp.asarray(_dense, float)), _dense),
    "successors": Case(
        lambda: ops.SuccessorKernel(jnp.asarray(_indices), jnp.asarray(_probabilities, float)),
        twin.successors(_indices, _probabilities),
    ),
    "lattice": Case(lambda: ops.LatticeKernel(S, OFFSETS), twin.lattice(S, OFFSETS)),
    "lattice_walls": Case(lambda: ops.LatticeKernel(S, OFFSETS, **WALLS), twin.lattice(S, OFFSETS, **WALLS)),
    "lattice_up": Case(lambda: ops.LatticeKernel(S, OFFSETS, shift=4, max_shift=5), twin.lattice(S, OFFSETS, shift=4)),
    "lattice_down_walls": Case(
        lambda: ops.LatticeKernel(S, OFFSETS, shift=-5, max_shift=5, **WALLS),
        twin.lattice(S, OFFSETS, shift=-5, **WALLS),
    ),
    "lottery": Case(lambda: _lottery(ops.ArbitraryGrid(jnp.asarray(_points, float))), _lottery_twin),
    "lottery_geometric": Case(
        lambda: _lottery(_geometric()),
        twin.lottery(np.geomspace(0.25, 6.25, 6) - 0.25, _positions, 2),
    ),
    "factored": Case(
        lambda: ops.FactoredKernel(ops.LatticeKernel(S, OFFSETS), ops.lattice_noise(S, STENCIL, STENCIL_WEIGHTS)),
        twin.followed_by(twin.lattice(S, OFFSETS), _stencil),
    ),
    "factored_kronecker": Case(
        lambda: ops.FactoredKernel(
            _lottery(ops.ArbitraryGrid(jnp.asarray(_points, float))),
            ops.KroneckerOperator(S, jnp.asarray(_chain, float)),
        ),
        twin.followed_by(_lottery_twin, twin.kronecker(S, _chain)),
    ),
    "piecewise": Case(
        _pieces,
        twin.piecewise(
            [
                twin.followed_by(
                    twin.lattice(S, OFFSETS, lower=low, upper=high),
                    twin.noise(S, STENCIL, STENCIL_WEIGHTS, lower=low, upper=high),
                )
                for low, high in _BOUNDS
            ],
            _PIECE,
        ),
    ),
}

OPERATORS = {
    "kronecker": Case(lambda: ops.KroneckerOperator(S, jnp.asarray(_chain, float)), twin.kronecker(S, _chain)),
    "noise": Case(lambda: ops.lattice_noise(S, STENCIL, STENCIL_WEIGHTS), _stencil),
    "noise_walls": Case(
        lambda: ops.lattice_noise(S, STENCIL, STENCIL_WEIGHTS, **WALLS),
        twin.noise(S, STENCIL, STENCIL_WEIGHTS, **WALLS),
    ),
} | {
    name: Case(lambda build=case.build: build().under(jnp.asarray(POLICY, float)), twin.under(case.twin, POLICY))
    for name, case in KERNELS.items()
}


@functools.cache
def made(family, name, form, x64):
    """The case in one form and precision, built once."""
    case = {"kernel": KERNELS, "operator": OPERATORS}[family][name]
    with jax.enable_x64(x64):
        matrix_free = case.build()
        return matrix_free.explicit() if form == "explicit" else matrix_free
