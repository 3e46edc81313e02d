"""Stationary equilibria of Huggett and Aiyagari economies: published figures, plain NumPy, residuals, bad input."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_economies_independent import policy as plain_policy

from structmfg.economies import (
    Aiyagari,
    AiyagariCalibration,
    Economy,
    Household,
    Huggett,
    Income,
    _stationary_equilibrium,
)
from structmfg.games import tauchen
from structmfg.operators import GeometricGrid, KroneckerOperator, LotteryKernel
from structmfg.solvers import EQUILIBRIUM_RESULTS, LINEAR_RESULTS, optimal_saving, resolvent, stationary_equilibrium

SMALL = Huggett(num_assets=40)
operator = jax.jit(lambda household, savings: household.operator(savings).explicit())


def check_huggett(found):
    """Interest rate and mass without assets by income, from an independent implementation of the same grid."""
    masses = found.mean_field.reshape(found.savings.shape)[0]
    assert found.unknown == pytest.approx(0.0056214, abs=1e-7)
    np.testing.assert_allclose(masses, [0.116807, 0.004040, 0.0000349], rtol=1e-4, atol=5e-8)


def check_residuals(found):
    assert found.succeeded
    assert found.stats["market_residual"] <= 1e-8
    assert found.stats["stationarity_residual"] <= 1e-14
    assert found.stats["policy_residual"] <= 1e-12
    assert found.stats["top_mass"] < 1e-12
    assert found.aggregates["savings"] == pytest.approx(found.aggregates["assets"], rel=1e-10)
    dividend = found.household.interest * found.aggregates["assets"]
    assert found.aggregates["consumption"] == pytest.approx(found.aggregates["income"] + dividend, rel=1e-10)


def test_huggett():
    found = stationary_equilibrium(Huggett())
    check_huggett(found)
    check_residuals(found)
    assert found.stats["euler_error"] < 1e-6
    np.testing.assert_allclose(Huggett().income.levels, [0.43622974, 0.88472407, 1.79432213], atol=1e-8)


def test_krusell_smith_calibration():
    """The steady state of sequence-jacobian's Krusell-Smith notebook; and the economy it calibrates leads back."""
    calibration = AiyagariCalibration()
    found = stationary_equilibrium(calibration)
    check_residuals(found)
    assert found.unknown == pytest.approx(0.981952788061795, rel=1e-8)
    expected = {"capital": 3.142857142857143, "wage": 0.89, "output": 1, "productivity": 0.8816460975214567}
    expected |= {"assets": 3.142857142857143, "consumption": 0.92142857142857, "supply": 3.142857142857143}
    for name, value in expected.items():
        assert found.aggregates[name] == pytest.approx(value, rel=1e-8), name
    assert found.mean_field.reshape(found.savings.shape)[0].sum() == pytest.approx(0.2108, abs=5e-5)
    economy = calibration.economy(found.unknown)
    back = stationary_equilibrium(economy, bracket=(0.008, 0.012))
    assert back.unknown == pytest.approx(0.01, abs=1e-9)
    assert back.aggregates["output"] == pytest.approx(1, rel=1e-8)


@pytest.mark.parametrize(
    ("risk_aversion", "interest", "saving_rate"),
    [(1.0, 4.0912, 23.82), pytest.param(3.0, 3.8767, 24.25, marks=pytest.mark.slow)],
)
def test_aiyagari(risk_aversion, interest, saving_rate):
    """Table II A of Aiyagari (1994), in per cent, at persistence .6: his own error is about a hundredth."""
    income = Income.of_logs(*tauchen(7, 0.6, 0.2 * math.sqrt(1 - 0.6**2)))
    found = stationary_equilibrium(Aiyagari(risk_aversion=risk_aversion, income=income))
    check_residuals(found)
    assert 100 * found.unknown == pytest.approx(interest, abs=0.01)
    rate = 100 * 0.08 * found.aggregates["capital"] / found.aggregates["output"]
    assert rate == pytest.approx(saving_rate, abs=0.02)


# Independent twins in plain NumPy, for a borrower with three incomes.

BORROWER = Household(
    GeometricGrid(12, 0.0, 6.0),
    -0.5,
    np.array([0.5, 1.0, 1.6]),
    np.array([[0.7, 0.25, 0.05], [0.2, 0.5, 0.3], [0.05, 0.15, 0.8]]),
    0.02,
    0.94,
    1.5,
)


