"""What users of SciPy, JAX and lineax do with a matrix: `@`, `**`, blocks of vectors, `jax.jit(A.mv)`, `from_scipy`."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
import scipy.sparse
from helpers.kernels import KERNELS, MASS, OPERATORS, POLICY, VALUES, S, assert_close, crossed, made, with_slow_variants
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
    if form == "explicit":
        return made("operator", name, form, x64)
    with jax.enable_x64(x64):
        return FORMS[form](made("operator", name, "matrix_free", x64))


@pytest.mark.parametrize(("case", "precision"), crossed(CASES), indirect=["precision"])
def test_products_with_vectors_and_blocks(case, precision):
    """From both sides, of the operator and of its transpose."""
    name, form = case
    operator, matrix = formed(name, form, precision == "float64"), OPERATORS[name].twin

    @jax.jit
    def both_sides(operator, vector, block):
        return [(a @ vector, vector @ a, a @ block, block.T @ a) for a in (operator, operator.T)]

    results = both_sides(operator, jnp.asarray(MASS, float), jnp.asarray(BLOCK, float))
    for result, a, twin in zip(results, (operator, operator.T), (matrix, matrix.T), strict=True):
        for one, other in zip(result, (twin @ MASS, MASS @ twin, twin @ BLOCK, BLOCK.T @ twin), strict=True):
            assert_close(one, other, precision)
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
    gradient = jax.jit(jax.grad(lambda block: jnp.sum(weights * (operator @ block))))(jnp.asarray(BLOCK))
    np.testing.assert_allclose(gradient, twin.T @ weights, atol=1e-13)
    mapped = jax.jit(jax.vmap(lambda block: operator.T @ block))(np.stack([BLOCK, 2 * BLOCK]))
    np.testing.assert_allclose(mapped, [twin.T @ BLOCK, 2 * twin.T @ BLOCK], atol=1e-13)


@pytest.mark.parametrize("exponent", [0, 3, 9])
def test_powers(exponent, double):
    operator, twin = made("operator", "factored", "matrix_free", True), OPERATORS["factored"].twin
    power, expected = operator**exponent, np.linalg.matrix_power(twin, exponent)

    @jax.jit
    def results(operator, values, mass):
        power = operator**exponent
        return power.mv(values), power.rmv(mass), power.as_dense(), jax.grad(lambda v: mass @ (power @ v))(values)

    pulled, pushed, dense, gradient = results(operator, VALUES, MASS)
    np.testing.assert_allclose(pulled, expected @ VALUES, atol=1e-12)
    np.testing.assert_allclose(pushed, expected.T @ MASS, atol=1e-12)
    np.testing.assert_allclose(jax.jit(power.rmv)(jnp.asarray(MASS)), expected.T @ MASS, atol=1e-12)
    np.testing.assert_allclose(dense, expected, atol=1e-12)
    assert (expected > 0).sum(-1).max() <= power.branching
    np.testing.assert_allclose(gradient, expected.T @ MASS, atol=1e-12)
    assert (power**2).exponent == 2 * exponent


@pytest.mark.parametrize("name", with_slow_variants(KERNELS))
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


@pytest.mark.parametrize(("form", "transpose"), [("matrix_free", True), ("explicit", False), ("compressed", True)])
def test_lineax(form, transpose, double):
    operator, twin = formed("patched", form, True), OPERATORS["patched"].twin
    weights = jnp.cos(jnp.arange(S))

    def solve(operator, rewards):
        linear = (operator.T if transpose else operator).as_lineax()
        system = lx.IdentityLinearOperator(linear.in_structure()) - 0.9 * linear
        return lx.linear_solve(system, rewards, lx.GMRES(rtol=1e-12, atol=1e-12)).value

    dense = np.eye(S) - 0.9 * (twin.T if transpose else twin)

    @jax.jit
    def solved(operator, rewards):
        return solve(operator, rewards), jax.grad(lambda r: weights @ solve(operator, r))(rewards)

    solution, gradient = solved(operator, VALUES)
    np.testing.assert_allclose(solution, np.linalg.solve(dense, VALUES), rtol=1e-9)
    np.testing.assert_allclose(gradient, np.linalg.solve(dense.T, weights), rtol=1e-8)

    @jax.jit
    def face(operator, mass):
        linear = operator.as_lineax()
        return linear.T.mv(mass), linear.as_matrix()

    pushed, matrix = face(operator, MASS)
    np.testing.assert_allclose(pushed, twin.T @ MASS, atol=1e-13)
    np.testing.assert_allclose(matrix, twin, atol=1e-13)


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
def test_derivatives_of_mapped_products_in_the_data(form, double):
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
        *[lambda f: jax.grad(lambda d: jnp.sum(jax.vmap(f)(d)))(batch)] * (form == "explicit"),
        lambda f: jax.jit(jax.grad(lambda d: jnp.sum(jax.vmap(f)(d))))(batch),
        lambda f: jax.jit(jax.vmap(jax.grad(f)))(batch),
        lambda f: jax.jit(lambda d: jax.jvp(jax.vmap(f), (d,), (d + 1,))[1])(batch),
        lambda f: jax.jit(jax.grad(lambda scale: jnp.sum(jax.vmap(lambda s: f(s * batch[0]))(scale))))(weights),
    ):
        one, other = (derivative(lambda d, explicit=explicit: products(d, explicit)) for explicit in (True, False))
        assert_close(one, other, "float64")


@pytest.mark.slow
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


@pytest.mark.slow
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
    block = jax.jit(jax.vmap(operator.mv))(np.stack([values, 2 * values]))
    np.testing.assert_allclose(block[1], 2 * block[0], rtol=1e-5)
    inside = jax.jit(lambda a, v: a.mv(v))(operator, values)
    np.testing.assert_allclose(inside, operator.mv(values), atol=1e-5)
    assert ops.from_scipy(np.eye(3)).explicit()._rows is None
