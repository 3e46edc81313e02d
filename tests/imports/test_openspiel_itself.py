"""Games of OpenSpiel's own: values, best responses and NashConv by its algorithms and by ours. It may be missing."""

import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.trees import return_of

from structmfg import games, policies, runs, solvers
from structmfg.cli import main
from structmfg.verification._against_library import library_of, matches_library

pyspiel = pytest.importorskip("pyspiel")
factory = pytest.importorskip("open_spiel.python.mfg.games.factory")
nash_conv = pytest.importorskip("open_spiel.python.mfg.algorithms.nash_conv")
policy_value = pytest.importorskip("open_spiel.python.mfg.algorithms.policy_value")

pytestmark = pytest.mark.usefixtures("double")
GAMES = {
    "python_mfg_crowd_modelling": {},
    "python_mfg_periodic_aversion": {"size": 7, "n_actions_per_side": 3, "game_horizon": 4},
    "mean_field_lin_quad": {"game_horizon": 4},
    "mfg_crowd_modelling": {},
    "mfg_crowd_modelling_2d": {"setting": "crowd_modelling_2d_four_rooms", "game_horizon": 4},
    "mfg_garnet": {},
    "python_mfg_dynamic_routing": {"setting": "dynamic_routing_line", "max_num_time_step": 4},
}


@pytest.fixture(autouse=True)
def only_games_of_the_package():
    """Games that are imported get names; other tests list the names that there are."""
    before = dict(games.GAMES)
    yield
    for name in games.GAMES.keys() - before.keys():
        del games.GAMES[name]


def imported(name, rewards):
    return games.from_openspiel(name.partition(" ")[0], rewards=rewards, **GAMES[name])


def theirs(game, policy):
    """Value, value of the best response, and NashConv of an exported policy."""
    own = game.walk.game
    measure = nash_conv.NashConv(own, policy.to_openspiel(game))
    (root,) = own.new_initial_states()
    value = policy_value.PolicyValue(own, measure.distribution, policy.to_openspiel(game)).eval_state(root)
    return value, measure.br_values()[0], measure.nash_conv()


def ours(game, policy):
    found = solvers.best_response(game, policy, kind="non_anticipative")
    return found.mean_return, found.mean_return + found.exploitability, found.exploitability


@pytest.mark.slow
@pytest.mark.parametrize("name", GAMES)
def test_as_valued_has_openspiels_numbers(name):
    """Of the uniform policy, a random one, and our equilibrium."""
    game = imported(name, "as_valued")
    table = np.random.default_rng(0).dirichlet(np.ones(game.num_actions), (game.horizon, game.num_states))
    solution = solvers.solve(game, solvers.ExactEquilibrium(tolerance=1e-6), max_steps=300, throw=False)
    chosen = policies.uniform(game), policies.TabularPolicy(jnp.asarray(table), within_allowed=True), solution.policy
    for policy in chosen:
        assert ours(game, policy) == pytest.approx(theirs(game, policy), abs=1e-9)


def test_exact_is_the_published_game():
    """The values of the game as defined (shared with `games.CrowdModelling`), and the solution of our own game."""
    game = imported("python_mfg_crowd_modelling", "exact")
    value, best, gain = ours(game, policies.uniform(game))
    assert value == pytest.approx(27.42585092994044, abs=1e-10)
    assert best == pytest.approx(30.21253334623878, abs=1e-10)
    assert gain == pytest.approx(2.786682416298337, abs=1e-10)


def test_moves_that_round_the_mean_field():
    """Where agents are drawn towards the mean; against all histories, as which node OpenSpiel sees first depends."""
    parameters = {"mean_revert": 0.4, "horizon": 3, "size": 5, "n_actions_per_side": 1}
    game = games.from_openspiel("mean_field_lin_quad", **parameters)
    assert game.tables.guards is not None
    table = np.random.default_rng(0).dirichlet(np.ones(game.num_actions), (game.horizon, game.num_states))
    policy = policies.tabular(game, table)
    own = policy.to_openspiel(game)
    by_history = return_of(game.walk.game, lambda node: own.action_probabilities(node))
    assert ours(game, policy)[0] == pytest.approx(by_history, abs=1e-10)
    with pytest.raises(ValueError, match="as_valued is impossible"):
        games.from_openspiel("mean_field_lin_quad", rewards="as_valued", **parameters)


