"""The games that declare what the population does: `epidemic` and `trade_crowding`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import structmfg as smfg
from structmfg.evaluation import exploitability, rollout
from structmfg.policies import uniform
from structmfg.solvers import ExactEquilibrium, solve


@pytest.fixture(scope="module")
def short():
    """A certified equilibrium on a short tree."""
    severe = {"contagion": (0.3, 1.2), "recovery": 0.25, "illness": 3.0, "infected": 0.02}
    game = smfg.games.make("epidemic", horizon=6, num_levels=5, **severe)
    solution = solve(game, ExactEquilibrium(tolerance=1e-6), max_steps=500)
    return game, solution


def test_epidemic_has_a_certified_equilibrium(short):
    game, solution = short
    assert solution.stats["exploitability"] <= 1e-6
    assert exploitability(game, solution.policy, kind="non_anticipative").value <= 1e-6
    assert exploitability(game, uniform(game), kind="non_anticipative").value > 0.1


def test_people_withdraw_where_contagion_is_high(short):
    """And the report tells of it a period late."""
    game, solution = short
    low, high = (rollout(game, solution.policy, jnp.full(7, z)).aggregates for z in (0, 1))
    assert (np.asarray(high.actions)[3:5, 1] < np.asarray(low.actions)[3:5, 1] - 0.1).all()
    prevalence = np.asarray(jax.vmap(game.prevalence)(high.mean_field))
    np.testing.assert_allclose(np.asarray(high.public)[1:], prevalence[:-1], rtol=1e-6)
    assert prevalence[2] > 1.2 * np.asarray(jax.vmap(game.prevalence)(low.mean_field))[2]


def closed_form(game, times):
    """The mean inventory of Cardaliaguet & Lehalle 2018 without a signal, at given times."""
    roots = np.roots([2 * game.trading_cost, game.impact, -2 * game.holding_cost])
    end = (game.trading_cost * roots + game.terminal_cost) * np.exp(roots * game.final_time)
    start = float(np.asarray(game.initial_mean_field(jnp.zeros((), int))) @ game.inventories)
    weights = np.linalg.solve(np.array([[1, 1], end]), [start, 0])
    return np.exp(np.multiply.outer(times, roots)) @ weights


@pytest.mark.parametrize(
    ("sizes", "error"),
    [
        ({"num_states": 121, "max_action": 6}, 0.02),
        pytest.param({"num_states": 241, "max_action": 8, "horizon": 40}, 0.008, marks=pytest.mark.slow),
    ],
)
def test_trade_crowding_tends_to_its_closed_form(sizes, error):
    """As cells and steps get smaller; twice as many of both leave less than half of the error."""
    game = smfg.games.make("trade_crowding", drift=0.0, **sizes)
    solution = solve(game, ExactEquilibrium(tolerance=1e-6), max_steps=500)
    path = rollout(game, solution.policy, game.scenarios().noise[0]).aggregates
    mean = np.asarray(path.mean_field) @ game.inventories
    times = np.linspace(0, game.final_time, game.horizon + 1)
    assert np.abs(mean - closed_form(game, times)).max() < error
    rate = np.asarray(path.actions)[:-1, 0]
    np.testing.assert_allclose(rate, np.diff(mean) / game.time_step, atol=1e-5)


def test_impact_makes_traders_unwind_faster():
    """Each expects the others to press the price down, and sells before they do."""
    means = []
    for impact in (0.0, 2.0):
        game = smfg.games.make("trade_crowding", drift=0.0, num_states=31, max_action=3, horizon=10, impact=impact)
        solution = solve(game, ExactEquilibrium(tolerance=1e-5), max_steps=500)
        path = rollout(game, solution.policy, game.scenarios().noise[0]).aggregates
        means.append(np.asarray(path.mean_field) @ game.inventories)
    assert means[1][5] < means[0][5] - 0.05


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("epidemic", {"contagion": (1.0,)}, "contagion must hold two rates"),
        ("epidemic", {"least_contact": 0.0}, "least_contact"),
        ("epidemic", {"num_levels": 1}, "num_levels"),
        ("trade_crowding", {"trading_cost": 0.0}, "trading_cost"),
        ("trade_crowding", {"mean_inventory": 9.0}, "mean_inventory"),
    ],
)
def test_bad_parameters_are_refused(name, parameters, message):
    with pytest.raises(ValueError, match=message):
        smfg.games.make(name, **parameters)
