"""The floor of clairvoyant exploitability, against equilibria found by hand or judged by dynamic programming."""

import itertools

import jax
import numpy as np
import pytest
from helpers.tiny_game import Coin, CoinByHand

import structmfg as smfg
from structmfg.solvers import RESULTS, ExactEquilibrium, floor, rollout, solve
from structmfg.verification import oracles
from structmfg.verification.oracles import BeachBar, LinearQuadratic


def step(model, mu, now, t, after, values):
    """Action values where the noise goes from `now` to `after`."""
    return model.reward(mu, now, t, mu, after) + model.discount * model.dense(mu, now, t) @ values


def test_beach_bar():
    """Rewards ignore the population: optimum that knows whether the bar closes, less optimum that finds out."""
    game = smfg.games.make("beach_bar", num_states=5, max_action=1, horizon=3)
    model, closing, total = BeachBar(game), game.closing_time, 0.0
    for bar in game.bars:
        mu, knowing, later = model.start((bar, 1)), [], []
        for stays in (0, 1):
            values = np.zeros(5)
            for t in reversed(range(game.horizon)):
                if t == closing - 1:
                    later.append(values)
                now, after = ((bar, int(time < closing or stays)) for time in (t, t + 1))
                values = step(model, mu, now, t, after, values).max(-1)
            knowing.append(values)
        values = None
        for t in reversed(range(closing)):
            branches = later if t == closing - 1 else [values]
            flags = (0, 1) if t == closing - 1 else (1,)
            q = [step(model, mu, (bar, 1), t, (bar, flag), v) for flag, v in zip(flags, branches, strict=True)]
            values = np.mean(q, axis=0).max(-1)
        total += mu @ (np.mean(knowing, axis=0) - values) / len(game.bars)
    found = floor(game)
    assert found.value == pytest.approx(total, abs=1e-5)
    assert total > 0.1
    assert 0 <= found.gap <= 1e-4
    assert found.result is RESULTS.converged


def test_coin():
    """Among the clairvoyant exploitabilities of the pure equilibria, found by trying all pure policies."""
    game = Coin(revealed=2)
    model, noise, weights = CoinByHand(game), np.asarray(game.scenarios().noise), np.array([0.3, 0.7])
    floors = []
    places = [(t, z, s) for t in range(3) for z in ((-1, 1) if t == 2 else (0,)) for s in range(2)]
    for plan in itertools.product(range(2), repeat=len(places)):
        chosen = dict(zip(places, plan, strict=True))
        tables = np.array([[[np.eye(2)[chosen[t, z[t], s]] for s in range(2)] for t in range(3)] for z in noise])

        def gain(kind, tables=tables):
            faced = oracles.faced_population(model, tables, noise, weights, kind)
            own = weights @ oracles.policy_values(faced, tables) @ model.start(0)
            return oracles.best_without_history(faced).sum() - own

        if gain("non_anticipative") <= 1e-9:
            floors.append(gain("clairvoyant"))
    assert floors
    assert min(np.abs(np.array(floors) - floor(game).value)) <= 1e-6


def gains_along_paths(game, policy):
    """What the best response that knows the whole path gains over a policy in `linear_quadratic`, by path."""
    model, gains = LinearQuadratic(game), []
    for path in game.scenarios().noise:
        with jax.enable_x64(True):
            table = np.asarray(rollout(game, policy, path).policy, float)
        noise = np.asarray(path)
        run, values = oracles.rollout(model, table, noise), np.zeros(game.num_states)
        for t in reversed(range(model.horizon)):
            dense = model.dense(run.mean_fields[t], noise[t], t)
            values = np.max(run.rewards[t] + model.discount * dense @ values, axis=-1)
        gains.append(run.mean_fields[0] @ values - run.total)
    return np.array(gains)


@pytest.mark.slow
@pytest.mark.parametrize(("information", "value"), [("full", 0.0), ("public", 0.72383)])
def test_linear_quadratic(information, value):
    """Known from the start, the noise leaves nothing to foresight; where the means reveal it later, .72383."""
    game = smfg.games.make("linear_quadratic")
    solution = solve(game, ExactEquilibrium(tolerance=1e-5, information=information), max_steps=2000)
    assert solution.result is RESULTS.converged
    gains = gains_along_paths(game, solution.policy)
    clairvoyant = smfg.solvers.exploitability(game, solution.policy, kind="clairvoyant").value
    assert np.asarray(game.scenarios().probabilities) @ gains == pytest.approx(clairvoyant, abs=1e-4)
    assert clairvoyant == pytest.approx(value, abs=1e-4)
    assert information == "public" or (np.abs(gains) < 1e-4).all()
    assert floor(game, information=information).value == pytest.approx(value, abs=1e-3 if value else 1e-4)


@pytest.mark.slow
def test_beach_bar_of_the_paper():
    found = floor(smfg.games.make("beach_bar"))
    assert found.result is RESULTS.converged
    assert (found.value, found.gap) == pytest.approx((2.4403, 0), abs=1e-4)
