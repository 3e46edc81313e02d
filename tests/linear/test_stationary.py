"""Stationary distributions whose error is known: against elimination and formulas in NumPy, and exact fractions."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import numpy_kernels as twin
from helpers.kernels import chain

from structmfg import operators as ops
from structmfg.linear import _classes as classes
from structmfg.linear import _elimination as elimination
from structmfg.linear import _stationary as module
from structmfg.linear import _stationary_derivative as derivative
from structmfg.solvers import LINEAR_RESULTS, stationary


def line(up, down):
    """A chain of births and deaths, and its stationary distribution by detailed balance, in extended precision."""
    up, down = np.array(up, float), np.array(down, float)
    up[-1] = down[0] = 0
    matrix = np.diag(1 - up - down) + np.diag(up[:-1], 1) + np.diag(down[1:], -1)
    logs = np.concatenate([[0], np.cumsum(np.log(up[:-1].astype(np.longdouble)) - np.log(down[1:]))])
    mass = np.exp(logs - logs.max())
    return matrix, np.asarray(mass / mass.sum(), float)


def revisions(players=27, mistakes=1e-2, threshold=1 / 3):
    """One of `players` revises, and plays the best reply but for mistakes (Kandori, Mailath & Rob 1993)."""
    playing = np.arange(players + 1)
    towards = np.where(playing / players > threshold, 1 - mistakes / 2, mistakes / 2)
    return line((players - playing) / players * towards, playing / players * (1 - towards))


def double_well(cells=400, strength=0.3):
    x = np.linspace(-1.2, 1.2, cells)
    drift = np.clip(-strength * (4 * x**3 - 2 * x), -0.4, 0.4)
    return line(0.25 + drift / 2, 0.25 - drift / 2)


def urns(balls=1000):
    """Ehrenfest's: the distribution is binomial."""
    inside = np.arange(balls + 1)
    return line((balls - inside) / balls / 2, inside / balls / 2)


def reverting(cells=1001):
    x = np.linspace(-1, 1, cells)
    return line(0.25 * (1 - 0.99 * x), 0.25 * (1 + 0.99 * x))


CHAINS = {"revisions": revisions, "double well": double_well, "urns": urns, "mean-reverting walk": reverting}


@pytest.mark.parametrize("method", ["direct", "eigen"])
@pytest.mark.parametrize("name", CHAINS)
def test_chains_that_nearly_fall_apart(name, method, precision):
    matrix, expected = CHAINS[name]()
    solution = stationary(chain(matrix), method=method)
    error = np.abs(np.asarray(solution.value, np.float64) - expected).sum()
    assert error <= solution.stats["bound"]
    if name != "double well":  # rounding of the probabilities to single precision moves mass between the wells
        assert bool(solution.succeeded), (LINEAR_RESULTS[solution.result], solution.stats)
    assert error < {"float32": 2e-3, "float64": 1e-11}[precision]


@pytest.mark.parametrize("method", ["direct", "eigen", "power"])
@pytest.mark.parametrize("rate", [1e-8, 1e-12, 1e-30])
def test_two_states_that_hardly_meet(rate, method, precision):
    solution = stationary(chain([[1 - rate, rate], [3 * rate, 1 - 3 * rate]]), method=method)
    if method == "power":
        assert solution.result != LINEAR_RESULTS.converged
    else:
        assert bool(solution.succeeded)
        np.testing.assert_allclose(solution.value, [0.75, 0.25], rtol=1e-6 if precision == "float32" else 1e-14)


def test_masses_beyond_the_range_of_doubles(double):
    """They are zero; those at the other end are right, wherever elimination ends."""
    for flip in (False, True):
        matrix, expected = line(np.full(3000, 0.7), np.full(3000, 0.3))
        matrix, expected = (matrix[::-1, ::-1], expected[::-1]) if flip else (matrix, expected)
        solution = stationary(chain(matrix))
        assert bool(solution.succeeded)
        np.testing.assert_allclose(solution.value, expected, rtol=1e-10, atol=1e-290)


