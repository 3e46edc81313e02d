"""`predator_prey` with two and three populations: against plain NumPy, and certified on a small torus."""

import jax.numpy as jnp
import numpy as np
import pytest

import structmfg as smfg
from structmfg.evaluation import best_response, evaluate_paths
from structmfg.solvers import RESULTS, ExactEquilibrium, solve
from structmfg.verification.oracles import PredatorPrey, rollout


def test_two_populations_of_predator_prey_follow_numpy(double):
    game = smfg.games.make("predator_prey", num_populations=2, size=3, horizon=3, attraction=2.5, noise=0.3)
    table = np.random.default_rng(2).dirichlet(np.ones(5), (3, 18))
    expected = rollout(PredatorPrey(game), table, [0] * 4)
    along = evaluate_paths(game, table, jnp.zeros((1, 4), int))
    np.testing.assert_allclose(along.aggregates.mean_field[0], expected.mean_fields, atol=1e-14)
    np.testing.assert_allclose(along.returns, [expected.total], rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_predator_prey_is_certified_on_a_small_torus(count, double):
    game = smfg.games.make("predator_prey", num_populations=count, size=3, horizon=4)
    solution = solve(game, ExactEquilibrium(tolerance=1e-6), max_steps=1000)
    assert solution.result is RESULTS.converged
    gains = best_response(game, solution.policy).by_population
    assert list(gains) == [each.name for each in game.populations]
    assert max(gains.values()) <= 1e-6
    np.testing.assert_allclose(
        list(gains.values()), list(solution.stats["exploitability_by_population"].values()), rtol=1e-3
    )
