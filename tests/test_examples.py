"""The examples run, at small sizes, and show what they say; `master_equation.py` is run by `solvers/test_master.py`."""

import importlib
import sys
from pathlib import Path

import jax
import matplotlib.text
import numpy as np
import pytest

from structmfg import policies, reports


@pytest.fixture
def example(monkeypatch, unchecked):
    """A function that imports an example by its name."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "examples")

    def load(name):
        sys.modules.pop(name, None)
        return importlib.import_module(name)

    return load


def test_own_game(example):
    found = example("own_game").main(updates=2, tolerance=1e-2)
    assert found["exact"] <= 1e-2 < found["uniform"]


def test_own_policy(example):
    """An equinox network learns; and it is what the pair of functions says."""
    own = example("own_policy")
    found = own.main(max_steps=60)
    assert found["trained"] < found["uniform"] / 2


def test_pairs_of_functions(example):
    """By hand: without `update` the hidden state is the observation and t / T; with it, what `update` returns."""
    game = example("own_game").Swimmers()
    table = np.random.default_rng(0).normal(size=(3, game.num_states, game.num_actions))

    def init(key):
        return {"table": jax.numpy.asarray(table)}

    def apply(parameters, hidden):
        return jax.numpy.tensordot(hidden, parameters["table"], 1)

    observations = np.array([[0.5, 0.2], [1.0, 0.4]])
    policy = policies.from_functions(game, init, apply)
    with pytest.raises(ValueError, match="this policy of functions has no parameters yet"):
        policy.prepare()
    hidden = np.column_stack([observations, [0, 1 / 12]])
    logits = policy.initialised(jax.random.key(0)).unroll(jax.numpy.asarray(observations))
    np.testing.assert_allclose(logits, np.tensordot(hidden, table, 1), rtol=1e-5)

    def update(parameters, hidden, observation, time):
        return hidden + jax.numpy.append(observation, time)

    remembering = policies.from_functions(game, init, apply, update=update, start=lambda parameters: np.ones(3))
    sums = 1 + np.cumsum(np.column_stack([observations, [0, 1]]), axis=0)
    logits = remembering.initialised(jax.random.key(0)).unroll(jax.numpy.asarray(observations))
    np.testing.assert_allclose(logits, np.tensordot(sums, table, 1), rtol=1e-5)
    assert (policy.settings.recurrent, remembering.settings.recurrent) == (False, True)
    with pytest.raises(ValueError, match="update and start must be given both or neither"):
        policies.from_functions(game, init, apply, update=update)


def test_own_figure(example):
    """What the game tells of itself is what is drawn, by the example and by the package."""
    own = example("own_figure")
    game = own.ShownSwimmers()
    figure = own.draw(game, policies.uniform(game))
    assert [axes.get_title() for axes in figure.axes] == ["largest crowd", "swimmers at sea"]
    assert {text.get_text() for text in figure.axes[0].get_legend().get_texts()} >= {"calm"}
    shown = {"uniform": reports.trajectories(game, policies.uniform(game))}
    labels = {text.get_text() for text in reports.draw_mean_fields(game, shown).findobj(matplotlib.text.Text)}
    assert "distance from the shore (m)" in labels
