"""Steady states of Aiyagari and Huggett economies against plain NumPy and SciPy, on the grid that was used.

Nothing here comes from the package but the economies' parameters: prices, the endogenous grid method by plain steps,
the mean field by elimination without subtraction, and the root of the market are computed anew.
"""

import numpy as np
import pytest
import scipy.optimize

from structmfg.economies import Aiyagari, AiyagariCalibration, Huggett, Income
from structmfg.solvers import stationary_equilibrium


def policy(assets, income, chain, gross, discount, sigma, start):
    """Savings by plain steps, until nothing changes any more."""
    cash = gross * assets[:, None] + income
    consumption = np.minimum(0.95 * (cash - assets[0]), 0.05 * (cash - assets[0]) + 0.8) if start is None else start
    for _ in range(400_000):
        least = consumption.min(1)[:, None]
        expected = (consumption / least) ** -sigma @ chain.T
        before = least * (discount * gross * expected) ** (-1 / sigma)
        at = before + assets[:, None]
        following = np.stack([np.interp(cash[:, e], at[:, e], before[:, e]) for e in range(len(income))], 1)
        limited, ended = cash < at[0], cash > at[-1]
        following = np.where(limited, cash - assets[0], np.where(ended, cash - assets[-1], following))
        change = np.abs(following / consumption - 1).max()
        consumption = following
        if change < 2e-14:
            return cash - consumption, consumption
    raise AssertionError(f"steps still change consumption by {change}")


def elimination(transition):
    """The stationary distribution of a dense matrix by Grassmann, Taksar & Heyman (1985), the last state first."""
    p, n = transition.copy(), len(transition)
    for k in range(n - 1, 0, -1):
        total = p[k, :k].sum()
        if total > 0:  # or the state is never entered from below
            p[:k, k] /= total
            rows = np.flatnonzero(p[:k, k])
            p[rows, :k] += np.outer(p[rows, k], p[k, :k])
    mass = np.zeros(n)
    mass[0] = 1
    for k in range(1, n):
        mass[k] = mass[:k] @ p[:k, k]
    return mass / mass.sum()


def mean_assets(assets, savings, chain):
    n, m = savings.shape
    low = np.clip(np.searchsorted(assets, savings, side="right") - 1, 0, n - 2)
    weight = np.clip((savings - assets[low]) / (assets[low + 1] - assets[low]), 0, 1)
    transition = np.zeros((n, m, n, m))
    for i in range(n):
        for e in range(m):
            transition[i, e, low[i, e]] += (1 - weight[i, e]) * chain[e]
            transition[i, e, low[i, e] + 1] += weight[i, e] * chain[e]
    return elimination(transition.reshape(n * m, n * m)).reshape(n, m).sum(1) @ assets


def steady_state(economy, found):
    """The unknown and mean assets, on the grid that the equilibrium names."""
    top, count = found.stats["max_assets"], found.stats["num_assets"]
    least, pivot, sigma = economy.borrowing_limit, economy.pivot, economy.risk_aversion
    assets = least + np.geomspace(pivot, top - least + pivot, count) - pivot
    levels, chain = np.array(economy.income.levels), np.array(economy.income.transition)
    law = np.linalg.matrix_power(chain, 2**24)[0]
    labour, last = law @ levels, {"start": None}

    def prices(x):
        """Interest, wage, discount, supply."""
        if isinstance(economy, Huggett):
            return x, 1.0, economy.discount, economy.bond_supply
        alpha, delta = economy.capital_share, economy.depreciation
        if isinstance(economy, AiyagariCalibration):
            supply = alpha * economy.output / (economy.interest + delta)
            return economy.interest, (1 - alpha) * economy.output / labour, x, supply
        ratio = (alpha * economy.productivity / (x + delta)) ** (1 / (1 - alpha))
        return x, (1 - alpha) * economy.productivity * ratio**alpha, economy.discount, ratio * labour

    def excess(x):
        interest, wage, discount, supply = prices(x)
        savings, last["start"] = policy(assets, wage * levels, chain, 1 + interest, discount, sigma, last["start"])
        last["assets"] = mean_assets(assets, savings, chain)
        return (last["assets"] - supply) / wage

    width = 1e-4 * (1 if isinstance(economy, AiyagariCalibration) else 1 / economy.discount - 1)
    x = scipy.optimize.brentq(excess, found.unknown - width, found.unknown + width, xtol=1e-16, rtol=1e-14)
    excess(x)
    return x, last["assets"]


def shorter(periods, **changes):
    """Aiyagari's economy with so many periods a year; incomes keep their law in calendar time."""
    parameters = {
        "discount": 0.96 ** (1 / periods),
        "depreciation": 1 - 0.92 ** (1 / periods),
        "income": Income.rouwenhorst(3, 0.6 ** (1 / periods), 0.2),
        "num_assets": 80,
        "max_assets": 100.0 * periods,
        "pivot": 0.25 * periods,
    }
    return Aiyagari(**{**parameters, **changes})


SUPERSTAR = Income((0.3, 1.0, 60.0), ((0.95, 0.0495, 0.0005), (0.03, 0.9695, 0.0005), (0.05, 0.05, 0.9)))

QUICK = {
    "risk aversion 40": (shorter(1, risk_aversion=40.0), 0),
    "a month": (shorter(12), 1),
}
SLOW = {
    **{f"risk aversion {s:g}": (shorter(1, risk_aversion=s, num_assets=150), 0) for s in (5.0, 20.0, 80.0)},
    "a quarter": (shorter(4, num_assets=150), 1),
    "a month, a finer grid": (shorter(12, num_assets=150, max_assets=3000.0), 0),
    "a week": (shorter(52), 1),
    "a week at risk aversion 20": (shorter(52, risk_aversion=20.0), 1),
    "Huggett at risk aversion 40": (Huggett(risk_aversion=40.0, num_assets=120), 0),
    "Huggett, debt": (Huggett(borrowing_limit=-2.0, num_assets=120, bond_supply=0.5), 0),
    "calibration at risk aversion 20": (AiyagariCalibration(risk_aversion=20.0, num_assets=100), 0),
    "superstars": (Aiyagari(income=SUPERSTAR, num_assets=120), 1),
}


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_capital_agrees(name):
    """The unknown and capital, to 1e-5; and the grid was extended only where it had to be."""
    economy, extended = {**QUICK, **SLOW}[name]
    found = stationary_equilibrium(economy)
    assert found.succeeded
    assert found.stats["market_residual"] <= 1e-8
    assert (found.stats["extended"] > 0) == bool(extended), found.stats
    unknown, capital = steady_state(economy, found)
    assert found.unknown == pytest.approx(unknown, rel=1e-7, abs=1e-9)
    assert found.aggregates["assets"] == pytest.approx(capital, rel=1e-5)