def twin_policy(household):
    """Assets and savings, by plain steps of the endogenous grid method."""
    assets, gross = household.borrowing_limit + np.geomspace(0.25, 6.25, 12) - 0.25, 1 + household.interest
    parameters = (gross, household.discount, household.risk_aversion)
    return assets, plain_policy(assets, household.incomes, household.chain, *parameters, start=None)[0]


def twin_euler_error(household, assets, savings):
    consumption = (1 + household.interest) * assets[:, None] + household.incomes - savings
    errors = []
    for i, e in zip(*np.nonzero((savings > assets[0]) & (savings < assets[-1])), strict=True):
        after = [np.interp(savings[i, e], assets, consumption[:, f]) for f in range(3)]
        marginal = sum(household.chain[e, f] * after[f] ** -household.risk_aversion for f in range(3))
        implied = (household.discount * (1 + household.interest) * marginal) ** (-1 / household.risk_aversion)
        errors.append(abs(1 - implied / consumption[i, e]))
    return max(errors)


def twin_matrix(household, assets, savings):
    """The dense transition matrix: assets first, by lottery, and income afterwards."""
    matrix = np.zeros((36, 36))
    for i in range(12):
        for e in range(3):
            upper = int(np.clip(np.sum(assets <= savings[i, e]), 1, 11))
            weight = (savings[i, e] - assets[upper - 1]) / (assets[upper] - assets[upper - 1])
            for f in range(3):
                matrix[3 * i + e, 3 * (upper - 1) + f] += (1 - weight) * household.chain[e, f]
                matrix[3 * i + e, 3 * upper + f] += weight * household.chain[e, f]
    return matrix


def test_against_loops():
    """Policy, operator, and the eigenvector of the dense matrix; at a supply that makes the twin's assets clear."""
    assets, savings = twin_policy(BORROWER)
    solved = optimal_saving(BORROWER)
    assert solved.succeeded
    np.testing.assert_allclose(solved.savings, savings, atol=1e-11)
    assert (savings[0] == -0.5).any(), "the borrowing limit binds somewhere"
    assert solved.stats["euler_error"] == pytest.approx(twin_euler_error(BORROWER, assets, savings), rel=1e-6)
    matrix = twin_matrix(BORROWER, assets, savings)
    with jax.enable_x64(True):
        np.testing.assert_allclose(operator(BORROWER, solved.savings).as_dense(), matrix, atol=1e-11)
    eigenvalues, vectors = np.linalg.eig(matrix.T)
    mass = vectors[:, np.abs(eigenvalues - 1).argmin()].real
    mass /= mass.sum()
    found = stationary_equilibrium(Own(supplied=float(mass @ np.repeat(assets, 3))), bracket=(-0.1, 0.05))
    assert found.unknown == pytest.approx(0.02, abs=1e-8)
    np.testing.assert_allclose(found.mean_field, mass, atol=1e-7)


@dataclasses.dataclass(frozen=True)
class Own(Economy):
    """An economy of one's own: a dozen lines."""

    supplied: float = 1.0
    unknown = "interest rate"

    def bracket(self):
        return -0.1, 0.05

    def household(self, x):
        return dataclasses.replace(BORROWER, interest=x)

    def supply(self, x):
        return self.supplied


def policy_iteration(household):
    """The next asset must be a grid point: exact policy iteration, by solves with I - beta A."""
    assets, cash = np.asarray(household.assets), np.asarray(household.cash)
    choice, sigma = np.zeros(cash.shape, int), household.risk_aversion

    def utility(consumption):
        return np.where(consumption > 0, np.maximum(consumption, 1e-9) ** (1 - sigma) / (1 - sigma), -np.inf)

    for _ in range(100):
        rewards = utility(cash - assets[choice]).ravel()
        values = resolvent(operator(household, assets[choice]), rewards, household.discount, method="direct").value
        expected = np.asarray(values).reshape(cash.shape) @ household.chain.T
        totals = utility(cash[:, :, None] - assets) + household.discount * expected.T
        if (totals.argmax(2) == choice).all():
            return assets[choice], np.asarray(values)
        choice = totals.argmax(2)
    raise AssertionError("policy iteration did not end")


