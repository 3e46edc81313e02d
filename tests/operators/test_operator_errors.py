"""Operators refuse wrong shapes, kinds and rows with a message of what was given and what is allowed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from helpers.kernels import KERNELS, OPERATORS, A, S, made
from jax.experimental import sparse

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


def explicit(matrix, num_actions=None):
    return ops.ExplicitOperator(matrix) if num_actions is None else ops.ExplicitKernel(matrix, num_actions)


P = np.array([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5], [0.0, 0.0, 1.0]])
NOISE = ops.LatticeNoise(S, (-1, 0, 1), (0.25, 0.25, 0.5))
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
        (lambda: ops.LatticeNoise(4, (0, 1), (0.5,)), r"probabilities must have shape \(2,\), but has shape \(1,\)"),
        (lambda: ops.LatticeNoise(4, (0, 0.5), (0.5, 0.5)), "whole numbers, but offset 1 is 0.5"),
        (lambda: ops.LatticeKernel(4, ()), "at least one displacement"),
        (lambda: ops.LatticeKernel(4, np.array(3)), "a sequence of whole numbers, but are array"),
        (lambda: ops.LatticeKernel(4, (0,), shift=1), "within max_shift, 0, of 0, but is 1"),
        (lambda: ops.LatticeKernel(4, (0,), barriers=(2, 1.5)), "whole numbers that lie in 0..3, but barrier 1 is 1.5"),
        (lambda: ops.LatticeKernel(4, (0,), barriers=2), r"barriers must be cells \(B,\), but have shape \(\)"),
        (lambda: ops.ArbitraryGrid(jnp.array([0.0, 1.0, 1.0, 0.5])), "point 2, 1, does not exceed point 1, 1"),
        (lambda: ops.LotteryKernel(4, np.zeros((4, 1), int), np.full((4, 1), 1.5)), r"but weight\[0, 0\] is 1.5"),
        (lambda: ops.MixtureKernel([lattice(4), lattice(5)], (0.5, 0.5)), r"but have \[\(4, 1\), \(5, 1\)\]"),
        (lambda: ops.MixtureKernel([lattice(4)] * 2, (0.5, 0.3, 0.2)), r"\(2,\) or \(2, 4\), but have shape \(3,\)"),
        (lambda: ops.MixtureKernel([lattice(4)] * 2, (0.5, 0.6)), "weights must .* sum 1.1"),
        (lambda: ops.PatchedKernel(lattice(4), lattice(5), 0), r"but have \(4, 1\) and \(5, 1\)"),
        (lambda: ops.GeometricGrid(1, 0.0, 1.0), "num_points must be a whole number of at least 2"),
        (lambda: ops.GeometricGrid(3, 2.0, 1.0), "lower < upper"),
        (lambda: ops.GeometricGrid(3, 0.0, 1.0, pivot=0.0), "pivot must be finite and above 0"),
        (lambda: lattice(4) >> ops.LatticeNoise(5, (0,), (1.0,)), "share their states, but have 4 and 5"),
        (lambda: explicit(scipy.sparse.csr_array(P)), "BCOO matrix, but was given a csr_array; operators.from_scipy"),
        (lambda: explicit(P), "BCOO matrix, but was given a ndarray"),
        (lambda: explicit(P, 1), "BCOO matrix, but was given a ndarray"),
        (lambda: explicit(sparse.BCSR.fromdense(P)), "BCOO matrix, but was given a BCSR"),
        (lambda: explicit(sparse.BCOO.fromdense(P[:2])), r"shape \(S, S\) for an operator; .* but has shape \(2, 3\)"),
        (lambda: explicit(sparse.BCOO.fromdense(P, n_batch=1)), "with 1 batch, 1 sparse and 0 dense"),
        (lambda: explicit(sparse.BCOO.fromdense(P, n_dense=1)), "with 0 batch, 1 sparse and 1 dense"),
        (lambda: explicit(sparse.BCOO.fromdense(np.eye(2, dtype=int))), "floating-point numbers, but are of int"),
        (lambda: explicit(sparse.BCOO.fromdense(P), 2), r"\(S\*2, S\) for a kernel of 2 actions, but has shape"),
        (lambda: explicit(sparse.BCOO.fromdense(P), 0), "num_actions must be a whole number of at least 1, but is 0"),
        (lambda: ops.from_scipy(P[:2]), r"shape \(S, S\) for an operator; .* but has shape \(2, 3\)"),
        (lambda: ops.from_scipy(P, num_actions=2), r"shape \(S\*2, S\) .* but has shape \(3, 3\)"),
        (lambda: ops.from_scipy(np.ones((0, 0))), r"but has shape \(0, 0\)"),
        (lambda: ops.from_scipy(P.T), r"row 0 has the entries \[0.5, 0.2\], with sum 0.7; .* transpose the matrix"),
        (lambda: ops.from_scipy([[1.5, -0.5], [0, 1]]), r"row 0 has the entries \[1.5, -0.5\], with sum 1"),
        (lambda: ops.from_scipy([[0, 1], [np.nan, 1]]), r"row 1 has the entries \[nan, 1\]"),
        (lambda: ops.from_scipy(np.vstack([P, P[:, ::-1] * 2]), num_actions=2), r"row 3 \(state 1, action 1\)"),
        (lambda: ops.from_scipy(np.zeros((2, 2))), r"row 0 has the entries \[\], with sum 0"),
        (lambda: ops.from_scipy(P * 1j), "real numbers, but are of complex128"),
        (lambda: ops.from_scipy(np.ones(3)), r"but was given a ndarray of shape \(3,\)"),
        (lambda: ops.from_scipy("P"), "but was given a str"),
        (lambda: ops.from_scipy(NOISE.explicit()), "but was given a ExplicitOperator"),
        (lambda: jax.jit(lambda p: ops.from_scipy(p).as_dense())(P), "known values, but is traced"),
        (lambda: NOISE.explicit() @ np.ones(S + 1), r"\(36,\) or \(36, k\), but have shape \(37,\)"),
        (lambda: np.ones((S, 2)) @ NOISE.explicit(), r"\(k, 36\), but have shape \(36, 2\)"),
        (lambda: NOISE.explicit() @ np.ones((S, 1, 1)), r"but have shape \(36, 1, 1\)"),
        (lambda: NOISE.explicit() @ scipy.sparse.eye_array(S), "make an operator of it by operators"),
        (lambda: NOISE.explicit() @ "v", "array of real numbers, but is a str"),
        (lambda: NOISE.explicit() ** -1, "exponent must be a whole number of at least 0, but is -1"),
        (lambda: NOISE.explicit() ** 0.5, "whole number of at least 0, but is 0.5"),
        (lambda: NOISE.explicit().T @ NOISE.explicit(), "TransposedOperator"),
        (lambda: ops.kron(P, P), "move must be a TransitionKernel or TransitionOperator, but is a ndarray"),
        (lambda: ops.kron(lattice(3), lattice(3)), r"chain.under\(policy\)"),
        (lambda: ops.kron(lattice(3), np.ones(3)), r"square matrix, of one state at least, but has shape \(3,\)"),
        (lambda: ops.LatticeKernel2d(9), "shape must be a Sequence or ndarray, but is a int"),
        (lambda: ops.LatticeKernel2d((3, 3, 3)), r"pair \(H, W\), rows and columns, but is \(3, 3, 3\)"),
        (lambda: ops.LatticeKernel2d((0, 3)), "number of rows must be a whole number of at least 1, but is 0"),
        (lambda: ops.LatticeKernel2d((3, 3), (1, 0)), "pairs of whole numbers .* but move 0 is 1"),
        (lambda: ops.LatticeKernel2d((3, 3), ((0, 0), (0, 0.5))), r"but move 1 is \(0, 0.5\)"),
        (lambda: ops.LatticeKernel2d((3, 3), ()), "at least one displacement"),
        (lambda: ops.LatticeKernel2d((2, 3), obstacles=np.zeros((3, 2))), r"shape \(2, 3\), but has shape \(3, 2\)"),
        (lambda: ops.LatticeKernel2d((1, 2), obstacles=[[0, 2]]), r"true or false, but that of cell \(0, 1\) is 2"),
        (lambda: ops.product([]), "at least one factor"),
        (lambda: NOISE @ ops.LatticeNoise(13, (0,), (1.0,)), "factor 0 has 36 and factor 1 has 13"),
        (
            lambda: ops.product([NOISE] * 2 + [ops.LatticeNoise(13, (0,), (1.0,))]),
            "factor 0 has 36 and factor 2 has 13",
        ),
        (lambda: ops.product([NOISE, np.eye(S)]), "factor 1 must be a TransitionOperator, but is a ndarray"),
        (lambda: ops.product([NOISE], max_elements=0), "max_elements must be a whole number of at least 1"),
        (lambda: ops.power(NOISE, -1), "exponent must be a whole number of at least 0, but is -1"),
        (lambda: ops.power(NOISE, 2.0), r"but is 2.0 \(a float\)"),
        (lambda: ops.power(NOISE, True), "but is True"),
        (lambda: jax.jit(lambda o: ops.power(o, 2).matrix)(NOISE), "inside jit, use A @ B"),
        (lambda: (NOISE @ NOISE).mv(jnp.ones(13)), r"shape \(36,\), but has shape \(13,\)"),
        (lambda: NOISE.compressed().rmv(jnp.ones(13)), r"shape \(36,\), but has shape \(13,\)"),
    ],
)
def test_refusals(build, message):
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
