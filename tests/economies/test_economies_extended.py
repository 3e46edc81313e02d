"""Economies that leave their grid, have short periods or fail inside: grids, bounds, statuses, numbers of NumPy."""

import dataclasses
import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_stationary_equilibrium import BORROWER, SMALL, Own, check_residuals

from structmfg.economies import Aiyagari, AiyagariCalibration, Household, Huggett, Income, _stationary_equilibrium
from structmfg.economies import _optimal_saving as _household
from structmfg.operators import ArbitraryGrid, GeometricGrid
from structmfg.solvers import (
    EQUILIBRIUM_RESULTS,
    LINEAR_RESULTS,
    LinearSolution,
    optimal_saving,
    stationary,
    stationary_equilibrium,
)


def test_a_short_grid_is_extended_and_told():
    """The points of the economy stay."""
    short = dataclasses.replace(SMALL, max_assets=8.0)
    found = stationary_equilibrium(short)
    check_residuals(found)
    assert found.stats["extended"] == 2
    assert found.stats["num_assets"] == found.household.grid.num_points == len(found.savings) > 40
    assert found.stats["max_assets"] == pytest.approx(float(found.household.assets[-1]), rel=1e-6)
    with jax.enable_x64(True):
        np.testing.assert_allclose(found.household.assets[:40], short.household(0.0).assets, rtol=1e-12)
    assert found.unknown == pytest.approx(0.0054, abs=3e-4)


class EvenlySpaced(Own):
    """On a grid that does not grow, so that it soon has ten times the points."""

    def bracket(self):
        return -0.05, 0.015

    def household(self, x):
        return dataclasses.replace(SMALL.household(x), grid=ArbitraryGrid(jnp.linspace(0.0, self.end, 8)))


def test_other_grids_are_extended_within_limits():
    enough, short = EvenlySpaced(5.6), EvenlySpaced(5.6)
    enough.end, short.end = 8.0, 0.01
    found = stationary_equilibrium(enough)
    assert found.succeeded
    assert found.stats["extended"] >= 1
    assert found.stats["max_assets"] == pytest.approx(8.0 * 2 ** found.stats["extended"], rel=0.05)
    with pytest.raises(ValueError, match=r"different signs .*; households gather at the end .* \(max_assets\)"):
        stationary_equilibrium(short)


def test_extended_grids_are_as_dense(double):
    for grid in (GeometricGrid(20, 1.0, 9.0, 0.5), ArbitraryGrid(GeometricGrid(20, 1.0, 9.0, 0.5).points())):
        longer = grid.extended(4.0)
        points, more = np.asarray(grid.points()), np.asarray(longer.points())
        np.testing.assert_allclose(more[:20], points, rtol=1e-12)
        assert 33.0 <= more[-1] < 33.0 + np.diff(more)[-1]
        np.testing.assert_allclose(np.diff(more)[1:] / np.diff(more)[:-1], np.diff(points)[1] / np.diff(points)[0])
    with pytest.raises(ValueError, match="factor - 1 must be finite and above 0"):
        GeometricGrid(20, 1.0, 9.0).extended(1.0)


def test_failed_solves_are_named_not_used(monkeypatch):
    """At the first value of the unknown at which one fails; nothing is said of the bracket."""

    def hurried(household, **options):
        return optimal_saving(household, max_steps=2, **options)

    low, _ = SMALL.bracket()
    with monkeypatch.context() as patch:
        patch.setattr(_stationary_equilibrium, "optimal_saving", hurried)
        found = stationary_equilibrium(SMALL, throw=False)
        assert (found.result, found.unknown) == (EQUILIBRIUM_RESULTS.policy, low)
        with pytest.raises(RuntimeError, match=r"policy of the households did not converge. interest rate -0.2: "):
            stationary_equilibrium(SMALL)

    def missed(moves, **options):
        found = stationary(moves, **options)
        return LinearSolution(found.value, LINEAR_RESULTS.precision, found.stats)

    monkeypatch.setattr(_stationary_equilibrium, "stationary", missed)
    found = stationary_equilibrium(SMALL, throw=False)
    assert (found.result, found.unknown) == (EQUILIBRIUM_RESULTS.distribution, low)


def test_only_residuals_known_is_another_status(monkeypatch):
    def unproven(moves, **options):
        found = stationary(moves, **options)
        return LinearSolution(found.value, LINEAR_RESULTS.residual, {"residual": found.stats["residual"]})

    monkeypatch.setattr(_stationary_equilibrium, "stationary", unproven)
    found = stationary_equilibrium(SMALL)
    assert found.result is EQUILIBRIUM_RESULTS.residual
    assert not found.succeeded
    assert found.stats["mean_field_bound"] == math.inf


def test_the_root_is_bracketed():
    """And a grid that suffices is left alone."""
    found = stationary_equilibrium(SMALL)
    low, high = found.stats["bracket"]
    assert low <= found.unknown <= high
    assert high - low < 1e-3
    assert [found.stats[name] for name in ("extended", "max_assets", "num_assets")] == [0, 50.0, 40]


