"""Small games in Python that compare the mean field, take floats alone, or fail: OpenSpiel's numbers, or one line."""

import math
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from structmfg import games, policies, solvers

pyspiel = pytest.importorskip("pyspiel")
nash_conv = pytest.importorskip("open_spiel.python.mfg.algorithms.nash_conv")

pytestmark = pytest.mark.usefixtures("double")
CELLS, STEPS = 3, 2
REWARDS = {
    "cliff": lambda m, node: -5.0 if m > 0.9 else 0.1 * node.cell,
    "hinge": lambda m, node: -10 * max(0.0, m - 0.9),
    "levels": lambda m, node: -float(int(4 * m) == 3) - round(2 * m),
    "middle": lambda m, node: -5.0 if m * (1 - m) > 0.249 else 0.0,
    "float": lambda m, node: -float(m) if node.cell == 2 else -m,
    "steep floats": lambda m, node: -5.0 if float(m) > 0.97 else 0.0,
    "key": lambda m, node: {}["toll"],
    "text": lambda m, node: "3",
    "logarithm": lambda m, node: math.log(m),
    "not finite": lambda m, node: math.nan if node.cell == 1 else 0.0,
    "many": lambda m, node: sum(1.0 for k in range(12) if m * m > k / 12),
}
CHANCE = {"sum": [0.5, 0.5, 0.5], "close": [0.5, 0.25, 0.2500005], "negative": [0.75, 0.5, -0.25]}
CHANCE |= {"nan": [math.nan, 0.5, 0.5], "empty": []}


def kind(dynamics=pyspiel.GameType.Dynamics.MEAN_FIELD, parameters=None, name="cells"):
    return pyspiel.GameType(
        short_name=name,
        long_name="Cells",
        dynamics=dynamics,
        chance_mode=pyspiel.GameType.ChanceMode.EXPLICIT_STOCHASTIC,
        information=pyspiel.GameType.Information.PERFECT_INFORMATION,
        utility=pyspiel.GameType.Utility.GENERAL_SUM,
        reward_model=pyspiel.GameType.RewardModel.REWARDS,
        max_num_players=1,
        min_num_players=1,
        provides_information_state_string=True,
        provides_information_state_tensor=False,
        provides_observation_string=True,
        provides_observation_tensor=False,
        parameter_specification=parameters or {},
    )


class Cells(pyspiel.Game):
    """The agent goes to any cell; the reward there is one of those above, and chance begins as it is told."""

    def __init__(self, twist="", parameters=None, name="cells"):
        info = pyspiel.GameInfo(3, CELLS, 1, -100.0, 100.0, 0.0, STEPS)
        super().__init__(kind(parameters=parameters, name=name), info, parameters or {})
        self.twist = twist

    def new_initial_state(self):
        return Cell(self)

    def make_py_observer(self, *_):
        return None


class Cell(pyspiel.State):
    def __init__(self, game):
        super().__init__(game)
        self.twist, self.cell, self.time, self.shares = game.twist, None, 0, [1 / CELLS] * CELLS
        self.player = pyspiel.PlayerId.CHANCE

    def current_player(self):
        return self.player

    def is_terminal(self):
        return self.player == pyspiel.PlayerId.TERMINAL

    def chance_outcomes(self):
        return list(enumerate(CHANCE.get(self.twist, [0.5, 0.25, 0.25])))

    def _legal_actions(self, _):
        crowded = self.twist == "moves" and self.cell == 0 and float(self.shares[2]) > 0.97
        return [1] if crowded else [0, 1, 2]

    def _apply_action(self, action):
        begins, self.cell = self.player == pyspiel.PlayerId.CHANCE, action
        self.player = pyspiel.PlayerId.DEFAULT_PLAYER_ID if begins else pyspiel.PlayerId.MEAN_FIELD
        self.time += not begins

    def _action_to_string(self, _, action):
        return str(action)

    def distribution_support(self):
        return [f"{cell} {self.time} mean field" for cell in range(CELLS)]

    def update_distribution(self, shares):
        self.shares = list(shares)
        self.player = pyspiel.PlayerId.TERMINAL if self.time == STEPS else pyspiel.PlayerId.DEFAULT_PLAYER_ID

    def rewards(self):
        arrived = self.time and self.player == pyspiel.PlayerId.DEFAULT_PLAYER_ID and self.twist in REWARDS
        return [REWARDS[self.twist](self.shares[self.cell], self) if arrived else 0.0]

    def returns(self):
        return self.rewards()

    def observation_string(self, *_):
        return f"{self.cell} {self.time} {'mean field' if self.player == pyspiel.PlayerId.MEAN_FIELD else 'decision'}"

    information_state_string = __str__ = observation_string


