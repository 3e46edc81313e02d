"""How often the statistical checks find what is wrong, and how often they raise a false alarm."""

import functools

import jax
import numpy as np
import pytest
from helpers.wrong_games import Wrong
from scipy.special import gammaln, xlogy
from scipy.stats import binom, binomtest, chi2, kstest, multinomial
from test_populations import LEVEL, around

import structmfg as smfg
from structmfg.verification import populations
from structmfg.verification.populations import simulate_independent_agents
from structmfg.verification.populations._multinomial import MIN_EXPECTED, multinomial_p_values

SEEDS = 20


@functools.cache
def tails(cells, num_draws, bins=4000, top=80.0):
    """P(G / 2 >= x) at x on a grid of `bins` up to `top`, exact but for the grid, by recursion over the cells.

    G / 2 is a sum of x log(x / e) - x + e >= 0 over cells that are Poisson given their total.
    """
    mass = np.zeros((num_draws + 1, bins + 1))  # by draws used and value reached
    mass[0, 0] = 1
    drawn = np.arange(num_draws + 1)
    for probability in cells:
        expected = num_draws * probability
        weights = np.exp(xlogy(drawn, expected) - expected - gammaln(drawn + 1))
        steps = np.rint((xlogy(drawn, drawn / expected) - drawn + expected) / top * bins).astype(int)
        following = np.zeros_like(mass)
        for k in np.flatnonzero(weights > 1e-18):
            step, before = min(steps[k], bins), mass[: num_draws + 1 - k]
            following[k:, step:] += weights[k] * before[:, : bins + 1 - step]
            following[k:, bins] += weights[k] * before[:, bins + 1 - step :].sum(1)
        mass = following
    return np.cumsum((mass[-1] / mass[-1].sum())[::-1])[::-1]


@pytest.mark.parametrize("cells", [(0.25,) * 4, (0.1, 0.1, 0.8), (0.125,) * 8])
def test_p_values_are_honest_far_out(cells):
    """At the least that a cell may expect, the probability of p <= alpha is at most 1.6 alpha, down to 1e-8."""
    num_draws, size = round(MIN_EXPECTED / min(cells)), len(cells)
    williams = 1 + (sum(1 / p for p in cells) - 1) / (6 * num_draws * (size - 1))
    for alpha in 10.0 ** -np.arange(2, 9):
        reached = tails(cells, num_draws)[round(chi2.isf(alpha, size - 1) * williams / 2 / 80 * 4000)]
        assert 0.3 * alpha <= reached <= 1.6 * alpha


@pytest.mark.parametrize(
    ("num_draws", "cells", "most"),
    [
        (20, (0.5, 0.5), 1),
        (25, (0.6, 0.4), 1),
        (200, (0.05, 0.95), 1),
        (46, (1 / 3,) * 3, 3.2),
        (100, (0.1, 0.1, 0.8), 3.2),
    ],
)
def test_p_values_are_honest_for_every_outcome(num_draws, cells, most):
    """The probability of p <= alpha at every value that p takes: with two cells at most alpha, but not far below."""
    some = np.indices((num_draws + 1,) * (len(cells) - 1)).reshape(len(cells) - 1, -1).T
    some = some[some.sum(1) <= num_draws]
    counts = np.column_stack([some, num_draws - some.sum(1)])
    p_values = multinomial_p_values(counts, np.tile(cells, (len(counts), 1)), num_draws)
    order = np.argsort(p_values)
    values, reached = p_values[order], np.cumsum(multinomial.pmf(counts, num_draws, cells)[order])
    last = np.diff(np.log(values), append=0) > 1e-9  # of equal values
    ratios = (reached / values)[last & (values > 1e-10) & (values < 0.05)]
    assert 0.5 * most < ratios.max() <= most * (1 + 1e-9)


def test_the_statistic_is_g():
    """By hand, pooled and unpooled, and what must be impossible."""
    p = np.array([[0.5, 0.3, 0.2]])
    g = 2 * (60 * np.log(60 / 50) + 20 * np.log(20 / 30))
    factor = 1 + (1 / 0.5 + 1 / 0.3 + 1 / 0.2 - 1) / (6 * 100 * 2)
    assert multinomial_p_values(np.array([[60, 20, 20]]), p, 100) == pytest.approx(chi2.sf(g / factor, 2))
    small = np.array([[0.3, 0.4, 0.24, 0.06]])  # the last joins the third
    g = 2 * (40 * np.log(40 / 30) + 36 * np.log(36 / 40) + 24 * np.log(24 / 30))
    factor = 1 + (1 / 0.3 + 1 / 0.4 + 1 / 0.3 - 1) / (6 * 100 * 2)
    assert multinomial_p_values(np.array([[40, 36, 21, 3]]), small, 100) == pytest.approx(chi2.sf(g / factor, 2))
    small = np.array([[0.5, 0.44, 0.06]])  # two are left, whose distribution is the binomial one
    for counts in ([60, 35, 5], [40, 55, 5]):
        found = multinomial_p_values(np.array([counts]), small, 100)
        assert found == pytest.approx(binomtest(60, 100, 0.5).pvalue, rel=1e-12)
    pool = np.array([[0.88, 0.06, 0.06, 0.0]])  # two small ones make one
    assert multinomial_p_values(np.array([[88, 12, 0, 0]]), pool, 100) == pytest.approx(1)
    assert multinomial_p_values(np.array([[88, 6, 5, 1]]), pool, 100) == 0  # where the probability is zero
    assert multinomial_p_values(np.array([[88, 6, 5, 0]]), pool, 100) == 0  # one is missing
    assert multinomial_p_values(np.array([[0, 100]]), np.array([[np.nan, 1]]), 100) == 0