# The bound on the error of a policy.


def random_household(seed):
    """Few points, so that plain steps are quick; any discount, risk aversion, income and debt."""
    rng = np.random.default_rng(seed)
    m = int(rng.integers(1, 5))
    discount = 1 - 10.0 ** rng.uniform(-4, -0.3)
    gross = (1 - 10.0 ** rng.uniform(-6, -0.1)) / discount
    incomes = np.exp(rng.normal(size=m) * rng.choice([0.1, 1, 3]))
    chain = rng.dirichlet(np.full(m, rng.choice([0.05, 1])), size=m)
    limit = -0.5 * incomes.min() / max(gross - 1, 0.1) * rng.integers(0, 2)
    grid = GeometricGrid(int(rng.integers(3, 40)), 0.0, float(10.0 ** rng.uniform(-1, 4)), 10.0 ** rng.uniform(-3, 1))
    return Household(
        grid, float(limit), incomes, chain, float(gross - 1), discount, float(10.0 ** rng.uniform(-0.7, 2))
    )


def plain_steps(household, *, sign):
    """Monotone steps from far above or far below the solution: either limit of its enclosure."""
    with jax.enable_x64(True):
        problem = _household._Problem.of(household)
    spare = problem.cash - problem.assets[0]
    consumption = spare if sign > 0 else 1e-3 * household.least_spare + 1e-6 * (spare - spare.min())
    for _ in range(4_000):
        following = _household._step(problem, consumption).following
        if np.abs(following / consumption - 1).max() < 1e-15:
            break
        consumption = following
    return following


@pytest.mark.parametrize("seeds", [range(4), pytest.param(range(4, 104), marks=pytest.mark.slow)], ids=["few", "many"])
def test_bounds_of_policies_hold(seeds):
    """Against plain steps from above and below, which enclose every solution (see the module); and 1e-8 is reached."""
    for seed in seeds:
        household = random_household(seed)
        solved = optimal_saving(household)
        assert solved.succeeded, (seed, solved.stats)
        high, low = plain_steps(household, sign=1), plain_steps(household, sign=-1)
        slack = solved.stats["bound"] + 1e-14
        assert np.log(solved.consumption / high).max() <= slack, (seed, solved.stats)
        assert np.log(low / solved.consumption).max() <= slack, (seed, solved.stats)


@pytest.mark.parametrize("days", [7, *(pytest.param(days, marks=pytest.mark.slow) for days in (1, 30, 365))])
def test_short_periods_need_no_more_steps(days):
    """Plain steps need as many as there are periods in some decades."""
    discount = 0.96 ** (days / 365)
    grid = GeometricGrid(80, 0.0, 20_000.0 / days, 90.0 / days)
    incomes, chain = np.array([0.5, 1.5]), np.array([[1 - 1e-3 * days, 1e-3 * days], [2e-3 * days, 1 - 2e-3 * days]])
    household = Household(grid, 0.0, incomes, chain, 0.9 * (1 / discount - 1), discount, 3.0)
    solved = optimal_saving(household)
    assert solved.succeeded
    assert solved.stats["steps"] < 200


@pytest.mark.parametrize("scale", [1e-5, pytest.param(1.0, marks=pytest.mark.slow), 1e5])
def test_units_do_not_matter_at_any_risk_aversion(scale):
    """c^-80 overflows below c = 1e-4 and vanishes above 1e4."""
    small = dataclasses.replace(BORROWER, risk_aversion=80.0)
    grid = GeometricGrid(12, 0.0, 6.0 * scale, 0.25 * scale)
    scaled = dataclasses.replace(small, grid=grid, borrowing_limit=-0.5 * scale, incomes=small.incomes * scale)
    np.testing.assert_allclose(optimal_saving(scaled).savings / scale, optimal_saving(small).savings, atol=1e-9)


@pytest.mark.usefixtures("unchecked")
def test_numbers_of_numpy_are_parameters():
    """Of economies, incomes and grids, without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        numbers = {"discount": np.float64(0.98), "max_assets": np.array(50.0), "pivot": jnp.asarray(0.25)}
        income = Income(np.array([0.5, 1.5]), np.array([[0.9, 0.1], [0.1, 0.9]]))
        economy = Huggett(**numbers, num_assets=np.int64(40), income=income)
        assert economy == dataclasses.replace(SMALL, income=Income((0.5, 1.5), ((0.9, 0.1), (0.1, 0.9))))
        assert hash(economy) == hash(dataclasses.replace(economy))
        assert GeometricGrid(np.int32(5), np.float32(0), np.float64(3.0)) == GeometricGrid(5, 0.0, 3.0)
        assert stationary_equilibrium(economy).succeeded
        Aiyagari(max_assets=np.float64(100.0)).household(0.01).grid.points()
        AiyagariCalibration(max_assets=np.float64(100.0)).household(0.9).grid.points()