def test_names_and_parameters():
    with pytest.raises(ValueError, match="did you mean mfg_garnet"):
        games.from_openspiel("mfg_garnett")
    with pytest.raises(ValueError, match="mfg_garnet"):
        games.from_openspiel("mfg_garnet", sizes=3)
    with pytest.raises(ValueError, match="populations"):
        games.from_openspiel("python_mfg_predator_prey")
    with pytest.raises(ValueError, match="takes floats alone"):
        games.from_openspiel("mfg_dynamic_routing")
    assert games.from_openspiel("openspiel:mfg_garnet", size=5, horizon=4).horizon == 4
    with pytest.raises(ValueError, match="horizon and game_horizon are one parameter"):
        games.from_openspiel("mfg_garnet", horizon=3, game_horizon=4)


def test_a_policy_of_another_game_is_refused():
    one, other = (games.from_openspiel("mfg_garnet", size=size, horizon=3) for size in (5, 6))
    with pytest.raises(ValueError, match=r"is one for \(T, S, A\) = \(3, 5, 3\), but the game has \(3, 6, 3\)"):
        policies.uniform(one).to_openspiel(other)


def test_names_on_the_command_line_that_are_nearly_right(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("import pyspiel\nGame = pyspiel.Game\n")
    hint = "a game that it registers with OpenSpiel is openspiel:mine.py:SHORT_NAME"
    for words, message in [
        ("solve openspiel:mfg_garnet --horizon 3", "did you mean --game-horizon?"),
        ("solve mine.py:own_game", hint),
        ("solve mine.py:Game", hint),
        ("solve mfglib:beach_bar", "import it in Python, by games.from_mfglib"),
        ("solve openspiel:nowhere.py:own_game", "there is no file nowhere.py"),
    ]:
        assert main(words.split()) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("place", ["own_openspiel_game.py", "own_openspiel_game"])
def test_a_game_of_ones_own(place, tmp_path):
    """A file or module that registers a game: solved on the command line by its short name, and read again."""
    shutil.copy(Path(__file__).parents[2] / "examples" / "own_openspiel_game.py", tmp_path)
    command = [sys.executable, "-m", "structmfg"]
    name = f"openspiel:{place}:own_toll_road"
    out = [*command, "solve", name, "--toll", "0.5", "--solver", "exact", "--precision", "float64", "--out", "run"]
    for arguments in (out, [*command, "evaluate", "run", "--game", name]):
        done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "own_toll_road" in (tmp_path / "run" / "settings.json").read_text()


def test_runs_load_again():
    game = games.from_openspiel("mfg_garnet", size=4, horizon=2)
    with jax.enable_x64(True):
        chosen = solvers.preset(game, "exact")
        settings = runs.Settings.of(
            game, chosen.solver, name="exact", preset="default", overrides={}, max_steps=10, max_seconds=None, seed=0
        )
        assert runs.Settings.parse(settings._asdict()).build_game() == game


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("verify openspiel:mfg_garnet --size 4 --game-horizon 3", "exploitability by the library"),
        # Moves that round need double precision, for the game as for its solvers.
        (
            "compare openspiel:mean_field_lin_quad --mean-revert 0.4 --size 5 --n-actions-per-side 1 --game-horizon 3 "
            "--solvers exact --seeds 1 --max-seconds 1 --precision float64",
            "exact",
        ),
    ],
)
def test_commands_take_games_by_name(command, found, tmp_path, capsys):
    with jax.enable_x64(False):
        assert main([*command.split(), "--out", str(tmp_path / "out")]) == 0
    assert found in capsys.readouterr().out


@pytest.mark.parametrize(("rewards", "failed"), [("exact", 2), ("as_valued", 6)])
def test_verify_finds_that_the_library_has_another_game(rewards, failed):
    """The import is held against OpenSpiel's game; where rewards depend on the way, only its mean fields are."""
    game, other = (games.from_openspiel("mfg_garnet", size=4, horizon=2, seed=k, rewards=rewards) for k in (1, 2))
    assert {result.passed for result in by_library(game)} == {True}
    assert game.walk.rewards_follow_from_names == (rewards == "as_valued")
    vars(game)["walk"] = game.walk._replace(game=other.walk.game)
    assert sum(not result.passed for result in by_library(game)) == failed


def by_library(game):
    return matches_library(library_of(game), jax.random.key(0))