def p_value(result):
    return 10**-result.value


def of_seeds(game, num_seeds, *, level=LEVEL, num_agents=20_000, num_draws=1000):
    """The checks of every seed: lists by name, and the p-values of the last time's counts."""
    policy, noise = around(game)
    found, last = {"transitions": [], "counts": [], "returns": []}, []
    for key in jax.random.split(jax.random.key(7), num_seeds):
        lives, moves = jax.random.split(key)
        lived = simulate_independent_agents(game, policy, noise, num_agents=num_agents, key=lives)
        some = jax.tree.map(lambda x: x[2:3], lived.trajectory.aggregates)
        results = [
            populations.transitions(game, some, key=moves, level=level, num_draws=num_draws),
            populations.counts(lived, level=level),
            populations.returns(game, lived, level=level),
        ]
        for name, result in zip(found, results, strict=True):
            found[name].append(result)
        last.append(lived.p_values()[-1])
    return found, np.array(last)


def power(results):
    """The fraction rejected."""
    return np.mean([not result.passed for result in results])


# The least that must be found, of 20 seeds, with so many agents and draws, at a level of 1e-6.
POWERS = [
    ("transposed", {"transitions": 1, "counts": 1}),
    ("expects", {"returns": 1}),
    ("shifted", {"transitions": 1, "counts": 1, "returns": 1}),
    ("wrapped", {"transitions": 1, "counts": 1}),
    ("twice", {"transitions": 1, "counts": 1}),
    ("row", {"transitions": 0.9}),
    ("slight", {"counts": 0.9}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "least"), POWERS, ids=lambda x: x if isinstance(x, str) else "")
def test_power(fault, least):
    sizes = {"num_agents": 300_000, "num_draws": 4000} if fault == "slight" else {}
    found, _ = of_seeds(Wrong(fault=fault), SEEDS, **sizes)
    print(fault, {name: float(power(results)) for name, results in found.items()})
    for name, fraction in least.items():
        assert power(found[name]) >= fraction, (name, power(found[name]))


def few(found, level, num_seeds):
    """Whether no check has more false alarms than the level leads to, with probability 1 - 1e-4."""
    alarms = {name: int(sum(not r.passed for r in results)) for name, results in found.items()}
    print({name: f"{number} of {num_seeds} at {level}" for name, number in alarms.items()})
    return max(alarms.values()) <= binom.isf(1e-4, num_seeds, level)


@pytest.mark.slow
def test_false_alarms():
    """At a level of 5 %. The p-values of a G test are uniform; those of Bernstein's inequality are bounds."""
    found, last = of_seeds(
        smfg.games.make("linear_quadratic", num_states=15, horizon=5, first=1, last=3), 300, level=0.05
    )
    assert few(found, 0.05, 300)
    of_returns = np.array([p_value(r) for r in found["returns"]])
    print(kstest(last, "uniform").pvalue, np.quantile(of_returns, [0.01, 0.1, 0.5]))
    assert kstest(last, "uniform").pvalue > 1e-3
    assert kstest(of_returns, "uniform", alternative="greater").pvalue > 1e-3  # nowhere too many small ones
    assert np.mean(of_returns < 1) > 0.2  # and the bound is not empty


def test_false_alarms_of_transitions():
    """Pairs are independent of each other, so one call gives a sample of p-values."""
    game = smfg.games.make("linear_quadratic", num_states=99)
    aggregate = game.aggregate(mean_field=np.full(99, 1 / 99), noise=1, time=3)
    p_values, _ = populations._agents._transitions_at(game, aggregate, 693, 4000, jax.random.key(2))
    print(kstest(p_values, "uniform").pvalue)
    assert len(p_values) == 693
    assert kstest(p_values[p_values < 1], "uniform").pvalue > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["beach_bar", "linear_quadratic", "macro"])
def test_false_alarms_at_full_size(name):
    game = smfg.games.make(name)
    found, last = of_seeds(game, 100, level=0.05, num_agents=10**5)
    assert few(found, 0.05, 100)
    print(kstest(last, "uniform").pvalue)
    assert kstest(last, "uniform").pvalue > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(("name", "parameters"), [("beach_bar", {}), ("macro", {"noise_states": 3, "horizon": 8})])
def test_false_alarms_of_noise(name, parameters):
    game = smfg.games.make(name, **parameters)
    keys = jax.random.split(jax.random.key(5), 100)
    found = {"noise": [populations.noise(game, key=key, level=0.05, num_paths=5000) for key in keys]}
    assert few(found, 0.05, 100)


@pytest.mark.parametrize("num_draws", [30, 600, 6000, 60000])
def test_counts_that_are_just_as_expected_are_no_evidence(num_draws):
    probabilities = np.array([[1 / 2, 1 / 2, 0], [1 / 3, 1 / 6, 1 / 2], [0.1, 0.2, 0.7], [1, 0, 0]])
    p_values = multinomial_p_values((probabilities * num_draws).round().astype(int), probabilities, num_draws)
    np.testing.assert_allclose(p_values, 1)