def test_a_wide_band_that_drifts(double):
    """Jumps of up to three states, so that bands, panels and scales of masses all matter."""
    random = np.random.default_rng(4)
    steps, size = np.arange(-3, 4), 900
    matrix = np.zeros((size, size))
    for s in range(size):
        for step, weight in zip(steps, random.dirichlet(np.r_[np.full(3, 0.2), 1, np.full(3, 3.0)]), strict=True):
            matrix[s, np.clip(s + step, 0, size - 1)] += weight
    for turned in (matrix, matrix[::-1, ::-1]):
        expected = twin.stationary(turned[::-1, ::-1])[::-1]  # from the other end
        solution = stationary(chain(turned))
        assert bool(solution.succeeded)
        np.testing.assert_allclose(solution.value, expected.astype(float), rtol=1e-11, atol=1e-300)


def test_against_fractions(double):
    """All digits, by exact arithmetic."""
    random = np.random.default_rng(0)
    matrix = random.integers(0, 9, (9, 9)) / 64
    matrix[np.arange(9), np.arange(9)] = 0
    matrix[np.arange(9), np.arange(9)] = 1 - matrix.sum(1)
    exact = [[Fraction(entry) for entry in row] for row in matrix]
    for k in range(8, 0, -1):
        out = sum(exact[k][:k])
        for i in range(k):
            exact[i][k] /= out
            exact[i][:k] = [a + exact[i][k] * b for a, b in zip(exact[i][:k], exact[k][:k], strict=True)]
    mass = [Fraction(1)]
    for k in range(1, 9):
        mass.append(sum(mass[i] * exact[i][k] for i in range(k)))
    expected = np.array([float(entry / sum(mass)) for entry in mass])
    np.testing.assert_allclose(stationary(chain(matrix)).value, expected, rtol=4e-16)


def test_births_and_deaths_take_linear_time(double):
    """In a hundred thousand states, by its formula: no loop over the states, no factorisation."""
    size = 100_000
    up, down = 0.3 + 0.1 * np.cos(np.arange(size)), 0.3 + 0.1 * np.sin(np.arange(size))
    up[-1] = down[0] = 0
    indices = np.clip(np.arange(size)[:, None, None] + np.array([-1, 0, 1]), 0, size - 1)
    kernel = ops.SuccessorKernel(jnp.asarray(indices), jnp.asarray(np.stack([down, 1 - up - down, up], 1)[:, None]))
    logs = np.concatenate([[0], np.cumsum(np.log(up[:-1].astype(np.longdouble) / down[1:]))])
    expected = np.exp(logs - logs.max())
    solution = stationary(kernel.under(np.ones((size, 1))))
    assert bool(solution.succeeded)
    np.testing.assert_allclose(solution.value, (expected / expected.sum()).astype(float), rtol=1e-9, atol=1e-300)


def test_lu_where_elimination_would_take_too_long(precision, monkeypatch):
    """With the bound by hitting times: honest where the chain nearly falls apart, and of use elsewhere."""
    monkeypatch.setattr(classes, "affordable", lambda size, band, modest=False: False)
    monkeypatch.setattr(classes, "banded_order", lambda moves: (np.arange(moves.shape[0]), 2))
    random = np.random.default_rng(3)
    cases = [random.dirichlet(np.full(40, 0.3), 40) for _ in range(5)] + [revisions()[0], double_well(100)[0]]
    for i, matrix in enumerate(cases):
        solution = stationary(chain(matrix))
        assert bool(solution.succeeded) or i >= 5
        error = np.abs(np.asarray(solution.value, np.float64) - twin.stationary(matrix)).sum()
        assert not error > solution.stats["bound"]  # NaN where the factors were singular
        assert bool(solution.succeeded) or not solution.stats["bound"] < {"float32": 1e-3, "float64": 1e-6}[precision]


