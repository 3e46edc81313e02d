"""Explicit forms, products, powers, resolvents and stationary distributions, against dense NumPy.

The matrices are not symmetric, and neither are the vectors: a transposed operator or a wrong sign does not pass.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import numpy_kernels
from helpers.kernels import MASS, OPERATORS, VALUES, S, assert_close, chain, crossed, is_merged, made
from hypothesis import given, settings
from hypothesis import strategies as st

from structmfg import operators as ops
from structmfg.solvers import LINEAR_RESULTS, resolvent, stationary

STEPS, WEIGHTS = (-1, 0, 2), (0.5, 0.2, 0.3)
ITERATIVE = ("gmres", "bicgstab", "neumann")
PADDED = ("kronecker", "noise_walls", "successors", "lattice_down_walls", "mixture")  # but for the first


def noise():
    return ops.LatticeNoise(S, STEPS, WEIGHTS)


NOISE = numpy_kernels.noise(S, STEPS, WEIGHTS)
REPRESENTATIONS = {
    "structured": (lambda operator: operator, lambda matrix: matrix),
    "explicit": (lambda operator: operator.explicit(), lambda matrix: matrix),
    "compressed": (lambda operator: operator.compressed(), lambda matrix: matrix),
    "product": (lambda operator: operator @ noise(), lambda matrix: matrix @ NOISE),
    "explicit_product": (lambda operator: ops.product([operator, noise()]), lambda matrix: matrix @ NOISE),
}


@functools.cache
def represented(name, x64):
    """An operator in one representation and precision, and its dense matrix."""
    build, as_dense = REPRESENTATIONS[name]
    with jax.enable_x64(x64):
        return build(made("operator", "successors", "matrix_free", x64)), as_dense(OPERATORS["successors"].twin)


@pytest.fixture(params=REPRESENTATIONS)
def case(request, precision):
    return represented(request.param, precision == "float64")


def test_forms(case, precision):
    operator, matrix = case
    values, mass = jnp.asarray(VALUES, float), jnp.asarray(MASS, float)
    pulled, pushed, dense = jax.jit(lambda o: (o.mv(values), o.T.mv(mass), o.as_dense()))(operator)
    assert_close(pulled, matrix @ VALUES, precision)
    assert_close(pushed, matrix.T @ MASS, precision)
    assert_close(dense, matrix, precision)
    assert_close(operator.as_scipy().toarray(), matrix, precision)
    assert (matrix > 0).sum(-1).max() <= operator.branching


def test_indices_are_merged(case):
    operator, _ = case
    matrix, transposed, rows = jax.jit(lambda o: (o.as_bcoo(), o.T.as_bcoo(), o.as_bcsr()))(operator)
    assert is_merged(matrix)
    assert is_merged(transposed)
    assert rows.indices_sorted
    assert rows.unique_indices


@pytest.mark.parametrize("name", PADDED)
def test_compressed_inside_jit(name, precision):
    """With the slots that `assemble` leaves unused, and under vmap."""
    operator = made("operator", name, "matrix_free", precision == "float64")
    matrix = OPERATORS[name].twin
    values = jnp.asarray(np.stack([VALUES, MASS]), float)

    def both(operator, values):
        compressed = operator.compressed()
        return compressed.mv(values), compressed.rmv(values)

    pulled, pushed = jax.jit(jax.vmap(both, in_axes=(None, 0)))(operator, values)
    assert_close(pulled, np.stack([VALUES, MASS]) @ matrix.T, precision)
    assert_close(pushed, np.stack([VALUES, MASS]) @ matrix, precision)


def test_compressed_gradient(double):
    operator = made("operator", "factored", "matrix_free", True).compressed()
    matrix, mass, values = OPERATORS["factored"].twin, jnp.asarray(MASS), jnp.asarray(VALUES)
    in_values, in_mass = jax.jit(jax.grad(lambda v, m: operator.rmv(m) @ v + m @ operator.mv(v), argnums=(0, 1)))(
        values, mass
    )
    np.testing.assert_allclose(in_values, 2 * matrix.T @ MASS, atol=1e-14)
    np.testing.assert_allclose(in_mass, 2 * matrix @ VALUES, atol=1e-14)


def test_explicit_operator_merges_what_it_is_given(double):
    data, indices = jnp.array([0.25, 1.0, 0.75]), jnp.array([[1, 0], [0, 1], [1, 0]])
    bcoo = type(ops.LatticeNoise(2, (0,), (1.0,)).as_bcoo())((data, indices), shape=(2, 2))
    operator = ops.ExplicitOperator(bcoo)
    np.testing.assert_array_equal(operator.compressed().mv(jnp.array([1.0, 3.0])), [3.0, 1.0])
    assert operator.as_bcoo().unique_indices


def path(x64):
    names = ("noise", "successors", "kronecker", "lattice_walls")
    return [made("operator", n, "matrix_free", x64) for n in names], [OPERATORS[n].twin for n in names]


@pytest.mark.slow
def test_product_along_a_path(precision):
    operators, twins = path(precision == "float64")
    expected = np.linalg.multi_dot(twins)
    first, second, third, fourth = operators
    nested = (first @ second) @ (third @ fourth)
    assert len(nested.factors) == 4
    for operator in (nested, ops.product(operators), jax.jit(lambda o: o.explicit())(nested)):
        assert_close(operator.as_dense(), expected, precision)
        assert_close(operator.rmv(jnp.asarray(MASS, float)), expected.T @ MASS, precision)
    assert_close(ops.product(operators[:1]).as_dense(), twins[0], precision)


walks = st.lists(st.lists(st.integers(-3, 3), min_size=1, max_size=3), min_size=2, max_size=4)


@pytest.mark.slow
@settings(max_examples=3)
@given(walks=walks, size=st.sampled_from([7, 40]))
def test_bounds_of_a_product_hold(walks, size):
    """No entry is lost in the explicit form, and no successor lies beyond the span."""
    factors = [ops.LatticeNoise(size, steps, [1 / len(steps)] * len(steps)) for steps in walks]
    product = ops.ProductOperator(factors)
    dense = np.linalg.multi_dot([np.asarray(factor.as_dense()) for factor in factors])
    np.testing.assert_allclose(product.as_dense(), dense, atol=1e-6)
    assert product.as_bcoo().nse <= size * product.branching
    assert (dense > 0).sum(-1).max() <= product.branching
    listed = np.asarray(product.successors().indices)
    if product.branching < size:
        assert np.ptp(listed, axis=1).max() <= product.span
    assert max(np.ptp(np.flatnonzero(row)) for row in dense) <= product.span


def test_power(precision):
    operator, matrix = made("operator", "factored", "matrix_free", precision == "float64"), OPERATORS["factored"].twin
    for exponent in (0, 1, 2, 5, 6, 8):
        power = ops.power(operator, exponent)
        assert_close(power.as_scipy().toarray(), np.linalg.matrix_power(matrix, exponent), precision)
        assert is_merged(power.as_bcoo())


@pytest.mark.parametrize("room", [30, 200, 1_000])
def test_fill_in_is_counted(room, double):
    """The guard names the power that does not fit and its exact elements, however small the room."""
    size, walk = 200, ops.LatticeNoise(200, (-1, 0, 1), (0.3, 0.4, 0.3))
    elements = {n: sum(min(i, n) + min(size - 1 - i, n) + 1 for i in range(size)) for n in (2, 3, 4)}
    first = next(n for n in (2, 4) if elements[n] > room)
    with pytest.raises(ValueError, match=f"power {first} fills in to {elements[first]} elements.*{room}$"):
        ops.power(walk, 4, max_elements=room)
    with pytest.raises(ValueError, match=f"first 3 factors fills in to {elements[3]} elements"):
        ops.product([walk] * 4, max_elements=elements[2])
    assert ops.product([walk] * 3, max_elements=elements[3]).as_bcoo().nse == elements[3]


@pytest.mark.parametrize(("transpose", "precision"), crossed([False, True]), indirect=["precision"])
@pytest.mark.parametrize(
    ("name", "method"),
    [*(("structured", method) for method in ITERATIVE), *((name, "direct") for name in REPRESENTATIONS)]
    + [pytest.param(name, "neumann", marks=pytest.mark.slow) for name in ("explicit", "compressed", "product")],
)
def test_resolvent(name, method, transpose, precision):
    (operator, matrix), discount = represented(name, precision == "float64"), 0.95
    expected = np.linalg.solve(np.eye(S) - discount * (matrix.T if transpose else matrix), VALUES)

    def solve(operator, rewards):
        return resolvent(operator, rewards, discount, method=method, transpose=transpose)

    solution = (solve if method == "direct" else jax.jit(solve))(operator, jnp.asarray(VALUES, float))
    error = np.abs(np.asarray(solution.value, np.float64) - expected)
    rounding = {"float32": 1e-4, "float64": 1e-12}[precision]
    assert bool(solution.succeeded), LINEAR_RESULTS[solution.result]
    assert solution.value.dtype == precision
    assert (error.sum() if transpose else error.max()) <= solution.stats["bound"] + rounding
    assert error.max() < {"float32": 2e-2, "float64": 1e-10}[precision]
    assert solution.stats["residual"] < {"float32": 1e-3, "float64": 1e-11}[precision]


@settings(max_examples=5)
@given(seed=st.integers(0, 2**16), discount=st.sampled_from([0.0, 0.5, 0.9]))
def test_truncation_bound(seed, discount):
    """Cut off after any number of steps, the Neumann series errs by no more than it says."""
    random = np.random.default_rng(seed)
    matrix = random.dirichlet(np.full(5, 0.3), 5)
    rewards, steps = random.normal(size=5), int(random.integers(1, 20))
    with jax.enable_x64(True):
        operator = ops.DenseKernel(jnp.asarray(matrix[:, None])).under(np.ones((5, 1)))
        for transpose in (False, True):
            solution = resolvent(
                operator, rewards, discount, method="neumann", transpose=transpose, tolerance=1e-9, max_steps=steps
            )
            system = np.eye(5) - discount * (matrix.T if transpose else matrix)
            error = np.abs(solution.value - np.linalg.solve(system, rewards))
            assert (error.sum() if transpose else error.max()) <= solution.stats["bound"] + 1e-12
            result = LINEAR_RESULTS.converged if solution.succeeded else LINEAR_RESULTS.max_steps
            assert solution.result == result
            assert solution.stats["steps"] <= steps


@pytest.mark.parametrize("method", ITERATIVE)
def test_gradient_is_the_transposed_resolvent(method, double):
    """In the rewards; and, in the operator's data, a central difference."""
    operator, matrix = made("operator", "kronecker", "matrix_free", True), OPERATORS["kronecker"].twin
    weights, rewards = jnp.asarray(MASS), jnp.asarray(VALUES)
    gradient = jax.jit(jax.grad(lambda r: weights @ resolvent(operator, r, 0.9, method=method).value))(rewards)
    np.testing.assert_allclose(gradient, np.linalg.solve(np.eye(S) - 0.9 * matrix.T, MASS), rtol=1e-10)
    occupancy = resolvent(operator, weights, 0.9, method=method, transpose=True)
    np.testing.assert_allclose(gradient, occupancy.value, rtol=1e-10)

    @jax.jit
    @jax.value_and_grad
    def score(chain):
        return weights @ resolvent(ops.KroneckerOperator(S, chain), rewards, 0.9, method=method).value

    direction = np.array([[1.0, -1.0], [-0.5, 0.5]])
    (ahead, _), (behind, _) = (score(operator.chain + h * direction) for h in (1e-5, -1e-5))
    slope = np.vdot(score(operator.chain)[1], direction)
    np.testing.assert_allclose(slope, (ahead - behind) / 2e-5, rtol=1e-6)


