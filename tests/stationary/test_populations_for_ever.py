"""Several populations of an infinite horizon: the gains of each are those of plain NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from structmfg.evaluation import best_response
from structmfg.games import NoiselessGame, Population
from structmfg.operators import DenseKernel, direct_sum
from structmfg.policies import uniform
from structmfg.solvers import StationaryMeanFieldEquilibrium, solve


def test_for_ever_too_gains_are_told_by_population(double):
    """Of an infinite horizon, with the gains of NumPy: the uniform policy against a best response for ever."""
    game = Forever()
    response = best_response(game, uniform(game))
    np.testing.assert_allclose(list(response.by_population.values()), _gains_for_ever(), atol=1e-12)
    assert abs(response.exploitability - np.array([0.01, 0.99]) @ _gains_for_ever()) < 1e-12


def test_newton_is_for_one_population():
    with pytest.raises(ValueError, match="method 'newton' is for one population, but the game has 2"):
        solve(Forever(), StationaryMeanFieldEquilibrium(), max_steps=3)
    solution = solve(Forever(), StationaryMeanFieldEquilibrium(method="policy_iteration", tolerance=1e-10), max_steps=9)
    assert solution.result.name == "converged"


def _gains_for_ever():
    """In either population: staying where it pays for ever, against an even walk; half of the agents start there."""
    found = []
    for pay in (1.0, 0.2):
        best = np.array([pay / (1 - 0.5), 0.5 * pay / (1 - 0.5)])
        own = np.linalg.solve(np.eye(2) - 0.5 * np.full((2, 2), 0.5), [pay, 0.0])
        found.append(0.5 * (best - own).sum())
    return found


class Forever(NoiselessGame):
    """Two populations of two states each, where action a leads to state a; the first state pays."""

    num_states, num_actions, horizon, discount = 4, 2, None, 0.5
    populations = (Population("few", range(2), 0.01), Population("many", range(2, 4), 0.99))

    def kernel(self, aggregate):
        move = DenseKernel(jnp.broadcast_to(jnp.eye(2), (2, 2, 2)))
        return direct_sum(move, move)

    def reward(self, aggregate, following):
        return jnp.broadcast_to(jnp.array([1.0, 0.0, 0.2, 0.0])[:, None], (4, 2))

    def observe(self, aggregate):
        return aggregate.mean_field
