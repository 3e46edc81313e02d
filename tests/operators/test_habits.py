"""What users of SciPy, JAX and lineax do with a matrix: `@`, `**`, blocks of vectors, `jax.jit(A.mv)`, `from_scipy`."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
import scipy.sparse
from helpers.kernels import KERNELS, MASS, OPERATORS, POLICY, VALUES, S, made
from jax.experimental import sparse

from structmfg import operators as ops
from structmfg.benchmarks import products
from structmfg.solvers import resolvent

CASES = [
    *((name, "matrix_free") for name in ("kronecker", "noise_walls", "kron_of_two", "patched", "lattice2d_obstacles")),
    *(("dense", form) for form in ("explicit", "compressed")),
]
FORMS = {
    "matrix_free": lambda operator: operator,
    "explicit": lambda operator: operator.explicit(),
    "compressed": lambda operator: operator.compressed(),
}
BLOCK = np.stack([VALUES, MASS, np.roll(VALUES, 5)], axis=1)


def formed(name, form, x64):
    with jax.enable_x64(x64):
        return FORMS[form](made("operator", name, "matrix_free", x64))


def close(actual, expected, precision):
    assert np.asarray(actual).dtype == precision
    tolerance = {"float32": 2e-6, "float64": 1e-14}[precision]
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("name", "form"), CASES)
def test_products_with_vectors_and_blocks(name, form, precision):
    """From both sides, of the operator and of its transpose."""
    operator, matrix = formed(name, form, precision == "float64"), OPERATORS[name].twin

    @jax.jit
    def both_sides(operator, vector, block):
        return [(a @ vector, vector @ a, a @ block, block.T @ a) for a in (operator, operator.T)]

    results = both_sides(operator, jnp.asarray(MASS, float), jnp.asarray(BLOCK, float))
    for result, a, twin in zip(results, (operator, operator.T), (matrix, matrix.T), strict=True):
        for one, other in zip(result, (twin @ MASS, MASS @ twin, twin @ BLOCK, BLOCK.T @ twin), strict=True):
            close(one, other, precision)
        assert a.shape == (S, S)
        assert a.ndim == 2
        assert a.dtype == precision


def test_products_with_what_numpy_holds():
    """Whole numbers are no probabilities, and an array of NumPy's does not take the operator for a scalar."""
    operator, twin = formed("noise_walls", "explicit", False), OPERATORS["noise_walls"].twin
    states = np.arange(S)
    np.testing.assert_allclose(states @ operator, states @ twin, rtol=1e-5)
    np.testing.assert_allclose(operator @ list(range(S)), twin @ states, rtol=1e-5)
    np.testing.assert_allclose(np.eye(S, dtype=bool) @ operator, twin, rtol=1e-5)
    np.testing.assert_allclose(jnp.eye(S) @ operator.T, twin.T, rtol=1e-5)


def test_blocks_under_grad_and_vmap(double):
    operator, twin = formed("patched", "compressed", True), OPERATORS["patched"].twin
    weights = np.cos(np.arange(3 * S)).reshape(S, 3)
    gradient = jax.grad(lambda block: jnp.sum(weights * (operator @ block)))(jnp.asarray(BLOCK))
    np.testing.assert_allclose(gradient, twin.T @ weights, atol=1e-13)
    mapped = jax.vmap(lambda block: operator.T @ block)(jnp.stack([BLOCK, 2 * BLOCK]))
    np.testing.assert_allclose(mapped, [twin.T @ BLOCK, 2 * twin.T @ BLOCK], atol=1e-13)


@pytest.mark.parametrize("exponent", [0, 3, 9])
def test_powers(exponent, double):
    operator, twin = made("operator", "factored", "matrix_free", True), OPERATORS["factored"].twin
    power, expected = operator**exponent, np.linalg.matrix_power(twin, exponent)
    np.testing.assert_allclose(power.mv(jnp.asarray(VALUES)), expected @ VALUES, atol=1e-12)
    np.testing.assert_allclose(jax.jit(power.rmv)(jnp.asarray(MASS)), expected.T @ MASS, atol=1e-12)
    np.testing.assert_allclose(power.as_dense(), expected, atol=1e-12)
    assert (expected > 0).sum(-1).max() <= power.branching
    gradient = jax.grad(lambda v: MASS @ (power @ v))(jnp.asarray(VALUES))
    np.testing.assert_allclose(gradient, expected.T @ MASS, atol=1e-12)
    assert (power**2).exponent == 2 * exponent