def test_a_cotangent_that_does_not_converge_is_nan():
    operator = noise()
    gradient = jax.jit(jax.grad(lambda r: resolvent(operator, r, 0.99, method="neumann", max_steps=2).value.sum()))
    assert np.isnan(gradient(jnp.asarray(VALUES, float))).all()


@pytest.mark.parametrize(("method", "precision"), crossed(["direct", *ITERATIVE]), indirect=["precision"])
def test_status_of_a_resolvent(method, precision):
    operator, rewards = noise(), jnp.asarray(VALUES, float)
    unreachable = resolvent(operator, rewards, 0.99, method=method, tolerance=1e-30)
    assert unreachable.result in (LINEAR_RESULTS.precision, LINEAR_RESULTS.max_steps)
    assert unreachable.stats["residual"] < {"float32": 1e-3, "float64": 1e-11}[precision]
    missing = resolvent(operator, rewards.at[3].set(jnp.nan), 0.9, method=method)
    assert missing.result == LINEAR_RESULTS.nonfinite
    for easy in (jnp.zeros(S), jnp.ones(S)):  # a constant is an eigenvector: Krylov spaces of dimension one
        solution = resolvent(operator, easy, 0.9, method=method)
        assert bool(solution.succeeded)
        np.testing.assert_allclose(solution.value, 10 * easy, rtol=1e-4)
    if method != "direct":
        short = resolvent(operator, rewards, 0.999, method=method, tolerance=1e-6, max_steps=1)
        assert short.result == (LINEAR_RESULTS.max_steps if method != "gmres" else short.result)
        assert short.stats["steps"] <= 1