def test_policy_iteration_agrees(double):
    """Savings within the width of the grid there, and the same value to the second order of it."""
    household = dataclasses.replace(BORROWER, grid=GeometricGrid(150, 0.0, 6.0))
    discrete, best = policy_iteration(household)
    solved = optimal_saving(household)
    assets = np.asarray(household.assets)
    width = np.diff(assets)[np.clip(np.searchsorted(assets, discrete), 0, 148)]
    assert (np.abs(solved.savings - discrete) <= 1.5 * width).all()
    utility = solved.consumption**-0.5 / -0.5
    values = resolvent(operator(household, solved.savings), utility.ravel(), household.discount, method="direct").value
    np.testing.assert_allclose(values, best, rtol=1e-3)
    assert (np.asarray(values) > best - 1e-10).mean() > 0.9, "any saving is better than saving on the grid"


def test_precision_does_not_matter(precision):
    """Single precision around a solve leaves it alone."""
    found = stationary_equilibrium(SMALL)
    with jax.enable_x64(True):
        again = stationary_equilibrium(SMALL)
    assert found.unknown == again.unknown
    for array in (found.savings, found.consumption, found.mean_field):
        assert array.dtype == np.float64
    np.testing.assert_array_equal(found.mean_field, again.mean_field)
    assert jnp.zeros(1).dtype == precision


def test_euler_error_falls_with_the_grid():
    """By less than the square of its width, as the kink at the borrowing limit moves about between grid points."""
    errors = [optimal_saving(Huggett(num_assets=n).household(0.005)).stats["euler_error"] for n in (50, 400)]
    assert errors[0] > 20 * errors[1] > 0


def lottery(household, savings, *, swapped=False):
    index, weight = household.grid.lottery(jnp.asarray(savings).reshape(-1, 1))
    weight = 1 - weight if swapped else weight
    return LotteryKernel(household.grid.num_points, index, weight).under(jnp.ones(index.shape))


def income(household, *, transposed=False):
    chain = household.chain.T / household.chain.sum(0)[:, None] if transposed else household.chain
    return KroneckerOperator(household.grid.num_points * len(household.incomes), jnp.asarray(chain))


OPERATORS = {
    "right": lambda household, savings: lottery(household, savings) @ income(household),
    "transposed": lambda household, savings: lottery(household, savings) @ income(household, transposed=True),
    "swapped": lambda household, savings: lottery(household, savings, swapped=True) @ income(household),
    "income first": lambda household, savings: income(household) @ lottery(household, savings),
}


def build(operator):
    return jax.jit(lambda household, savings: operator(household, savings).explicit())


@pytest.mark.parametrize("name", OPERATORS)
def test_a_wrong_operator_is_seen(name, monkeypatch):
    """Each of the usual mistakes moves the figures of `check_huggett`."""
    monkeypatch.setattr(_stationary_equilibrium, "_operator", build(OPERATORS[name]))
    found = stationary_equilibrium(Huggett(), bracket=(-0.05, 0.012), throw=False)
    if name == "right":
        return check_huggett(found)
    with pytest.raises(AssertionError):
        check_huggett(found)


def test_wrong_timing_is_seen(monkeypatch):
    """Households that expect the income of the period after next."""

    def hasty(household, **options):
        chain = household.chain @ household.chain
        return optimal_saving(dataclasses.replace(household, chain=chain), **options)

    monkeypatch.setattr(_stationary_equilibrium, "optimal_saving", hasty)
    with pytest.raises(AssertionError):
        check_huggett(stationary_equilibrium(Huggett(), bracket=(-0.05, 0.015), throw=False))


# Statuses and bad input.


def test_statuses():
    short = stationary_equilibrium(dataclasses.replace(SMALL, max_assets=8.0), extend=False, throw=False)
    assert short.result is EQUILIBRIUM_RESULTS.truncated
    assert short.stats["top_mass"] > 1e-3
    assert not short.succeeded
    with pytest.raises(RuntimeError, match=r"assets \(max_assets\) or .* must reach further"):
        stationary_equilibrium(dataclasses.replace(SMALL, max_assets=8.0), extend=False)
    early = stationary_equilibrium(SMALL, max_steps=3, throw=False)
    assert early.result is EQUILIBRIUM_RESULTS.market
    assert early.stats["steps"] == 3
    assert early.stats["market_residual"] > 1e-8
    assert stationary_equilibrium(Own(math.nan), throw=False).result is EQUILIBRIUM_RESULTS.nonfinite
    hurried = optimal_saving(BORROWER, max_steps=2)
    assert hurried.stats["steps"] == 2
    assert hurried.result == LINEAR_RESULTS.max_steps
    assert not hurried.succeeded
    assert hurried.stats["residual"] > 1e-6


