"""`ExactEquilibrium(method="newton")`: closed forms, games that are not monotone, and projections."""

import jax.numpy as jnp
import numpy as np
import pytest

import structmfg as smfg
from structmfg.solvers import ExactEquilibrium, solve
from structmfg.solvers.exact._semismooth import projection
from structmfg.solvers.loop._tree_run import TreeRun


def rock_paper_scissors():
    """MFGLib's game, which is not monotone: one move to rock, paper or scissors, paid by the shares of the others."""
    kernel = np.broadcast_to(np.eye(4)[1:], (4, 3, 4))

    def reward(now, then):
        mu = now.mean_field
        by_state = jnp.stack([0 * mu[0], 2 * mu[3] - mu[2], 4 * mu[1] - 2 * mu[3], 6 * mu[2] - 3 * mu[1]])
        return jnp.broadcast_to(by_state[:, None], (4, 3))

    return smfg.games.from_arrays(kernel, reward, horizon=2, discount=1.0, initial=[1.0, 0, 0, 0])


@pytest.mark.usefixtures("double")
def test_a_game_that_is_not_monotone_has_its_closed_form(monkeypatch):
    """All three are worth 6/11 where mu = (26, 20, 31) / 77; mirror descent stays where it starts."""
    game = rock_paper_scissors()
    solution = solve(game, ExactEquilibrium(method="newton", tolerance=1e-13), max_steps=20)
    assert solution.result.name == "converged"
    mean_fields = smfg.solvers.rollout(game, solution.policy, game.scenarios().noise[0]).aggregates.mean_field
    np.testing.assert_allclose(mean_fields[1, 1:], np.array([26, 20, 31]) / 77, atol=1e-7)
    np.testing.assert_allclose(solution.stats["returns"][-1], 6 / 11, atol=1e-12)
    compiled, certify = [], TreeRun._certify
    monkeypatch.setattr(TreeRun, "_certify", lambda run, count: (compiled.append(count), certify(run, count))[1])
    both = solve(game, ExactEquilibrium(tolerance=1e-13), max_steps=2000)  # Newton's method where mirror descent fails
    assert both.result.name == "converged"
    assert compiled.count(0) == 2  # before the first step, and where Newton's method is added
    assert both.stats["certified"][9] == 200
    assert both.stats["exploitabilities"][9] > 0.1


@pytest.mark.usefixtures("double")
def test_common_noise():
    """On a tree of several nodes, against mirror descent."""
    noise = smfg.games.NoiseChain(np.array([0.0, 1.0]), np.array([0.3, 0.7]), np.array([[0.8, 0.2], [0.5, 0.5]]))
    kernel = np.random.default_rng(2).dirichlet(np.ones(3), (2, 3, 2))

    def reward(now, then):
        return -2.0 * jnp.log(now.mean_field[:, None] + 0.1) + jnp.array([0.0, 1.0]) * now.noise

    game = smfg.games.from_arrays(kernel, reward, horizon=3, discount=0.9, noise=noise, initial=[0.6, 0.3, 0.1])
    found = {}
    for method, steps in (("newton", 60), ("mirror", 4000)):
        tolerance = 1e-13 if method == "newton" else 1e-7
        found[method] = solve(game, ExactEquilibrium(method=method, tolerance=tolerance), max_steps=steps)
        assert found[method].result.name == "converged"
    # The game is monotone, and moves do not depend on the mean field: the equilibrium is unique.
    returns = [each.stats["returns"][-1] for each in found.values()]
    np.testing.assert_allclose(*returns, rtol=1e-5)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("settings", [{}, pytest.param({"illness": 2.0, "horizon": 60}, marks=pytest.mark.slow)])
def test_damped_best_responses_end_in_an_equilibrium_without_mixing(settings):
    """MFGLib's game, which is not monotone: the curve of soft equilibria alone is slow to lead below 0.01."""
    game = smfg.games.make("susceptible_infected", **settings)
    solution = solve(game, ExactEquilibrium(method="newton", tolerance=1e-12), max_steps=10)
    assert solution.result.name == "converged"
    table = np.asarray(smfg.solvers.rollout(game, solution.policy, game.scenarios().noise[0]).policy)
    assert np.all((table < 1e-9) | (table > 1 - 1e-9))
    assert 0 < np.mean(table[:-1, 0, 0]) < 1


def test_actions_that_are_not_allowed_are_never_taken():
    kernel = np.broadcast_to(np.eye(3), (3, 3, 3))
    allowed = np.array([[True, True, False], [True, True, True], [False, True, True]])

    def reward(now, then):
        return -now.mean_field[:, None] + jnp.array([0.0, 0.1, 0.3])

    game = smfg.games.from_arrays(kernel, reward, horizon=3, discount=1.0, allowed=allowed)
    solution = solve(game, ExactEquilibrium(method="newton", tolerance=1e-6), max_steps=60)
    assert solution.result.name == "converged"
    table = smfg.solvers.rollout(game, solution.policy, game.scenarios().noise[0]).policy
    assert float(jnp.max(jnp.where(allowed, 0, table))) == 0


def test_prices_and_actions_are_unknowns_too():
    """A game in which agents interact through what they do, by both methods."""
    game = smfg.games.make("left_right")
    solution = solve(game, ExactEquilibrium(method="newton", tolerance=1e-6), max_steps=60)
    assert solution.result.name == "converged"
    table = smfg.solvers.rollout(game, solution.policy, game.scenarios().noise[0]).policy
    np.testing.assert_allclose(table[0, 0], [2 / 3, 1 / 3], atol=1e-5)


def test_projections_are_the_nearest_distributions():
    """The angle between what leads to the projection and what leads from it to any vertex is obtuse."""
    points = np.random.default_rng(0).normal(size=(50, 4)) * np.logspace(-2, 2, 50)[:, None]
    nearest = np.asarray(projection(jnp.asarray(points)))
    assert (nearest >= 0).all()
    np.testing.assert_allclose(nearest.sum(-1), 1, atol=1e-5)
    away = points - nearest
    assert np.all(away - np.sum(away * nearest, axis=-1, keepdims=True) <= 1e-4 * np.abs(points).max(-1, keepdims=True))


def test_games_that_are_too_large_are_refused():
    game = smfg.games.make("crowd_modelling", num_states=120)
    with pytest.raises(ValueError, match="dense equations in 1320 unknowns"):
        solve(game, ExactEquilibrium(method="newton"), max_steps=1)