def test_the_status_of_a_resolvent_is_that_of_the_value_returned():
    """After it is rounded to single precision: too coarse for the tolerance, or beyond the largest number."""
    operator = noise()
    strict = resolvent(operator, np.full(S, 1 / 3), 0.9, tolerance=1e-12, method="direct")
    assert strict.result == LINEAR_RESULTS.precision
    assert strict.stats["bound"] > 1e-12 * (1 / 3) / 0.1
    large = resolvent(operator, np.full(S, 1e38), 0.99, method="direct")
    assert large.result == LINEAR_RESULTS.nonfinite
    assert bool(resolvent(operator, [1.0] * S, jnp.float32(0.9)).succeeded)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("method", ["direct", "gmres"])
def test_rows_that_are_no_distributions_are_taken_as_they_are(method, transpose, double):
    """Some lose mass, one gains: the bound holds as long as discounting outweighs it."""
    matrix = np.random.default_rng(6).dirichlet(np.ones(5), 5) * np.array([1.0, 0.9, 0.5, 1.02, 1.0])[:, None]
    operator = ops.DenseKernel(jnp.asarray(matrix[:, None]), checks=False).under(np.ones((5, 1)))
    solution = resolvent(operator, VALUES[:5], 0.9, method=method, transpose=transpose)
    expected = np.linalg.solve(np.eye(5) - 0.9 * (matrix.T if transpose else matrix), VALUES[:5])
    np.testing.assert_allclose(solution.value, expected, rtol=1e-10)
    assert np.abs(solution.value - expected).max() <= solution.stats["bound"] < 1e-10


