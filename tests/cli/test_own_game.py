"""A game, a solver, a policy and an optimiser of a user's own: on the command line, from files, and in run folders."""

import dataclasses
import json
import math
import shutil
import tomllib
from pathlib import Path

import jax
import numpy as np
import pytest

import structmfg as smfg
from structmfg.cli import main
from structmfg.cli.arguments import parse
from structmfg.cli.sweeps import points, read_axes

pytestmark = pytest.mark.usefixtures("spared_estimates", "blank_figures", "first_method_alone")
SMALL = ["--iterations", "2", "--hidden", "4", "--width", "4", "--quiet"]
GAME = '''
import dataclasses
from structmfg.games import LinearQuadratic
from structmfg.policies import from_functions
from structmfg.solvers import RSPG

@dataclasses.dataclass(frozen=True)
class Short(LinearQuadratic):
    """A short game on a line.

    Attributes:
        seed: A field with the name of an option.
        walls: One that no option can give.
    """

    num_states: int = 9
    horizon: int = 3
    first: int = 0
    last: int = 1
    seed: int = 5
    walls: tuple = (1, 2)

@dataclasses.dataclass(frozen=True)
class NoGame:
    pass

class Mine(RSPG):
    """RSPG under another name."""

def policy(game):
    import jax.numpy as jnp
    shape = game.num_states, game.num_actions
    return from_functions(game, lambda key: jnp.zeros(shape), lambda parameters, hidden: parameters)
'''


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(GAME)


@pytest.fixture(scope="module")
def solved(tmp_path_factory, spared_estimates, blank_figures):
    """The folder of a run of the game."""
    folder = tmp_path_factory.mktemp("solved")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("mine.py").write_text(GAME)
        assert main(["solve", "mine.py:Short", *SMALL, "--out", "run", "--push", "2", "--optimiser", "optax:lion"]) == 0
    return folder / "run"


@pytest.mark.slow
def test_a_run_is_used_from_another_folder(tmp_path, monkeypatch, capsys):
    """There its class has another name; the fields of a game and of a solver may share names."""
    Path("odd.py").write_text(GAME.replace("seed: int = 5", "clip: float = 5.0"))
    words = ["odd.py:Short", *SMALL, "--game.clip", "3", "--solver.clip", "2", "--out", "run"]
    assert main(["solve", *words]) == 2  # the command has no option clip of its own
    assert "--game.clip" in capsys.readouterr().err
    words = ["odd.py:Short", *SMALL, "--clip", "3", "--solver.clip", "2", "--out", "run"]
    assert main(["solve", *words]) == 0
    settings = settings_of("run")
    assert (settings["game_parameters"]["clip"], settings["hyper_parameters"]["clip"]) == (3.0, 2.0)
    assert main(["solve", "--config", "run/run.toml", "--out", "again", "--quiet"]) == 0
    assert settings_of("again")["hyper_parameters"] == settings["hyper_parameters"]
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert main(["evaluate", "../run", "--game", "../odd.py:Short", "--quiet"]) == 0


