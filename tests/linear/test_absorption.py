"""Hitting times, undiscounted totals and absorption probabilities against formulas and dense solves."""

import numpy as np
import pytest
from helpers.kernels import chain

from structmfg import operators as ops
from structmfg.linear import _absorption as module
from structmfg.solvers import LINEAR_RESULTS, absorption, hitting_times, total_rewards


@pytest.fixture(params=["elimination", "lu"])
def method(request, monkeypatch):
    if request.param == "lu":
        monkeypatch.setattr(module, "affordable", lambda size, band: False)
    return request.param


def test_against_a_dense_solve(method, precision):
    random = np.random.default_rng(0)
    for size in (4, 90):
        matrix = random.dirichlet(np.full(size, 0.4), size)
        targets, rewards = np.array([1, size - 1]), random.normal(size=size)
        others = np.delete(np.arange(size), targets)
        expected = np.zeros((size, 2))
        system = np.eye(len(others)) - matrix[np.ix_(others, others)]
        expected[others] = np.linalg.solve(system, np.stack([np.ones(size), rewards], 1)[others])
        tight = {"float32": 1e-4, "float64": 1e-11}[precision]
        times, totals = hitting_times(chain(matrix), targets), total_rewards(chain(matrix), rewards, targets)
        np.testing.assert_allclose(times.value, expected[:, 0], rtol=tight)
        np.testing.assert_allclose(totals.value, expected[:, 1], atol=tight * np.abs(expected).max())
        assert bool(times.succeeded)
        relative = np.abs(np.asarray(times.value, np.float64) / np.maximum(expected[:, 0], 1e-9) - 1)[others]
        assert relative.max() <= times.stats["relative_bound"]
        mask = np.isin(np.arange(size), targets)
        np.testing.assert_array_equal(hitting_times(chain(matrix), mask).value, times.value)


def test_times_beyond_the_precision_of_a_plain_solve(double):
    """A walk that drifts away from its target: 1e30 steps, by the formula."""
    size, up, down = 80, 0.7, 0.3
    times = hitting_times(ops.LatticeNoise(size, (-1, 1), (down, up)), [0])
    # From k to k - 1: m_k = (1 + up m_{k+1}) / down, with m at the last state 1 / down.
    step = [1 / down]
    for _ in range(size - 2):
        step.append((1 + up * step[-1]) / down)
    np.testing.assert_allclose(times.value, np.concatenate([[0], np.cumsum(step[::-1])]), rtol=1e-12)
    assert bool(times.succeeded)
    assert times.value[-1] > 1e28


def test_ruin(method, precision):
    """The gambler's: absorption at either end, by the formula; and the states that can miss a target."""
    size, up, down = 31, 0.45, 0.55
    matrix = np.diag(np.full(size - 1, up), 1) + np.diag(np.full(size - 1, down), -1)
    matrix[0], matrix[-1] = np.eye(size)[0], np.eye(size)[-1]
    ends = absorption(chain(matrix))
    ratio = down / up
    won = (1 - ratio ** np.arange(size)) / (1 - ratio ** (size - 1))
    np.testing.assert_allclose(ends.value, np.stack([1 - won, won], 1), atol=1e-6 if precision == "float32" else 1e-12)
    assert ends.stats["classes"].tolist() == [0, *[-1] * (size - 2), 1]
    assert bool(ends.succeeded) or method == "lu"
    np.testing.assert_array_equal(hitting_times(chain(matrix), [0]).value, [0, *[np.inf] * (size - 1)])
    totals = total_rewards(chain(matrix), -np.ones(size), [0])
    assert np.isnan(totals.value[1:]).all()


def test_a_class_is_reached_for_sure(double):
    matrix = [[0.5, 0.2, 0.3, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.5, 0.5, 0.0], [0.3, 0.0, 0.0, 0.7]]
    ends = absorption(chain(matrix))
    np.testing.assert_allclose(ends.value, np.ones((4, 1)), rtol=1e-14)
    np.testing.assert_allclose(hitting_times(chain(matrix), [1, 2]).value, [2, 0, 0, 2 + 10 / 3], rtol=1e-14)


def test_status_where_the_bound_is_not_met(double):
    times = hitting_times(chain(np.full((3, 3), 1 / 3)), [0], tolerance=1e-300)
    assert times.result == LINEAR_RESULTS.precision


def test_times_beyond_the_largest_number(double):
    """They are no answer: a walk of 2000 states that drifts away from its target."""
    times = hitting_times(ops.LatticeNoise(2000, (-1, 1), (0.3, 0.7)), [0])
    assert not bool(times.succeeded)
    assert times.result == LINEAR_RESULTS.nonfinite