@pytest.mark.parametrize("method", ["direct", "eigen", "power"])
def test_stationary(case, method, precision):
    operator, matrix = case
    solution = stationary(operator, method=method)
    assert solution.result == (LINEAR_RESULTS.residual if method == "power" else LINEAR_RESULTS.converged)
    expected = numpy_kernels.stationary(matrix)
    assert_close(solution.value, expected, precision, digits=300 if method == "power" else 1)
    if method != "power":
        assert np.abs(np.asarray(solution.value, np.float64) - expected).sum() <= solution.stats["bound"]
    assert solution.stats["residual"] < {"float32": 1e-5, "float64": 2e-14}[precision]
    if method == "eigen":
        second = np.sort(np.abs(np.linalg.eigvals(matrix)))[-2]
        np.testing.assert_allclose(solution.stats["second"], second, rtol=1e-5)


def test_stationary_of_a_long_line(double):
    """Detailed balance: mu(s + 1) / mu(s) = up / down, to the last digits of the least entry."""
    size, up, down = 300, 0.30, 0.31
    operator = ops.LatticeNoise(size, (-1, 0, 1), (down, 1 - up - down, up))
    expected = (up / down) ** np.arange(size)
    for method in ("direct", "eigen"):
        solution = stationary(operator, method=method, tolerance=1e-10)
        assert bool(solution.succeeded)
        np.testing.assert_allclose(solution.value, expected / expected.sum(), rtol=1e-12)
    assert 0 < solution.stats["gap"] < 1e-3


