"""Exact equilibria of `linear_quadratic`, judged by dynamic programming in plain NumPy along every noise path."""

import jax
import numpy as np
import pytest

import structmfg as smfg
from structmfg import solvers
from structmfg.verification.oracles import LinearQuadratic, rollout


def gains(game, policy):
    """By path: what the best response that knows the whole path gains over the policy, whose mean fields are given."""
    model, found = LinearQuadratic(game), []
    for path in game.scenarios().noise:
        with jax.enable_x64(True):
            table = np.asarray(solvers.rollout(game, policy, path).policy, float)
        noise = np.asarray(path)
        run, values = rollout(model, table, noise), np.zeros(game.num_states)
        for t in reversed(range(model.horizon)):
            dense = model.dense(run.mean_fields[t], noise[t], t)
            values = np.max(run.rewards[t] + model.discount * dense @ values, axis=-1)
        found.append(run.mean_fields[0] @ values - run.total)
    return np.array(found)


@pytest.mark.slow
def test_full_information_is_a_best_response_on_every_path():
    """The noise is known from the start, so foresight is worth nothing: the floor is zero."""
    game = smfg.games.make("linear_quadratic")
    solution = solvers.solve(game, solvers.ExactEquilibrium(tolerance=1e-5), max_steps=400)
    assert solution.result is solvers.RESULTS.converged
    found = gains(game, solution.policy)
    assert (np.abs(found) < 1e-4).all()
    probabilities = np.asarray(game.scenarios().probabilities)
    clairvoyant = solvers.exploitability(game, solution.policy, kind="clairvoyant").value
    assert probabilities @ found == pytest.approx(clairvoyant, abs=1e-4)
    assert solvers.floor(game).value < 1e-4


@pytest.mark.slow
def test_floor_of_public_information():
    """The means reveal the noise only after a while: .7238."""
    game = smfg.games.make("linear_quadratic")
    solver = solvers.ExactEquilibrium(tolerance=1e-4, information="public")
    solution = solvers.solve(game, solver, max_steps=2000)
    assert solution.result is solvers.RESULTS.converged
    expected = np.asarray(game.scenarios().probabilities) @ gains(game, solution.policy)
    assert solvers.floor(game, information="public").value == pytest.approx(expected, abs=1e-3)
    assert expected == pytest.approx(0.7238, abs=1e-3)
