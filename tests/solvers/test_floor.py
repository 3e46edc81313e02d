"""The floor of clairvoyant exploitability against equilibria found by hand."""

import itertools

import numpy as np
import pytest
from helpers.tiny_game import Coin, CoinByHand

import structmfg as smfg
from structmfg.verification import oracles
from structmfg.verification.oracles import BeachBar


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
    floor = smfg.solvers.floor(game)
    assert floor.value == pytest.approx(total, abs=1e-5)
    assert total > 0.1
    assert 0 <= floor.gap <= 1e-4
    assert floor.result is smfg.solvers.RESULTS.converged


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
    assert min(np.abs(np.array(floors) - smfg.solvers.floor(game).value)) <= 1e-6
