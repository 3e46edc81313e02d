"""Gains of best responses by state and time, against dense backward induction over all histories in NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_game import Coin, CoinByHand

from structmfg import games, policies, reports
from structmfg.evaluation import best_response, clairvoyant_response, exploitability

HORIZON = 3
TABLES = np.random.default_rng(0).dirichlet([1.0, 1.0], (HORIZON, 2))  # another one at every time
GAME = Coin(revealed=2)
BY_HAND = CoinByHand(GAME)


def gains_of(paths, weights):
    """The gains (S,) of a best response at every history, by time, with its probability and the mean field there.

    A response at a history may depend on nothing but the history, and paths that share it are told apart later only.
    """
    found = [[] for _ in range(HORIZON)]

    def at(members, mu, time):
        """The best values and the values of the policy at a history, given the places of the paths that share it."""
        if time == HORIZON:
            return np.zeros(2), np.zeros(2)
        z, q, q_policy = paths[members[0]][time], 0.0, 0.0
        dense, policy = BY_HAND.dense(mu, z, time), TABLES[time]
        following = np.einsum("s,sa,sat->t", mu, policy, dense)
        for after in sorted({paths[i][time + 1] for i in members}):
            branch = [i for i in members if paths[i][time + 1] == after]
            share = sum(weights[i] for i in branch) / sum(weights[i] for i in members)
            best, own = at(branch, following, time + 1)
            reward = BY_HAND.reward(mu, z, time, following, after)
            q = q + share * (reward + GAME.discount * dense @ best)
            q_policy = q_policy + share * (reward + GAME.discount * dense @ own)
        best, own = q.max(-1), (policy * q_policy).sum(-1)
        found[time].append((sum(weights[i] for i in members), mu, best - own))
        return best, own

    for first in sorted({path[0] for path in paths}):
        members = [i for i, path in enumerate(paths) if path[0] == first]
        at(members, BY_HAND.start(first), 0)
    by_state = [sum(p * gain for p, _, gain in level) for level in found]
    total = [sum(p * mu @ gain for p, mu, gain in level) for level in found]
    return np.array(by_state), np.array(total)


def test_gains_of_one_who_knows_the_noise_so_far(double):
    scenarios = GAME.scenarios()
    response = best_response(GAME, policies.tabular(GAME, TABLES), kind="non_anticipative")
    paths, weights = np.asarray(scenarios.noise).tolist(), np.asarray(scenarios.probabilities)
    by_state, total = gains_of(paths, weights)
    assert response.over_time.by_state.shape == (HORIZON, 2)
    np.testing.assert_allclose(response.over_time.by_state, by_state, atol=1e-12)
    np.testing.assert_allclose(response.over_time.total, total, atol=1e-12)
    assert response.over_time.total[0] == pytest.approx(response.exploitability, abs=1e-12)


def test_gains_of_one_who_knows_the_future(double):
    """Path by path, each with a weight of its own."""
    scenarios = GAME.scenarios()
    weights = np.array([0.3, 0.7])
    paths = games.NoisePaths(scenarios.noise, jnp.asarray(weights))
    response = clairvoyant_response(GAME, policies.tabular(GAME, TABLES), paths, over_time=True)
    alone = [gains_of([path], [1.0]) for path in np.asarray(scenarios.noise).tolist()]
    by_state, total = (sum(w * found[i] for w, found in zip(weights, alone, strict=True)) for i in (0, 1))
    np.testing.assert_allclose(response.over_time.by_state, by_state, atol=1e-12)
    np.testing.assert_allclose(response.over_time.total, total, atol=1e-12)
    assert response.over_time.total[0] == pytest.approx(response.exploitability, abs=1e-12)


def test_evaluations_print_what_the_figure_starts_with():
    """The figure's total at t = 0 is the exploitability of its kind, whose value is what `exploitability` measures."""
    game = games.make("macro", num_wealth=6, num_income=3, horizon=4, num_actions=4)
    policy = policies.uniform(game)
    sampled = reports.evaluate(game, policy, num_paths=4)
    plain = exploitability(game, policy, key=reports.held_out_key(), num_paths=4)
    assert sampled.exploitability["clairvoyant"] == plain  # bit for bit
    assert sampled.gains["clairvoyant"].by_state.shape == (4, 18)
    assert sampled.gains["clairvoyant"].total[0] == pytest.approx(plain.value, rel=1e-12)


def test_games_too_large_keep_no_gains(monkeypatch):
    monkeypatch.setattr("structmfg.reports._evaluation._MAX_GAINS", 4 * 4 * 18 - 1)
    game = games.make("macro", num_wealth=6, num_income=3, horizon=4, num_actions=4)
    evaluation = reports.evaluate(game, policies.uniform(game), num_paths=4)
    assert not evaluation.gains
    assert evaluation.exploitability["clairvoyant"].value > 0