def test_limits_of_cesaro_means():
    """Of chains with several closed classes, some with a period, and transient states between them."""
    matrix = np.zeros((7, 7))
    matrix[0, 1] = matrix[1, 0] = 1  # a class with period two
    matrix[2, [2, 3]], matrix[3, [2, 3]] = [0.25, 0.75], [0.5, 0.5]
    matrix[4, 4] = 1  # an absorbing state
    matrix[5, [0, 2, 6]], matrix[6, [1, 4, 5]] = [0.2, 0.3, 0.5], [0.1, 0.6, 0.3]
    start = np.array([0.1, 0.0, 0.2, 0.0, 0.1, 0.4, 0.2])
    solution = stationary(chain(matrix), initial=start)
    means = np.mean([start @ np.linalg.matrix_power(matrix, n) for n in range(2000)], axis=0)
    assert bool(solution.succeeded)
    assert solution.stats["closed_classes"] == 3
    np.testing.assert_allclose(solution.value, means, atol=1e-3)
    ends = np.linalg.solve(np.eye(2) - matrix[5:, 5:], matrix[5:, :5])  # where transient states end, by first state
    mass = start[:5] + start[5:] @ ends
    expected = [mass[:2].sum() / 2] * 2 + [0.4 * mass[2:4].sum(), 0.6 * mass[2:4].sum(), mass[4], 0, 0]
    np.testing.assert_allclose(solution.value, expected, rtol=1e-6)
    assert stationary(chain(matrix)).result == LINEAR_RESULTS.not_unique


def test_hitting_times_bound_the_inverse():
    """The bound of `longest_time` is at least the largest row sum, however wrong the guess."""
    random = np.random.default_rng(1)
    for _ in range(30):
        moves = module.scipy.sparse.csr_array(random.dirichlet(np.full(6, 0.4), 6) * 0.99)
        moves = moves - module.scipy.sparse.diags_array(moves.diagonal())
        total = np.full(6, 1.0)
        exact = np.linalg.solve(np.eye(6) - moves.toarray(), np.ones(6))
        for guess in (exact, exact * random.uniform(0.9, 1.1, 6), np.ones(6), -exact):
            assert elimination.longest_time(moves, total, guess) >= exact.max() * (1 - 1e-12)
        assert elimination.longest_time(moves, total, exact) <= exact.max() * (1 + 1e-12)


def test_solutions_of_an_elimination():
    """From both sides, in any order and panel, against a dense solve."""
    random = np.random.default_rng(2)
    for size, band in ((1, 1), (3, 3), (70, 4), (130, 129)):
        dense = random.random((size, size)) * (abs(np.subtract.outer(range(size), range(size))) <= band)
        dense = 0.98 * dense / dense.sum(1, keepdims=True)
        leaving = np.full(size, 0.02)
        order = np.arange(size)[::-1]
        chain_ = elimination.eliminate(module.scipy.sparse.csr_array(dense), leaving, order, band)
        inflow, rewards = random.random(size), random.random((size, 2))
        system = np.eye(size) - dense
        np.testing.assert_allclose(chain_.left(inflow).values, np.linalg.solve(system.T, inflow), rtol=1e-12)
        np.testing.assert_allclose(chain_.right(rewards), np.linalg.solve(system, rewards), rtol=1e-12)


@pytest.mark.parametrize("method", ["direct", "eigen", "power"])
def test_derivative(method, double):
    """Against a central difference, forward and backward; and the diagonal does not matter."""
    random = np.random.default_rng(5)
    matrix, weights = random.dirichlet(np.ones(6), 6), jnp.asarray(random.normal(size=6))
    direction = random.normal(size=(6, 6))
    direction -= direction.mean(1, keepdims=True)

    def mean(step, direction=direction):
        kernel = jnp.asarray(matrix)[:, None] + step * jnp.asarray(direction)[:, None]
        return weights @ stationary(ops.DenseKernel(kernel).under(jnp.ones((6, 1))), method=method).value

    expected = (mean(1e-5) - mean(-1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(mean)(0.0), expected, rtol=1e-7)
    np.testing.assert_allclose(jax.jvp(mean, (0.0,), (1.0,))[1], expected, rtol=1e-7)
    off_diagonal = direction - np.diag(np.diag(direction))
    np.testing.assert_allclose(jax.grad(lambda step: mean(step, off_diagonal))(0.0), expected, rtol=1e-7)
    if method == "power":
        np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(mean)))(jnp.zeros(2)), expected, rtol=1e-7)