@pytest.mark.parametrize("twist", ["cliff", "hinge", "levels", "middle", "float"])
def test_comparisons_are_followed_both_ways(twist):
    """Of three tables, two of which lead everybody, or nearly half of everybody, to one cell."""
    game = games.from_openspiel(Cells(twist))
    for row in ([1 / 3] * 3, [0.0, 0.0, 1.0], [0.49, 0.51, 0.0], [0.2, 0.8, 0.0]):
        policy = policies.TabularPolicy(jnp.broadcast_to(jnp.array(row), (game.horizon, CELLS, 3)))
        found = solvers.best_response(game, policy, kind="non_anticipative").exploitability
        theirs = nash_conv.NashConv(game.walk.game, policy.to_openspiel(game)).nash_conv()
        assert found == pytest.approx(theirs, abs=1e-9)


REFUSED = {
    "steep floats": "cannot be told from outside",
    "moves": "the game takes floats alone",
    "key": r"rewards\(\) fails at '\d 1 decision' with \"KeyError: 'toll'\"",
    "text": r"gives \['3'\], no numbers",
    "logarithm": "math domain error",
    "not finite": "not finite at node '1 1 mean field'",
    "many": "too many ways|cannot be told from outside",
    "sum": "sum to 1.5",
    "close": r"sum to 1\.0000005",
    "negative": "the least is -0.25",
    "nan": "sum to nan",
    "empty": "sum to 0",
}


@pytest.mark.parametrize("twist", REFUSED)
def test_refused_in_one_line(twist):
    with pytest.raises(ValueError, match=REFUSED[twist]) as error:
        games.from_openspiel(Cells(twist))
    assert str(error.value).startswith("openspiel:cells cannot be imported: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["1 / 0", "def :"])
def test_a_module_that_fails(text, tmp_path, monkeypatch):
    (tmp_path / "failing_cells.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "failing_cells", raising=False)
    with pytest.raises(ValueError, match=r"cannot import 'failing_cells'.*Error"):
        games.from_openspiel("failing_cells:cells")


def test_parameters_with_names_of_the_games_own_fields(monkeypatch):
    """They keep their values under another name, and do not take the place of what a game is made of."""
    parameters, loaded = {"tables": 3, "walk": 1, "source_name": "x"}, []

    def load_game(name, changed):
        loaded.append(changed)
        return Cells("hinge", parameters)

    library = types.SimpleNamespace(
        GameType=pyspiel.GameType, registered_games=lambda: [kind(parameters=parameters)], load_game=load_game
    )
    monkeypatch.setattr("structmfg.games.imports._openspiel._pyspiel", lambda: library)
    game = games.from_openspiel("cells", walk=2)
    games.GAMES.pop("openspiel:cells")
    assert (game.game_tables, game.game_walk, game.game_source_name) == (3, 2, "x")
    assert loaded == [{"walk": 2}]
    assert game.source_name == "openspiel:cells"
    assert np.asarray(game.initial(jax.random.key(0)).mean_field) == pytest.approx([0.5, 0.25, 0.25])