@pytest.mark.parametrize("name", KERNELS)
def test_methods_are_functions_to_jit(name):
    """Of every kernel, and of the operator that a policy closes it into."""
    kernel, twin = made("kernel", name, "explicit" if name == "dense" else "matrix_free", False), KERNELS[name].twin
    expected = jax.jit(kernel.expect)(jnp.asarray(VALUES, float))
    np.testing.assert_allclose(expected, twin @ VALUES, rtol=2e-5, atol=1e-5)
    arrived = jax.jit(kernel.under(POLICY).rmv)(jnp.asarray(MASS, float))
    np.testing.assert_allclose(arrived, np.einsum("s,sa,sat->t", MASS, POLICY, twin), rtol=2e-5, atol=1e-6)


def test_a_method_is_a_pytree_and_a_function():
    """Inside jit, where its arrays are traced, too; the same method of the same operator is equal to itself alone."""
    operator, other = (ops.LatticeNoise(9, (-1, 1), weights) for weights in ((0.5, 0.5), (0.1, 0.9)))
    vector = jnp.arange(9.0)
    nested = jax.jit(lambda a, v: jax.jit(a.mv)(v) + jax.jit(a.mv)(v))
    np.testing.assert_allclose(nested(operator, vector), 2 * operator.mv(vector))
    np.testing.assert_allclose(nested(other, vector), 2 * other.mv(vector))
    np.testing.assert_allclose(jax.jit(lambda f, v: f(v))(other.mv, vector), other.mv(vector))
    assert operator.mv == operator.mv
    assert hash(operator.mv) == hash(operator.mv)
    assert operator.mv != operator.rmv
    assert operator.mv != ops.LatticeNoise(9, (-1, 1), (0.5, 0.5)).mv
    assert operator.mv.__name__ == "mv"
    assert "A^T mu" in operator.move.__doc__


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("transpose", [False, True])
def test_lineax(form, transpose, double):
    operator, twin = formed("patched", form, True), OPERATORS["patched"].twin
    weights = jnp.cos(jnp.arange(S))

    def solve(operator, rewards):
        linear = (operator.T if transpose else operator).as_lineax()
        system = lx.IdentityLinearOperator(linear.in_structure()) - 0.9 * linear
        return lx.linear_solve(system, rewards, lx.GMRES(rtol=1e-12, atol=1e-12)).value

    dense = np.eye(S) - 0.9 * (twin.T if transpose else twin)
    np.testing.assert_allclose(jax.jit(solve)(operator, jnp.asarray(VALUES)), np.linalg.solve(dense, VALUES), rtol=1e-9)
    gradient = jax.grad(lambda r: weights @ solve(operator, r))(jnp.asarray(VALUES))
    np.testing.assert_allclose(gradient, np.linalg.solve(dense.T, weights), rtol=1e-8)
    linear = operator.as_lineax()
    np.testing.assert_allclose(linear.T.mv(jnp.asarray(MASS)), twin.T @ MASS, atol=1e-13)
    np.testing.assert_allclose(linear.as_matrix(), twin, atol=1e-13)


def of_data(form, data):
    """An explicit form with the places of a random matrix, and its data given; and the dense matrix of it."""
    random = np.random.default_rng(3)
    dense = random.random((6, 6)) * (random.random((6, 6)) < 0.5) + np.eye(6)
    indices = np.argwhere(dense)
    matrix = sparse.BCOO((data, jnp.asarray(indices)), shape=(6, 6), indices_sorted=True, unique_indices=True)
    operator = (
        ops.ExplicitKernel(matrix, 1).under(np.ones((6, 1)))
        if form == "kernel"
        else FORMS[form](ops.ExplicitOperator(matrix))
    )
    return operator, jnp.zeros((6, 6), data.dtype).at[tuple(indices.T)].set(data)