@pytest.mark.parametrize("method", ["elimination", "lu"])
def test_derivative_of_a_chain_that_nearly_falls_apart(method, double, monkeypatch):
    """By elimination all digits, against a difference quotient; by LU, whose digits are gone, NaN."""
    if method == "lu":
        monkeypatch.setattr(derivative, "affordable", lambda size, band: False)
    matrix, _ = revisions(threshold=1 / 2)
    direction = np.zeros_like(matrix)
    direction[9, 10], direction[9, 9] = 1, -1

    def last(step):
        kernel = jnp.asarray(matrix)[:, None] + step * jnp.asarray(direction)[:, None]
        return stationary(ops.DenseKernel(kernel).under(jnp.ones((28, 1)))).value[-1]

    expected = (last(1e-6) - last(-1e-6)) / 2e-6
    assert expected > 60
    for slope in (jax.jvp(last, (0.0,), (1.0,))[1], jax.grad(last)(0.0)):
        if method == "lu":
            assert np.isnan(slope)
        else:
            np.testing.assert_allclose(slope, expected, rtol=1e-6)


def test_derivative_of_two_states_that_hardly_meet(precision):
    """Mu_0 = b / (a + b)."""

    def first(a, b):
        return stationary(ops.DenseKernel(jnp.array([[[1 - a, a]], [[b, 1 - b]]])).under(jnp.ones((2, 1)))).value[0]

    np.testing.assert_allclose(jax.grad(first, (0, 1))(1e-8, 3e-8), [-1.875e7, 6.25e6], rtol=1e-5)


def test_products_that_underflow_are_not_certified(double):
    q = 10**-161.6
    matrix = np.zeros((4, 4))
    matrix[0, 2] = matrix[2, 1] = matrix[1, 0] = matrix[3, 1] = q
    matrix[0, 0] = matrix[2, 0] = matrix[1, 3] = matrix[3, 3] = 1 - q
    solution = stationary(chain(matrix))
    assert np.abs(np.asarray(solution.value) - twin.stationary(matrix).astype(float)).sum() <= solution.stats["bound"]
    assert not bool(solution.succeeded)


def test_no_derivative_with_two_closed_classes(double):
    def mean(step):
        matrix = jnp.eye(4) + step * (jnp.roll(jnp.eye(4), 1, axis=1) - jnp.eye(4))
        return stationary(ops.DenseKernel(matrix[:, None]).under(jnp.ones((4, 1)))).value @ jnp.arange(4.0)

    assert np.isnan(jax.grad(mean)(0.0))


def test_second_eigenvalue_of_a_chain_far_from_normal(double):
    """A drifting walk: 2 sqrt(up down) by its formula; the eigenvalues of the plain matrix are rounding."""
    size, up, down = 200, 0.3, 0.7
    solution = stationary(ops.LatticeNoise(size, (-1, 1), (down, up)), method="eigen")
    np.testing.assert_allclose(solution.stats["second"], 2 * np.sqrt(up * down) * np.cos(np.pi / size), rtol=1e-10)
    solution = stationary(ops.LatticeNoise(1000, (-1, 0, 1), (0.2, 0.5, 0.3)), method="eigen")  # by ARPACK
    exact = 0.5 + 2 * np.sqrt(0.2 * 0.3) * np.cos(np.pi / 1000)
    assert np.isnan(solution.stats["second"]) or solution.stats["second"] == pytest.approx(exact, rel=1e-9)
