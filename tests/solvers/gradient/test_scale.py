"""The scale of action values, and the entropy bonus of presets that is made of it."""

import dataclasses

import jax
import numpy as np
import pytest
from helpers.tiny_game import Coin, CoinByHand

import structmfg as smfg
from structmfg.solvers import _scale as scale
from structmfg.solvers import preset


class Dear(Coin):
    """All rewards are a hundred times as large."""

    def reward(self, aggregate, following):
        return 100 * super().reward(aggregate, following)


class Faint(Coin):
    """All rewards are tiny, and their squares are zero in single precision."""

    def reward(self, aggregate, following):
        return 1e-30 * super().reward(aggregate, following)


class Faulty(Coin):
    def reward(self, aggregate, following):
        raise TypeError("no rewards today")


def test_spread_is_that_of_plain_numpy(double):
    game = Coin()
    model, noise = (
        CoinByHand(game),
        np.asarray(smfg.games.noise_paths(game, key=jax.random.key(0), num_paths=2).noise)[0],
    )
    mus = [model.start(noise[0])]
    for t in range(game.horizon):
        mus.append(np.einsum("s,sax->x", mus[t], model.dense(mus[t], noise[t], t)) / 2)
    values, spreads = np.zeros(2), []
    for t in reversed(range(game.horizon)):
        reward = model.reward(mus[t], noise[t], t, mus[t + 1], noise[t + 1])
        q = reward + game.discount * model.dense(mus[t], noise[t], t) @ values
        values = q.mean(axis=1)
        spreads.append(mus[t] @ q.std(axis=1))
    assert scale.action_value_spread(game) == pytest.approx(np.mean(spreads), rel=1e-12)


@pytest.mark.parametrize("name", ["rspg", "spg"])
def test_the_entropy_bonus_of_a_game_without_settings_has_the_scale_of_its_values(name):
    for game in (Coin(), Dear()):
        chosen, spread = preset(game, name).solver, scale.action_value_spread(game)
        assert chosen.temperature == float(f"{0.5 * spread:.1g}")
        assert chosen.final_temperature == pytest.approx(chosen.temperature / 1000)
    assert scale.action_value_spread(Dear()) == pytest.approx(100 * scale.action_value_spread(Coin()), rel=1e-5)
    assert scale.action_value_spread(Faint()) == pytest.approx(1e-30 * scale.action_value_spread(Coin()), rel=1e-5)


def test_where_there_is_no_scale_there_is_no_bonus(monkeypatch):
    assert preset(Faulty()).solver.temperature == 0
    assert preset(dataclasses.replace(Coin(), spoiled_at=1)).solver.temperature == 0  # rewards that are no numbers
    monkeypatch.setattr(scale, "_MOST_PROBABILITIES", 3)
    assert preset(Coin()).solver.temperature == 0


@pytest.mark.usefixtures("unchecked")
def test_what_is_given_is_taken():
    chosen = preset(Coin(), temperature=0.7, final_temperature=0.1).solver
    assert (chosen.temperature, chosen.final_temperature) == (0.7, 0.1)
    assert preset(Coin(), temperature=np.float32(0.7)).solver.final_temperature == pytest.approx(7e-4)
    assert preset(Coin(), temperature=0.0).solver.final_temperature == 0
    assert preset(Coin(), final_temperature=0.0).solver.temperature == 0
    assert preset(Coin(), final_temperature=9.0).solver.temperature == 9
    with pytest.raises(ValueError, match="temperature must lie"):
        preset(Coin(), temperature="warm")
