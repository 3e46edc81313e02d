"""Stated bounds hold on random chains, in both precisions, against elimination in extended precision.

The chains are those on which residuals mislead: nearly decomposable, periodic, reducible, with long drifts, with all
mass at one end, and discounted nearly not at all. `make test-all` looks at 500 of every family.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import numpy_kernels as twin
from helpers.kernels import chain

from structmfg.solvers import LINEAR_RESULTS, hitting_times, resolvent, stationary

SIZES = (4, 13, 40)
COUNTS = [pytest.param(12, id="some"), pytest.param(500, id="many", marks=pytest.mark.slow)]


def rows(raw):
    return raw / raw.sum(-1, keepdims=True)


def decomposable(random, size):
    """Blocks that meet with probability 1e-3 to 1e-14."""
    block = random.integers(0, 3, size)
    apart = 10.0 ** -random.integers(3, 15)
    return rows(random.random((size, size)) * np.where(block[:, None] == block, 1, apart))


def periodic(random, size):
    period = int(random.integers(2, 5))
    phase = np.arange(size) % period
    return rows((random.random((size, size)) + 1e-3) * (phase == (phase[:, None] + 1) % period))


def reducible(random, size):
    """One closed class, and transient states that lead there."""
    closed = random.permutation(size) < max(2, size // 2)
    raw = random.random((size, size)) ** 4 * np.where(closed[:, None], closed, 1)
    return rows(raw + 1e-6 * closed)


def drifting(random, size):
    """Jumps of up to two states, mostly one way, so that masses span many orders of magnitude."""
    raw = np.zeros((size, size))
    ahead = 10.0 ** random.uniform(-3, 3)
    for step, weight in ((-2, 1), (-1, 3), (0, 2), (1, 3 * ahead), (2, ahead)):
        for s in range(size):
            raw[s, np.clip(s + step, 0, size - 1)] += weight * random.uniform(0.5, 1.5)
    return rows(raw)


def one_ended(random, size):
    """Births and deaths with all the mass at either end."""
    up = 10.0 ** random.uniform(-4, -0.5, size)
    down = 10.0 ** random.uniform(-4, -0.5, size) * 10.0 ** random.uniform(-0.4, 0.4)
    down = np.minimum(down, 1 - up)
    up[-1] = down[0] = 0
    return np.diag(1 - up - down) + np.diag(up[:-1], 1) + np.diag(down[1:], -1)


def scattered(random, size):
    """Few successors, with probabilities of any size."""
    raw = 10.0 ** random.uniform(-8, 0, (size, size)) * (random.random((size, size)) < 3 / size)
    return rows(raw + 1e-5 * np.roll(np.eye(size), 1, axis=1))


FAMILIES = [decomposable, periodic, reducible, drifting, one_ended, scattered]


def masses(matrix):
    """The stationary distribution of the class of the first closed state."""
    reach = np.linalg.matrix_power((matrix > 0) + np.eye(len(matrix)), len(matrix)) > 0
    closed = [s for s in range(len(matrix)) if (reach[s] <= reach[:, s]).all()]
    states = np.flatnonzero(reach[closed[0]])
    result = np.zeros(len(matrix), np.longdouble)
    result[states] = twin.stationary(matrix[np.ix_(states, states)])
    return result


def solved(matrix, leaving, rewards, transpose):
    """Solve (I - D) x = r, or its transpose, for any r."""
    p, pivots = twin.eliminated(matrix, leaving)
    results = []
    for part in (np.maximum(rewards, 0), np.maximum(-np.asarray(rewards), 0)):
        r = np.array(part, np.longdouble)
        for k in range(len(r) - 1, 0, -1):
            r[:k] += r[k] / pivots[k] * p[k, :k] if transpose else p[:k, k] * r[k]
        for k in range(len(r)):
            r[k] = r[k] / pivots[k] + p[:k, k] @ r[:k] if transpose else (r[k] + p[k, :k] @ r[:k]) / pivots[k]
        results.append(r)
    return results[0] - results[1]


def cases(family, count):
    random = np.random.default_rng(FAMILIES.index(family))
    for i in range(count):
        yield random, family(random, SIZES[i % len(SIZES)])


def test_the_reference():
    """The reference itself, against least squares on easy chains."""
    random = np.random.default_rng(0)
    matrix, r = rows(random.random((6, 6))), random.normal(size=6)
    system = np.vstack([np.eye(6) - matrix.T, np.ones(6)])
    np.testing.assert_allclose(masses(matrix).astype(float), np.linalg.lstsq(system, np.eye(7)[-1])[0], atol=1e-14)
    for transpose in (False, True):
        a = 0.9 * (matrix.T if transpose else matrix)
        exact = solved(0.9 * matrix, np.full(6, 0.1), r, transpose).astype(float)
        np.testing.assert_allclose(exact, np.linalg.solve(np.eye(6) - a, r), rtol=1e-12)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_bounds_of_stationary_distributions(family, count, precision):
    certified = 0
    for i, (_, matrix) in enumerate(cases(family, count)):
        expected = masses(matrix)
        for method in ("direct", "eigen", "power") if i % 4 == 0 else ("direct",):
            solution = stationary(chain(matrix), method=method, max_steps=200)
            error = float(np.abs(np.asarray(solution.value, np.longdouble) - expected).sum())
            assert error <= solution.stats.get("bound", np.inf), (i, method, matrix)
            assert not bool(solution.succeeded) or method != "power"
            certified += bool(solution.succeeded)
    assert certified >= count, "all of them are certified, at the default tolerance"


DISCOUNTS = (0.5, 0.99, 1 - 1e-5, 1 - 1e-9)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_bounds_of_resolvents(family, count, precision):
    """By LU for all; by the others, which compile for every size and discount, for some of each."""
    for i, (random, matrix) in enumerate(cases(family, count)):
        discount, transpose = DISCOUNTS[i % 4], bool(i % 2)
        rewards = random.normal(size=len(matrix)) if i % 3 else np.ones(len(matrix))
        expected = solved(np.longdouble(discount) * matrix, np.full(len(matrix), 1 - discount), rewards, transpose)
        methods = ("direct", "gmres", "bicgstab") if count > 12 and i % 67 == 0 else ("direct",)
        for method in methods:
            solution = resolvent(chain(matrix), rewards, discount, method=method, transpose=transpose, max_steps=200)
            error = np.abs(np.asarray(solution.value, np.longdouble) - expected)
            error = float(error.sum() if transpose else error.max())
            assert error <= solution.stats["bound"], (i, method, discount, matrix)
            assert method != "direct" or transpose or bool(solution.succeeded), LINEAR_RESULTS[solution.result]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_bounds_of_hitting_times(family, count, precision):
    for i, (random, matrix) in enumerate(cases(family, count)):
        target = int(masses(matrix).argmax()) if i % 2 else int(random.integers(len(matrix)))
        solution = hitting_times(chain(matrix), [target])
        value = np.asarray(solution.value, np.longdouble)
        finite = np.flatnonzero(np.isfinite(value) & (np.arange(len(matrix)) != target))
        expected = solved(matrix[np.ix_(finite, finite)], matrix[finite, target], np.ones(len(finite)), False)
        error = float(np.abs(value[finite] / expected - 1).max(initial=0))
        assert error <= solution.stats["relative_bound"], (i, matrix, target)


def test_bounds_inside_jit(precision):
    """In the precision of the numbers there, and honest in it."""
    random = np.random.default_rng(9)
    for discount in (0.9, 0.99999, 1 - 1e-9):
        solve = jax.jit(lambda a, r, discount=discount: resolvent(a, r, discount, max_steps=50))
        for family in (drifting, periodic):
            matrix, rewards = family(random, 13), np.ones(13)
            solution = solve(chain(matrix), jnp.asarray(rewards, float))
            expected = solved(np.longdouble(discount) * matrix, np.full(13, 1 - discount), rewards, False)
            assert float(np.abs(np.asarray(solution.value, np.longdouble) - expected).max()) <= solution.stats["bound"]