def test_a_fault_of_a_users_game_is_one_line(capsys):
    Path("faulty.py").write_text(GAME + "    \nShort.observe = lambda self, aggregate: self.nothing\n")
    assert main(["solve", "faulty.py:Short", *SMALL]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "faulty.py, line" in error
    assert "has no attribute 'nothing'" in error


def settings_of(folder):
    return json.loads(Path(folder, "settings.json").read_text())


def test_options_are_the_fields_of_the_class(capsys):
    given = parse(["solve", "--seed", "1", "mine.py:Short", "--game.seed", "7", "--num-states", "11"])
    assert (given.game, given.seed, given.game_parameters) == ("mine.py:Short", 1, {"seed": 7, "num_states": 11})
    assert main(["solve", "mine.py:Short", "--help"]) == 0
    text = capsys.readouterr().out
    assert "A field with the name of an option" in text
    assert "--game.seed" in text
    assert "walls" not in text


def test_solve_evaluate_and_resume(solved, capsys):
    shutil.copytree(solved, "run")
    settings = settings_of("run")
    assert (settings["game"], settings["game_parameters"]["push"]) == ("mine.py:Short", 2.0)
    assert settings["hyper_parameters"]["optimiser"] == "optax:lion"
    assert main(["evaluate", "run", "--game", "mine.py:Short", "--json", "--quiet"]) == 0
    saved = json.loads(Path("run", "result.json").read_text())
    assert json.loads(capsys.readouterr().out)["exploitability"] == saved["exploitability"]
    words = ["mine.py:Short", "--optimiser", "optax:lion"]
    assert main(["solve", *words, "--resume", "run", "--quiet"]) == 0  # there is nothing left to do
    run = smfg.load("run")  # its class has been named in this process
    assert run.game.walls == (1, 2)
    assert run.metrics[-1]["step"] == 2
    assert run.trajectories["mean_field"].shape[1:] == (4, 9)


def test_a_run_folder_imports_nothing(solved, capsys):
    """Neither its game, nor the command that it was made for."""
    Path("evil.py").write_text("raise SystemExit('imported')")
    Path("run").mkdir()
    shutil.copytree(solved, "mine")
    for field, name in (("game", "evil.py:Game"), ("solver", "evil.py:Solver")):
        Path("run", "settings.json").write_text(json.dumps(settings_of("mine") | {field: name}))
        Path("run", "policy.safetensors").write_bytes(Path("mine", "policy.safetensors").read_bytes())
        for command in (["evaluate", "run"], ["solve", "--resume", "run"], ["report", "run", "mine"]):
            capsys.readouterr()
            assert main(command) == 2
            assert f"{name}' is no part of the package" in capsys.readouterr().err
    Path("run", "settings.json").unlink()
    Path("run", "command.json").write_text(json.dumps({"command": ["solve", "evil.py:Game"]}))
    assert main(["solve", "--resume", "run"]) == 2
    assert "imports code" in capsys.readouterr().err


@pytest.mark.slow
def test_own_solver_and_own_policy():
    assert main(["solve", "mine.py:Short", *SMALL, "--solver", "mine.py:Mine", "--num-paths", "2", "--out", "a"]) == 0
    assert settings_of("a")["solver"] == "mine.py:Mine"
    words = ["--solver", "spg", "--policy", "mine.py:policy", "--iterations", "2", "--quiet", "--out", "b"]
    assert main(["solve", "linear_quadratic", "--num-states", "9", "--horizon", "3", *words]) == 0
    assert settings_of("b")["network"] == {"function": "mine.py:policy"}
    assert main(["evaluate", "b", "--policy", "mine.py:policy", "--quiet"]) == 0
    assert main(["report", "a", "b", "--quiet"]) == 0
    assert "Short" in Path("runs/report/report.html").read_text()


@pytest.mark.slow
def test_the_toml_of_a_run_makes_it_again():
    assert main(["solve", "mine.py:Short", *SMALL, "--push", "2", "--out", "a", "--clip", "0.5", "--seed", "3"]) == 0
    written = tomllib.loads(Path("a", "run.toml").read_text())
    assert (written["game"]["name"], written["game"]["push"], written["solver"]["clip"]) == ("mine.py:Short", 2.0, 0.5)
    assert main(["solve", "--config", "a/run.toml", "--quiet", "--out", "b"]) == 0
    first, second = settings_of("a"), settings_of("b")
    assert {**first, "overrides": None} == {**second, "overrides": None}
    results = [json.loads(Path(run, "result.json").read_text()) for run in "ab"]
    assert results[0]["exploitability"] == results[1]["exploitability"]


def test_options_win_over_set_which_wins_over_the_file():
    Path("run.toml").write_text(
        '[run]\nseed = 1\niterations = 5\n[game]\nname = "macro"\nhorizon = 7\nnum_wealth = 20\n'
        '[solver]\nname = "spg"\nlearning_rate = 1\nclip = 2.0\n'
    )
    words = ["--config", "run.toml", "--set", "game.horizon=8", "solver.clip=.5", "seed=2"]
    given = parse(["solve", *words, "--seed", "3", "--num-wealth", "30"])
    assert (given.game, given.solver, given.seed, given.iterations) == ("macro", "spg", 3, 5)
    assert given.game_parameters == {"horizon": 8, "num_wealth": 30}
    assert given.overrides == {"learning_rate": 1.0, "clip": 0.5}


def test_none_is_kept_in_the_file():
    """The preset of the paper draws paths independently; None stands for the solver's own choice."""
    game = smfg.games.make("linear_quadratic", num_states=9, horizon=3)
    chosen = smfg.solvers.preset(game, "rspg", "paper", sampling=None)
    settings = smfg.runs.Settings.of(
        game, chosen.solver, name="rspg", preset="paper", overrides={"sampling": None}, max_steps=2, max_seconds=None,
        seed=0,
    )  # fmt: skip
    Path("run.toml").write_text(smfg.runs.as_toml(settings))
    given = parse(["solve", "--config", "run.toml"])
    assert given.overrides["sampling"] is None
    again = smfg.solvers.preset(game, given.solver, given.preset, **given.overrides)
    assert {**again.solver.__dict__, "policy": None} == {**chosen.solver.__dict__, "policy": None}
    assert again.solver.policy.settings == chosen.solver.policy.settings


def test_arrays_are_kept(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Charted(smfg.games.LinearQuadratic):
        depths: object = dataclasses.field(default_factory=lambda: np.array([[1.5, np.inf], [2.0, -3.0]]))
        ports: object = dataclasses.field(default_factory=lambda: jax.numpy.arange(3))
        cap: float = math.inf
        pairs: tuple = (("a", 1), ("b", 2))
        empty: object = dataclasses.field(default_factory=lambda: np.zeros((0, 2), np.float32))

    game = smfg.games.register(Charted)(num_states=9, horizon=3)
    chosen = smfg.solvers.preset(game, "rspg")
    settings = smfg.runs.Settings.of(
        game, chosen.solver, name="rspg", preset="default", overrides={}, max_steps=2, max_seconds=None, seed=0
    )
    smfg.runs.save_settings(tmp_path, settings)
    again = smfg.runs.load_settings(tmp_path, policy=False).build_game()
    for name in ("depths", "ports", "empty"):
        kept, given = getattr(again, name), np.asarray(getattr(game, name))
        assert (kept.dtype, kept.shape, kept.tolist()) == (given.dtype, given.shape, given.tolist())
    assert (again.cap, again.pairs, again.num_states) == (math.inf, (("a", 1), ("b", 2)), 9)
    written = Path("run.toml").read_text()
    assert "game.depths is left out" in written
    assert tomllib.loads(written)["game"]["cap"] == math.inf
    broken = settings._replace(
        game_parameters=settings.game_parameters | {"ports": {"dtype": "object", "shape": [], "entries": []}}
    )
    with pytest.raises(ValueError, match="damaged: its dtype is none of"):
        broken.build_game()


def test_one_annotation_that_means_nothing_hides_no_other():
    Path("vague.py").write_text(GAME.replace("walls: tuple", "vague: 'Foo'"))
    assert parse(["solve", "vague.py:Short", "--num-states", "11"]).game_parameters == {"num_states": 11}


@pytest.mark.slow
def test_a_sweep_has_one_table_and_goes_on(capsys):
    command = ["solve", "mine.py:Short", *SMALL, "--sweep", "game.push=2,5", "seed=0..1", "--out", "sweep"]
    assert main(command) == 0
    result = json.loads(Path("sweep", "result.json").read_text())
    assert result["axes"] == {"game.push": [2.0, 5.0], "seed": [0, 1]}
    folders = [Path("sweep", f"push={push},seed={seed}") for push in ("2.0", "5.0") for seed in (0, 1)]
    assert [Path(run["out"]) for run in result["runs"]] == folders
    assert [(settings_of(f)["game_parameters"]["push"], settings_of(f)["seed"]) for f in folders] == [
        (2.0, 0), (2.0, 1), (5.0, 0), (5.0, 1)
    ]  # fmt: skip
    assert len({run["return"] for run in result["runs"]}) == 4
    assert Path("sweep", "figures", "sweep.png").is_file()
    shutil.rmtree(folders[2])  # as if the sweep had been killed before it
    written = {folder: (folder / "settings.json").stat().st_mtime_ns for folder in folders if folder.exists()}
    assert main(command) == 0
    again = json.loads(Path("sweep", "result.json").read_text())
    assert [run["return"] for run in again["runs"]] == [run["return"] for run in result["runs"]]
    assert all((folder / "settings.json").stat().st_mtime_ns == time for folder, time in written.items())
    assert main([*command[:-4], "game.push=2,6", "--out", "sweep"]) == 2
    assert "another sweep" in capsys.readouterr().err


def test_long_names_of_folders_are_cut():
    """And stay apart; short ones are as they were."""
    keys = [key for key in parse(["solve", "macro"]).fields["game"] if key not in ("discretisation", "noise_states")]
    arguments = parse(["solve", "macro", "--sweep", *(f"game.{key}=3" for key in keys), "seed=0..1"])
    names = [point.folder.name for point in points(arguments, read_axes(arguments), Path())]
    assert max(map(len, names)) <= 100
    assert len(set(names)) == 2
    arguments = parse(["solve", "macro", "--sweep", "game.horizon=3", "seed=0"])
    assert [point.folder.name for point in points(arguments, read_axes(arguments), Path())] == ["horizon=3,seed=0"]


BAD = [
    (["mine.py:NoGame"], "must be a subclass of structmfg.Game"),
    (["mine.py:Absent"], "file 'mine.py' has no 'Absent'"),
    (["absent.py:Game"], "cannot import 'absent.py': FileNotFoundError"),
    (["broken.py:Game"], "cannot import 'broken.py': ZeroDivisionError: division by zero (broken.py, line 2)"),
    (["mine.py:Short", "--crowd-aversion", "1"], "belongs to the game beach_bar_crowded"),
    (["mine.py:Short", "--volatility", "-1"], "mine.py:Short cannot be made: ValueError"),
    (["mine.py:Short", "--solver", "mine.py:NoGame"], "must be a subclass of TrainingSolver"),
    (["mine.py:Short", "--optimiser", "optax:lionn"], "module 'optax' has no 'lionn'"),
    (["mine.py:Short", "--optimiser", "json:dumps"], "optimiser must make an Optax optimiser of a learning rate, but"),
    (["unkept.py:Short"], "parameter payoff of Short is a builtin_function_or_method, which a run folder cannot hold"),
    (["mine.py:Short", "--config", "bad.toml"], "bad.toml, line 4: unknown setting of the solver 'num_pahts'; did you"),
    (["mine.py:Short", "--config", "type.toml"], "type.toml, line 2: num_states must be a whole number, but is 2.5"),
    (["mine.py:Short", "--config", "list.toml"], "unknown table in list.toml 'gmae'; did you mean game"),
    (["mine.py:Short", "--config", "mine.py"], "mine.py is no TOML file"),
    (["mine.py:Short", "--config", "absent.toml"], "cannot read absent.toml"),
    (
        ["mine.py:Short", "--set", "game.horizn=3"],
        "--set: unknown parameter of the game 'horizn'; did you mean horizon",
    ),
    (["mine.py:Short", "--set", "horizon"], "--set takes KEY=VALUE"),
    (["mine.py:Short", "--sweep", "seed=0..999"], "1000 values of seed, of at most 256"),
    (["mine.py:Short", "--sweep", "seed=0..99", "game.push=1,2,3"], "300 runs, of at most 256"),
    (["mine.py:Short", "--sweep", "seed="], "needs values"),
    (["mine.py:Short", "--sweep", "game.num_states=5,-1"], "at least 2"),
    (["mine.py:Short", "--sweep", "solver.num_paths=2,0"], "num_paths must be a whole number of at least 1"),
    (["mine.py:Short", "--sweep", "seed=0,1", "--seed", "3"], "seed is swept, and given as well"),
    (["mine.py:Short", "--sweep", "seed=1,1"], "has a value twice"),
    (["mine.py:Short", "--sweep", "solver.clip=a"], "clip must be a number, but is 'a'"),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_what_is_wrong_is_said_in_one_line(words, said, tmp_path, capsys):
    Path("broken.py").write_text("x = 0\ny = 1 / x\n")
    Path("bad.toml").write_text("[run]\nseed = 1\n[solver]\nnum_pahts = 3\n")
    Path("type.toml").write_text("[game]\nnum_states = 2.5\n")
    Path("list.toml").write_text("[gmae]\nhorizon = 3\n")
    Path("unkept.py").write_text(GAME.replace("seed: int = 5", "payoff: object = abs"))
    files = sorted(tmp_path.iterdir())
    assert main(["solve", *words, "--quiet"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert sorted(path for path in tmp_path.iterdir() if path.name != "__pycache__") == files


def test_save_load_and_report(tmp_path):
    game = smfg.games.make("linear_quadratic", num_states=9, horizon=3)
    solver = smfg.solvers.RSPG(smfg.policies.recurrent(game, hidden=4, width=4), num_paths=2)
    solution = smfg.solvers.solve(game, solver, key=jax.random.key(3), max_steps=2)
    page = smfg.report(game, solution, tmp_path / "run", seed=3)
    assert page.read_text().startswith("<!doctype html>")
    run = smfg.load(tmp_path / "run")
    assert (run.game, run.settings.seed, run.settings.solver) == (game, 3, "rspg")
    observation = jax.numpy.zeros(game.observation_size)
    kept = [
        policy.update(policy.start(), observation, jax.numpy.asarray(0)) for policy in (solution.policy, run.policy)
    ]
    assert jax.numpy.array_equal(*kept)
    assert run.result["iterations"] == 2
    with pytest.raises(ValueError, match="not empty"):
        smfg.save(game, solution, tmp_path / "run")
    with pytest.raises(ValueError, match="stats have no solver"):
        smfg.save(game, solution._replace(stats={}), tmp_path / "other")
