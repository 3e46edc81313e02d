"""A wrong shape or a bad row is named: what was given, and what is allowed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.kernels import KERNELS, OPERATORS, A, S, made

from structmfg import operators as ops

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.mark.parametrize("form", ["matrix_free", "explicit"])
@pytest.mark.parametrize("name", KERNELS)
def test_wrong_sizes(name, form):
    kernel = made("kernel", name, form, False)
    operator = kernel.under(jnp.full((S, A), 1 / A))
    for call, given, allowed in (
        (kernel.expect, (S + 1,), f"({S},)"),
        (kernel.push, (S, A + 1), f"({S}, {A})"),
        (kernel.under, (S, A + 1), f"({S}, {A})"),
        (kernel.under, (S - 1, A), f"({S}, {A})"),
        (operator.mv, (S + 1,), f"({S},)"),
        (operator.T.mv, (S - 1,), f"({S},)"),
    ):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 (both shapes are looked for below)
            call(jnp.ones(given))
        assert str(given) in str(caught.value)
        assert allowed in str(caught.value)


@pytest.mark.parametrize("form", ["matrix_free", "explicit"])
@pytest.mark.parametrize("name", ["kronecker", "noise"])
def test_wrong_sizes_of_operators(name, form):
    operator = OPERATORS[name].build()
    operator = operator.explicit() if form == "explicit" else operator
    for call in (operator.mv, operator.rmv):
        with pytest.raises(ValueError, match=r"must have shape \(36,\), but has shape \(37,\)"):
            call(jnp.ones(S + 1))


def kernel_of(probabilities, indices=((0, 1), (1, 0))):
    rows = np.array(probabilities, float).reshape(2, 1, 2)
    return ops.SuccessorKernel(jnp.array(indices).reshape(2, 1, 2), jnp.asarray(rows), checks=False)


def lattice(num_states):
    return ops.LatticeKernel(num_states, (0,))


GOOD = [[0.5, 0.5], [1.0, 0.0]]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: kernel_of([[0.5, 0.25], [1, 0]]), r"row \(0, 0\) sums to 0.75"),
        (lambda: kernel_of([[0.5, 0.5], [1.5, -0.5]]), "nonnegative, but the least is -0.5"),
        (lambda: kernel_of([[0.5, np.nan], [1, 0]]), "finite"),
        (lambda: kernel_of(GOOD, ((0, 2), (1, 0))), r"must lie in 0..1, but range over 0..2"),
        (lambda: kernel_of(GOOD, ((0, -1), (1, 0))), r"range over -1..1"),
        (lambda: ops.DenseKernel(jnp.full((3, 2, 3), 0.3), checks=False), r"sums to 0.9"),
        (lambda: kernel_of([[0.5, 0.25], [1, 0]]).explicit(), r"row \(0, 0\) sums to 0.75"),
    ],
)
def test_validate(build, message):
    with pytest.raises(ValueError, match=message):
        build().validate()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ops.DenseKernel(jnp.ones((3, 3))), r"shape \(S, A, S\), .*, but have shape \(3, 3\)"),
        (lambda: ops.DenseKernel(jnp.ones((3, 2, 4))), r"but have shape \(3, 2, 4\)"),
        (lambda: ops.SuccessorKernel(jnp.zeros((3, 2), int), jnp.ones((3, 2))), r"shape \(S, A, K\)"),
        (lambda: ops.SuccessorKernel(jnp.zeros((3, 2, 2), int), jnp.ones((3, 2, 1))), r"shape \(3, 2, 2\)"),
        (lambda: ops.KroneckerOperator(4, jnp.ones((2, 3))), "square matrix"),
        (lambda: ops.KroneckerOperator(5, jnp.eye(2)), "multiple of the chain's 2, but is 5"),
        (lambda: ops.LotteryKernel(2, jnp.zeros((4, 1), int), jnp.ones((4, 2))), r"weight must have shape \(4, 1\)"),
        (lambda: ops.LotteryKernel(3, jnp.zeros((4, 1), int), jnp.ones((4, 1))), "multiple of num_outer 3"),
        (
            lambda: ops.KroneckerOperator(4, jnp.array([[0.5, 0.5], [0.9, 0.2]])),
            r"chain must .* row 1 is \[0.9.* sum 1.1",
        ),
        (lambda: ops.LatticeNoise(4, (0, 1), (0.5, 0.6)), "probabilities must .* sum 1.1"),
        (lambda: ops.LatticeNoise(4, (0, 1), (0.5,)), r"probabilities must have shape \(2,\), but has shape \(1,\)"),
        (lambda: ops.LatticeNoise(4, (0, 0.5), (0.5, 0.5)), "whole numbers, but offset 1 is 0.5"),
        (lambda: ops.LatticeKernel(4, ()), "at least one displacement"),
        (lambda: ops.LatticeKernel(4, (0,), shift=1), "within max_shift, 0, of 0, but is 1"),
        (lambda: ops.LatticeKernel(4, (0,), barriers=(2, 4)), "that lie in 0..3, but barrier 1 is 4"),
        (lambda: ops.LatticeKernel(4, (0,), barriers=(2, 1.5)), "whole numbers that lie in 0..3, but barrier 1 is 1.5"),
        (lambda: ops.LatticeKernel(4, (0,), barriers=2), r"barriers must be cells \(B,\), but have shape \(\)"),
        (lambda: ops.ArbitraryGrid(jnp.array([0.0, 1.0, 1.0, 0.5])), "point 2, 1, does not exceed point 1, 1"),
        (
            lambda: ops.LotteryKernel(4, jnp.array([[0], [3], [1], [0]]), jnp.ones((4, 1))),
            r"0..2, but index\[1, 0\] is 3",
        ),
        (
            lambda: ops.LotteryKernel(4, jnp.zeros((4, 1), int), jnp.full((4, 1), 1.5)),
            r"\[0, 1\], but weight\[0, 0\] is 1.5",
        ),
        (lambda: ops.MixtureKernel([lattice(4), lattice(5)], (0.5, 0.5)), r"but have \[\(4, 1\), \(5, 1\)\]"),
        (
            lambda: ops.MixtureKernel([lattice(4)] * 2, (0.5, 0.3, 0.2)),
            r"shape \(2,\) or \(2, 4\), but have shape \(3,\)",
        ),
        (lambda: ops.MixtureKernel([lattice(4)] * 2, (0.5, 0.6)), "weights must .* sum 1.1"),
        (lambda: ops.PatchedKernel(lattice(4), lattice(5), 0), r"but have \(4, 1\) and \(5, 1\)"),
        (lambda: ops.PatchedKernel(lattice(4), lattice(4), 4), "state must lie in 0..3, but is 4"),
        (lambda: ops.GeometricGrid(1, 0.0, 1.0), "num_points must be a whole number of at least 2"),
        (lambda: ops.GeometricGrid(3, 2.0, 1.0), "lower < upper"),
        (lambda: ops.GeometricGrid(3, 0.0, 1.0, pivot=0.0), "pivot must be finite and above 0"),
        (
            lambda: ops.FactoredKernel(ops.LatticeKernel(4, (0,)), ops.LatticeNoise(5, (0,), (1.0,))),
            "share their states, but have 4 and 5",
        ),
    ],
)
def test_bad_construction(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_geometric_points_that_rounding_makes_one():
    """Between two equal points a weight is 0 / 0; one grid of equal points was taken, and gave NaN."""
    grid = ops.GeometricGrid(40, 1000.0, 1000.001)
    for use in (grid.points, jax.jit(grid.points), lambda: grid.lottery(jnp.array([1000.0]))):
        with pytest.raises(ValueError, match=r"in float32 points 0 and 1 are both 1000; take fewer points"):
            use()
    with jax.enable_x64(True):
        assert (np.diff(grid.points()) > 0).all()
        assert np.isfinite(grid.lottery(jnp.array([1000.0, 1000.0004]))[1]).all()