def test_no_root_names_the_excess_at_both_ends():
    """Without risk, impatient households hold nothing."""
    safe = dataclasses.replace(SMALL, income=Income((1.0,), ((1.0,),)))
    with pytest.raises(ValueError, match=r"at -0.05 it is -5.6 and at 0.01 it is -5.6 times.*interest rate"):
        stationary_equilibrium(safe, bracket=(-0.05, 0.01))


def own_household(**changes):
    return optimal_saving(dataclasses.replace(BORROWER, **changes))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Huggett(discount=1.2), r"discount must lie in \(0, 1\], but is 1.2"),
        (lambda: Huggett(risk_aversion=0.0), "risk_aversion must be finite and above 0, but is 0.0"),
        (lambda: Huggett(borrowing_limit=1.0), "borrowing_limit must be finite and at most 0, but is 1.0"),
        (lambda: Huggett(num_assets=2), "num_assets must be a whole number of at least 3, but is 2"),
        (lambda: Huggett(bond_supply=60.0), r"bond_supply must lie in \(0, 50\], but is 60.0"),
        (lambda: Huggett(bond_supply=0.0), "but is 0.0"),
        (lambda: Aiyagari(capital_share=1.0), "1 - capital_share must be finite and above 0, but is 0.0"),
        (lambda: Aiyagari(depreciation=0.0), r"depreciation must lie in \(0, 1\]"),
        (lambda: AiyagariCalibration(interest=-0.03), r"interest \+ depreciation must be finite and above 0"),
        (lambda: Aiyagari().supply(-0.08), r"interest \+ depreciation must be finite and above 0"),
        (lambda: Income((1.0, 0.0), ((0.5, 0.5), (0.5, 0.5))), "every level of income must be finite and above 0"),
        (lambda: Income((1.0, 2.0), ((1.0,),)), r"2 rows of 2 transitions, but rows have \[1\]"),
        (lambda: Income((1.0, 2.0), ((0.5, 0.4), (0.5, 0.5))), "must be nonnegative and sum to 1"),
        (lambda: Income((1.0, 2.0), ((1.0, 0.0), (0.0, 1.0))), "several closed classes"),
        (lambda: Income.rouwenhorst(3, 1.0, 0.5), "persistence must lie in"),
        (lambda: own_household(interest=0.07), r"must be below 1, .* but it is 1.0058 at discount 0.94 and .* 0.07"),
        (lambda: own_household(borrowing_limit=-30.0), "at the borrowing limit -30, the least income 0.5 must exceed"),
        (lambda: own_household(interest=-1.5), r"1 \+ interest must be finite and above 0"),
        (lambda: own_household(chain=BORROWER.chain[:2]), r"shapes \(m,\) and \(m, m\), but have \(3,\) and \(2, 3\)"),
        (
            lambda: own_household(chain=0.9 * BORROWER.chain),
            "transition probabilities of income must be nonnegative and",
        ),
        (lambda: optimal_saving(BORROWER, tolerance=0.0), "tolerance must be finite and above 0"),
        (lambda: optimal_saving(BORROWER, initial=np.ones((3, 12))), r"initial must have shape \(12, 3\)"),
        (lambda: stationary_equilibrium(SMALL, bracket=(0.0, 0.03)), r"below 1, or assets grow without bound"),
        (lambda: stationary_equilibrium(SMALL, bracket=(0.01, 0.0)), r"but is \(0.01, 0.0\)"),
        (lambda: stationary_equilibrium(SMALL, max_steps=2), "max_steps must be a whole number of at least 3"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_default_bracket_respects_the_natural_limit():
    """The least income covers the interest on the debt at both ends, whether or not the wage depends on it."""
    poor = Income((1.0, 0.1), ((0.925, 0.075), (0.5, 0.5)))
    for economy in (Huggett(borrowing_limit=-20.0, income=poor), Aiyagari(borrowing_limit=-20.0, income=poor)):
        low, high = economy.bracket()
        assert economy.household(low).validate().least_spare > 0
        assert 0 < economy.household(high).validate().least_spare < 1e-6
        assert high < 1 / economy.discount - 1