def count():
    random = np.random.default_rng(3)
    return int(np.count_nonzero(random.random((6, 6)) * (random.random((6, 6)) < 0.5) + np.eye(6)))


@pytest.mark.parametrize("form", ["explicit", "compressed", "kernel"])
def test_derivatives_of_mapped_products_in_the_data(form, precision):
    """grad of vmap, vmap of grad and jvp of explicit forms, in every product, are those of the dense matrix."""
    random = np.random.default_rng(5)
    batch, vector = jnp.asarray(random.random((3, count())) / 6, float), jnp.asarray(random.random(6), float)
    weights = jnp.cos(jnp.arange(6.0))

    def products(data, sparse_form):
        operator, dense = of_data(form, data)
        if sparse_form:
            return weights @ (jnp.sin(operator.mv(vector)) + operator.T.mv(vector) ** 2)
        return weights @ (jnp.sin(dense @ vector) + (dense.T @ vector) ** 2)

    for derivative in (
        lambda f: jax.grad(lambda d: jnp.sum(jax.vmap(f)(d)))(batch),
        lambda f: jax.jit(jax.grad(lambda d: jnp.sum(jax.vmap(f)(d))))(batch),
        lambda f: jax.vmap(jax.grad(f))(batch),
        lambda f: jax.jvp(jax.vmap(f), (batch,), (batch + 1,))[1],
        lambda f: jax.grad(lambda scale: jnp.sum(jax.vmap(lambda s: f(s * batch[0]))(scale)))(weights),
    ):
        one, other = (derivative(lambda d, explicit=explicit: products(d, explicit)) for explicit in (True, False))
        close(one, other, precision)


@pytest.mark.parametrize("transpose", [False, True])
def test_derivative_of_a_mapped_resolvent(transpose, double):
    batch = jnp.asarray(np.random.default_rng(5).random((3, count())) / 6)
    rewards = jnp.cos(jnp.arange(6.0))

    def solved(data):
        operator, _ = of_data("explicit", data)
        return jnp.sum(resolvent(operator, rewards, 0.5, transpose=transpose, tolerance=1e-13).value ** 2)

    def dense(data):
        matrix = of_data("explicit", data)[1]
        return jnp.sum(jnp.linalg.solve(jnp.eye(6) - 0.5 * (matrix.T if transpose else matrix), rewards) ** 2)

    one, other = (jax.grad(lambda d, f=f: jnp.sum(jax.vmap(f)(d)))(batch) for f in (solved, dense))
    np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.parametrize("shape", ["regular", "empty", "long", "longest"])
def test_rows_of_any_length(shape, precision):
    """Columns that nobody enters, one that all enter, and rows that are cut into pieces, once and twice."""
    random = np.random.default_rng(11)
    size = 1500 if shape == "longest" else 90
    dense = np.zeros((size, size))
    dense[np.arange(size), random.integers(0, size, size)] = 1.0
    dense[:, 3] += 0.0 if shape == "regular" else 0.5
    if shape.startswith("long"):
        dense[7:9] = random.random((2, size))
    dense /= dense.sum(1, keepdims=True)
    operator = ops.from_scipy(dense.astype(precision))
    v, block = random.random(size).astype(precision), random.random((size, 2)).astype(precision)
    for one, other in (
        (operator @ v, dense @ v), (v @ operator, v @ dense), (operator @ block, dense @ block),
        (operator.T @ block, dense.T @ block), (operator.as_dense(), dense), (operator.T.as_dense(), dense.T),
    ):  # fmt: skip
        assert np.asarray(one).dtype == precision
        np.testing.assert_allclose(one, other, rtol={"float32": 1e-5, "float64": 1e-13}[precision], atol=1e-7)
    assert operator.as_scipy().nnz == np.count_nonzero(dense)
    assert operator.as_bcoo().indices_sorted


P = np.array([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5], [0.0, 0.0, 1.0]])