CYCLE = np.roll(np.eye(4), 1, axis=1)
TWO_CLASSES = [[0.5, 0.2, 0.3, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.5, 0.5, 0.0], [0.0, 0.0, 0.0, 1.0]]
ONE_CLASS = [[0.5, 0.2, 0.3, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.5, 0.5, 0.0], [0.3, 0.0, 0.0, 0.7]]


@pytest.mark.parametrize("method", ["direct", "eigen", "power"])
def test_stationary_of_periodic_and_reducible_chains(method, double):
    cycle = stationary(chain(CYCLE), method=method)
    np.testing.assert_allclose(cycle.value, np.full(4, 0.25), atol=1e-12)
    assert cycle.stats.get("second", 1) == pytest.approx(1)
    one = stationary(chain(ONE_CLASS), method=method)
    np.testing.assert_allclose(one.value, [0, 1 / 3, 2 / 3, 0], atol=1e-12)
    assert one.result == (LINEAR_RESULTS.residual if method == "power" else LINEAR_RESULTS.converged)
    two = stationary(chain(TWO_CLASSES), method=method)
    assert two.stats["residual"] < 1e-13
    if method == "power":
        chosen = jnp.array([0.0, 0.25, 0.25, 0.5])
        two = stationary(chain(TWO_CLASSES), method=method, initial=chosen)
        np.testing.assert_allclose(two.value, [0, 1 / 6, 1 / 3, 1 / 2], atol=1e-12)
    else:
        assert two.result == LINEAR_RESULTS.not_unique
        assert two.stats["closed_classes"] == 2
        np.testing.assert_allclose(two.value, [0, 1 / 3, 2 / 3, 0], atol=1e-12)


def test_power_iteration(precision):
    operator, start = noise(), jnp.full(S, 1 / S)
    solve = jax.jit(lambda o, m, tolerance=None: stationary(o, method="power", initial=m).value)
    error = np.abs(np.asarray(solve(operator, start)) - numpy_kernels.stationary(NOISE)).sum()
    gap = 1 - np.sort(np.abs(np.linalg.eigvals((NOISE + np.eye(S)) / 2)))[-2]
    assert error <= 64 * np.finfo(precision).eps / gap
    assert stationary(operator, method="power", max_steps=3).result == LINEAR_RESULTS.max_steps
    hard = stationary(operator, method="power", tolerance=1e-30, max_steps=30_000)
    assert hard.result != LINEAR_RESULTS.converged
    assert hard.stats["residual"] < {"float32": 1e-6, "float64": 1e-14}[precision]


def test_eigen_of_a_chain_of_period_three():
    """Three eigenvalues of modulus one, in a class too large for LAPACK."""
    moves = np.kron(np.roll(np.eye(3), 1, axis=1), np.full((20, 20), 1 / 20))
    solution = stationary(chain(moves), method="eigen")
    np.testing.assert_allclose(solution.value, 1 / 60, rtol=1e-4)
    assert solution.stats["second"] == pytest.approx(1, abs=1e-6)
