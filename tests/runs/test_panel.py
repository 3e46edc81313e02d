"""The interactive panel: its numbers, its size, and that names in it stay names."""

import json
import re

import numpy as np
import pytest

from structmfg import reports
from structmfg._pages import page
from structmfg.games import LinearQuadratic, Macro
from structmfg.policies import tabular
from structmfg.runs._panel import panel_data

EVIL = "</script><script>alert(1)</script><!--\u2028'\"&{{ 7 * 7 }}"


class Called(LinearQuadratic):
    def state_axis(self):
        return EVIL, super().state_axis()[1]

    def action_axis(self):
        return EVIL, super().action_axis()[1]

    def noise_label(self, noise):
        return f"{EVIL}{int(noise[0])}"


def data_in(text):
    """The data that a browser finds in the page."""
    return json.loads(re.search(r'<script type="application/json" id="panel-data">(.*?)</script>', text, re.S)[1])


def test_numbers_are_those_of_the_trajectories():
    game = Macro(num_wealth=5, num_income=3, horizon=4, num_actions=4)
    policy = tabular(game, np.random.default_rng(0).dirichlet(np.ones(4), (4, 15)))
    shown = reports.trajectories(game, policy)
    data = panel_data(game, shown)
    mean_action = shown.policy @ np.asarray(game.action_positions())
    np.testing.assert_allclose(shown.mean_action, mean_action, rtol=1e-5)
    assert data["times"] == [0, 1, 2, 3, 4]
    assert data["left_out"] is False
    assert [level.partition(" ")[0] for level in data["levels"]] == ["", "income", "income", "income"]
    mass, action = np.array(data["mass"]), np.array(data["action"])
    assert mass.shape == (3, 4, 5, 5)
    assert action.shape == (3, 4, 4, 5)
    by_factor = shown.mean_field.reshape(3, 5, 5, 3)
    np.testing.assert_allclose(mass[:, 0], by_factor.sum(-1), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(mass[:, 2], by_factor[..., 1], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(action[:, 3], mean_action.reshape(3, 4, 5, 3)[..., 2], rtol=1e-3)
    weighted = (by_factor[:, :-1] * mean_action.reshape(3, 4, 5, 3)).sum(-1) / by_factor[:, :-1].sum(-1)
    occupied = by_factor[:, :-1].sum(-1) > 1e-6
    np.testing.assert_allclose(action[:, 0][occupied], weighted[occupied], rtol=1e-3)


def test_large_games_leave_out_times_and_states_but_keep_both_ends():
    states, horizon = 1000, 300
    game = LinearQuadratic(num_states=states, horizon=horizon)
    mean_field = np.random.default_rng(0).random((2, horizon + 1, states))
    actions = np.random.default_rng(1).random((2, horizon, states))
    shown = reports.Trajectories(["a", "b"], None, mean_field, {}, np.zeros((2, 0, 0, 0)), np.zeros(0), actions)
    data = panel_data(game, shown)
    assert data["left_out"] is True
    assert (data["times"][0], data["times"][-1]) == (0, horizon)
    assert (data["points"][0], data["points"][-1]) == (0, states - 1)
    assert len(json.dumps(data)) < 600_000
    time, point = data["times"][7], data["points"][11]
    assert data["mass"][1][0][7][11] == pytest.approx(mean_field[1, time, point], rel=1e-3)
    assert data["action"][1][0][7][11] == pytest.approx(actions[1, time, point], rel=1e-3)


def test_names_stay_names():
    """Nothing that a game is called ends the element that holds the data, or begins another."""
    game = Called(num_states=7, max_action=1, horizon=3, first=1, last=1)
    shown = reports.trajectories(game, tabular(game, np.full((7, 3), 1 / 3)))
    text = page("structmfg.runs", "panel.html", [], panel=panel_data(game, shown))
    assert text.lower().count("<script") == text.lower().count("</script>") == 2
    assert "<!--" not in text
    assert "49" not in re.sub(r"[\d.]+", lambda number: "" if number[0] != "49" else number[0], data_free(text))
    data = data_in(text)
    assert data["axis"].startswith("</script><script>alert(1)</script><!--")
    assert "{{ 7 * 7 }}" in data["paths"][0]
    assert "alert(1)" not in re.sub(r"<script type.*?</script>", "", data_free(text), flags=re.S).replace(
        "&lt;script&gt;alert(1)", ""
    )


def data_free(text):
    return re.sub(r'(?s)(id="panel-data">).*?(</script>)', r"\1\2", text)