@pytest.mark.parametrize(
    "given",
    [
        *(scipy.sparse.csr_array(P).asformat(name) for name in ("csr", "csc", "coo", "lil", "dok", "bsr", "dia")),
        scipy.sparse.csr_matrix(P),
        P,
        P.astype(np.float16),
        np.asfortranarray(P).astype(">f8"),
        P.tolist(),
        jnp.asarray(P),
        sparse.BCOO.fromdense(P, nse=9),
        sparse.BCSR.fromdense(P, nse=8),
    ],
    ids=lambda given: getattr(given, "format", type(given).__name__),
)
def test_from_scipy(given):
    operator = ops.from_scipy(given)
    np.testing.assert_allclose(operator.as_dense(), P, rtol=1e-3)
    np.testing.assert_allclose(MASS[:3] @ operator, MASS[:3] @ P, rtol=1e-3)
    kernel = ops.from_scipy(scipy.sparse.csr_array(np.repeat(P, 2, axis=0)), num_actions=2)
    np.testing.assert_allclose(kernel.expect(jnp.arange(3.0)), np.repeat(P @ np.arange(3), 2).reshape(3, 2), rtol=1e-6)


def test_from_scipy_sums_duplicates_and_leaves_what_it_was_given():
    given = scipy.sparse.coo_array(([0.25, 1.0, 0.75], ([0, 1, 0], [1, 0, 1])), shape=(2, 2))
    np.testing.assert_array_equal(ops.from_scipy(given).as_dense(), [[0, 1], [1, 0]])
    assert given.nnz == 3
    assert ops.from_scipy(np.eye(2, dtype=int)).dtype == np.float32
    assert ops.from_scipy(np.array([[0.5, 0.4], [0.0, 1.0]]), checks=False).as_dense()[0, 1] == np.float32(0.4)


def explicit(matrix, num_actions=None):
    return ops.ExplicitOperator(matrix) if num_actions is None else ops.ExplicitKernel(matrix, num_actions)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: explicit(scipy.sparse.csr_array(P)), "BCOO matrix, but was given a csr_array; operators.from_scipy"),
        (lambda: explicit(P), "BCOO matrix, but was given a ndarray"),
        (lambda: explicit(P, 1), "BCOO matrix, but was given a ndarray"),
        (lambda: explicit(sparse.BCSR.fromdense(P)), "BCOO matrix, but was given a BCSR"),
        (lambda: explicit(sparse.BCOO.fromdense(P[:2])), r"shape \(S, S\) for an operator; .* but has shape \(2, 3\)"),
        (lambda: explicit(sparse.BCOO.fromdense(P, n_batch=1)), "with 1 batch, 1 sparse and 0 dense"),
        (lambda: explicit(sparse.BCOO.fromdense(P, n_dense=1)), "with 0 batch, 1 sparse and 1 dense"),
        (lambda: explicit(sparse.BCOO.fromdense(np.eye(2, dtype=int))), "floating-point numbers, but are of int"),
        (lambda: explicit(sparse.BCOO.fromdense(P), 2), r"shape \(S\*2, S\), but has shape \(3, 3\)"),
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
        (lambda: ops.from_scipy(formed("noise", "explicit", False)), "but was given a ExplicitOperator"),
        (lambda: jax.jit(lambda p: ops.from_scipy(p).as_dense())(P), "known values, but is traced"),
        (lambda: formed("noise", "explicit", False) @ np.ones(S + 1), r"\(36,\) or \(36, k\), but have shape \(37,\)"),
        (lambda: np.ones((S, 2)) @ formed("noise", "explicit", False), r"\(k, 36\), but have shape \(36, 2\)"),
        (lambda: formed("noise", "explicit", False) @ np.ones((S, 1, 1)), r"but have shape \(36, 1, 1\)"),
        (lambda: formed("noise", "explicit", False) @ scipy.sparse.eye_array(S), "make an operator of it by operators"),
        (lambda: formed("noise", "explicit", False) @ "v", "array of real numbers, but is a str"),
        (lambda: formed("noise", "explicit", False) ** -1, "exponent must be a whole number of at least 0, but is -1"),
        (lambda: formed("noise", "explicit", False) ** 0.5, "whole number of at least 0, but is 0.5"),
        (lambda: formed("noise", "explicit", False).T @ formed("noise", "explicit", False), "TransposedOperator"),
        (lambda: ops.kron(P, P), "move must be a TransitionKernel or TransitionOperator, but is a ndarray"),
        (lambda: ops.kron(ops.LatticeKernel(3, (0,)), ops.LatticeKernel(3, (0,))), r"chain.under\(policy\)"),
        (
            lambda: ops.kron(ops.LatticeKernel(3, (0,)), np.ones(3)),
            r"square matrix, of one state at least, but has shape \(3,\)",
        ),
        (lambda: ops.LatticeKernel2d(9), "shape must be a Sequence or ndarray, but is a int"),
        (lambda: ops.LatticeKernel2d((3, 3, 3)), r"pair \(H, W\), rows and columns, but is \(3, 3, 3\)"),
        (lambda: ops.LatticeKernel2d((0, 3)), "number of rows must be a whole number of at least 1, but is 0"),
        (lambda: ops.LatticeKernel2d((3, 3), (1, 0)), "pairs of whole numbers .* but move 0 is 1"),
        (lambda: ops.LatticeKernel2d((3, 3), ((0, 0), (0, 0.5))), r"but move 1 is \(0, 0.5\)"),
        (lambda: ops.LatticeKernel2d((3, 3), ()), "at least one displacement"),
        (lambda: ops.LatticeKernel2d((2, 3), obstacles=np.zeros((3, 2))), r"shape \(2, 3\), but has shape \(3, 2\)"),
        (lambda: ops.LatticeKernel2d((1, 2), obstacles=[[0, 2]]), r"true or false, but that of cell \(0, 1\) is 2"),
    ],
)
def test_refusals(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_obstacles_may_be_traced():
    """One compiled program for all masks; a lattice of one row or column, and moves that no cell has room for."""

    @jax.jit
    def moved(mask, values):
        kernel = ops.LatticeKernel2d(mask.shape, ((0, 1), (5, 0)), obstacles=mask)
        return kernel.expect(values)

    for cells in ((1, 4), (4, 1), (3, 2)):
        mask = jnp.zeros(cells, bool).at[0, 0].set(True)
        expected = np.arange(np.prod(cells))
        right = [s if s == 0 or (s + 1) % cells[1] == 0 else s + 1 for s in expected]
        np.testing.assert_array_equal(moved(mask, jnp.asarray(expected, float)), np.stack([right, expected], axis=1))


def test_ratios_to_scipy_are_measured():
    assert set(products.ratios(50, rounds=1)) == {
        f"{name} {dtype}" for name in ("A v", "A^T mu") for dtype in ("float32", "float64")
    }


def test_an_explicit_product_of_known_entries_is_laid_out_by_rows(precision):
    """Alone, jitted as a method, under grad and vmap; and not where entries are traced or few."""
    random = np.random.default_rng(0)
    columns, weights = random.integers(0, 4000, (4000, 3)), random.dirichlet(np.ones(3), 4000)
    matrix = scipy.sparse.csr_array((weights.ravel(), columns.ravel(), np.arange(4001) * 3), shape=(4000, 4000))
    operator = ops.from_scipy(matrix).explicit()
    values = jnp.asarray(random.normal(size=4000), float)
    for product in (operator.mv, jax.jit(operator.mv), jax.jit(lambda v: operator.mv(v))):
        np.testing.assert_allclose(product(values), matrix @ np.asarray(values), atol=1e-5)
    assert operator._rows is not None
    gradient = jax.jit(jax.grad(lambda v: operator.mv(v)[7]))(values)
    np.testing.assert_allclose(gradient, matrix.toarray()[7], atol=1e-6)
    block = jax.vmap(operator.mv)(jnp.stack([values, 2 * values]))
    np.testing.assert_allclose(block[1], 2 * block[0], rtol=1e-5)
    inside = jax.jit(lambda a, v: a.mv(v))(operator, values)
    np.testing.assert_allclose(inside, operator.mv(values), atol=1e-5)
    assert ops.from_scipy(np.eye(3)).explicit()._rows is None
