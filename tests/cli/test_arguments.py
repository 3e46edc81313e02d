"""Options of games and solvers, what the help says of them, and completion in shells."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import get_origin

import pytest

import structmfg
from structmfg.cli import main
from structmfg.cli.arguments import members, parse
from structmfg.games import GAMES
from structmfg.solvers import SOLVERS


def last_object(text):
    return json.loads(text.rstrip("\n").rpartition("\n")[2])


def test_every_parameter_is_an_option():
    """Of every game with the first solver, and of every solver with one game; the field of each gets the value."""
    texts = {int: "3", float: "0.5"}
    pairs = [(game, "rspg") for game in GAMES] + [("linear_quadratic", solver) for solver in SOLVERS]
    for game, solver in pairs:
        fields = parse(["solve", game, "--solver", solver]).fields
        assert fields["game"].keys() == {field.name for field in dataclasses.fields(GAMES[game])}
        assert {field.name for field in dataclasses.fields(SOLVERS[solver])} - {"policy", "optimiser"} <= set(
            fields["solver"]
        )
        words = []
        for option in [*fields["game"].values(), *fields["solver"].values()]:
            text = next((texts[kind] for kind in texts if kind in members(option.kind)), "name")
            text = "0.5,0.7" if get_origin(option.kind) is tuple else text
            words += [option.typed] if option.kind is bool else [option.typed, text]
        given = parse(["solve", *words, game, "--solver", solver])
        assert given.game == game
        assert given.game_parameters.keys() == fields["game"].keys()
        assert given.overrides.keys() == fields["solver"].keys()
        named = [option.name for table in fields.values() for option in table.values() if not option.help]
        assert not named, f"no docstring says what {named} of {game} and {solver} are for"


def test_an_option_that_may_be_none_is_read_as_its_type():
    assert parse(["solve", "macro", "--gradient-discount", "0.9"]).overrides == {"gradient_discount": 0.9}
    with pytest.raises(ValueError, match="--gradient-discount must be a number, but is 'even'"):
        parse(["solve", "macro", "--gradient-discount", "even"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["solve", "--set", "seed=1", "game.horizon=3", "macro"], {"game": "macro", "seed": 1}),
        (["solve", "--sweep", "seed=0..1", "--set", "game.name=macro"], {"game": "macro", "sweep": ["seed=0..1"]}),
        (["solve", "--set", "seed=1", "game.name=macro", "solver.name=spg"], {"game": "macro", "solver": "spg"}),
        (["report", "--game", "a.py:A", "b.py:B", "run/a", "run/b"], {"runs": ["run/a", "run/b"]}),
        (["report", "run/a", "--game=a.py:A", "run/b", "--solver", "s:S", "run/c"], {"game": ["a.py:A"]}),
        (["evaluate", "--players", "3", "50", "runs/x"], {"run": "runs/x", "players": [3, 50]}),
    ],
)
def test_options_of_several_values_leave_the_arguments(words, expected):
    given = parse(words)
    assert {name: getattr(given, name) for name in expected} == expected


@pytest.mark.parametrize("command", ["solve", "tune"])
def test_the_solver_suits_the_horizon(command):
    def named(*words):
        return parse([command, *words]).solver

    assert named("macro") == named("four_rooms", "--horizon", "5") == named("left_right") == "rspg"
    assert named("sis") == named("four_rooms") == named("sis", "--horizon", "none") == "stationary"
    assert named("sis", "--solver", "exact") == "exact"


def test_the_solver_suits_a_game_that_needs_parameters(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(
        "import dataclasses, structmfg\n@dataclasses.dataclass(frozen=True)\nclass Own(structmfg.Game):\n"
        "    cost: float\n    horizon: int | None = None\n"
    )
    assert parse(["solve", f"{path}:Own", "--cost", "1"]).solver == "stationary"
    assert parse(["solve", f"{path}:Own", "--cost", "1", "--horizon", "none"]).solver == "stationary"
    assert parse(["solve", f"{path}:Own", "--cost", "1", "--horizon", "3"]).solver == "rspg"


def test_the_solver_suits_the_horizon_of_set():
    assert parse(["solve", "sis", "--set", "game.horizon=5"]).solver == "rspg"
    assert parse(["solve", "--set", "game.name=sis"]).solver == "stationary"
    assert parse(["solve", "sis", "--set", "solver.name=exact"]).solver == "exact"


def test_a_choice_is_read_by_name():
    given = parse(["solve", "macro", "--noise-states", "3", "--discretisation", "tauchen"]).game_parameters
    assert given == {"noise_states": 3, "discretisation": "tauchen"}


def test_a_switch_can_be_turned_off():
    assert parse(["solve", "macro", "--no-clock"]).overrides == {"clock": False}
    assert parse(["solve", "macro", "--clock"]).overrides == {"clock": True}
    with pytest.raises(ValueError, match="unexpected argument 'false'"):
        parse(["solve", "macro", "--clock", "false"])


def test_help_and_version(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(command in text for command in ("solve", "solvers", "report"))
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"structmfg {structmfg.__version__}\n"
    for words in (["--version", "--json"], ["--json", "--version"]):
        assert main(words) == 0
        versions = last_object(capsys.readouterr().out)
        assert versions["structmfg"] == structmfg.__version__
        assert versions.keys() == {"structmfg", "python", "jax", "jaxlib", "numpy", "platform"}


def test_the_help_of_solve_fits_a_screen(capsys):
    assert main(["solve", "--help"]) == 0
    text = capsys.readouterr().out
    assert text.count("\n") <= 40
    assert "--learning-rate" not in text
    for game, solver in [("macro", "rspg_gae"), ("carmona_fouque_sun", "m_omd"), ("beach_bar", "exact")]:
        assert main(["solve", game, "--help", "--solver", solver]) == 0
        text = capsys.readouterr().out
        assert text.count("\n") <= 60
        fields = [field.name for kind in (GAMES[game], SOLVERS[solver]) for field in dataclasses.fields(kind)]
        for name in set(fields) - {"policy", "optimiser"}:
            assert f"--{name.replace('_', '-')}" in text
        assert "--sweep" not in text
    assert "--learning-rate" not in text  # the exact solver has none
    assert "Cells of the beach. [101]" in text or "Cells of the beach [101]" in text


def test_the_help_needs_no_jax():
    """So that it is there at once."""
    program = "import sys; from structmfg.cli import main; main(['--help']); sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode == 0


def test_solvers_are_listed(capsys):
    assert main(["solvers", "--json", "--quiet"]) == 0
    listed = {solver["name"]: solver for solver in last_object(capsys.readouterr().out)["solvers"]}
    assert listed.keys() == SOLVERS.keys()
    assert all(solver["guarantees"].endswith(".") and solver["use"].endswith(".") for solver in listed.values())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_games_and_their_options(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    names = ("beach_bar", "crowd-aversion", "gae-lambda", "verify", "mirror_descent", "float64")
    assert all(name in script for name in names)


def test_completion_offers_names_and_files(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("rungame.toml").touch()
    assert main(["completion", "bash"]) == 0
    typed = {
        "solve left_right --solver ex": "exact",
        "solve left_right --preset p": "paper",
        "open run": "rungame.toml",
    }
    typed["solve macro --config rung"] = "rungame.toml"
    script = capsys.readouterr().out
    for words in typed:
        script += (
            f"COMP_WORDS=(structmfg {words}); COMP_CWORD={len(words.split())}; _structmfg; echo ${{COMPREPLY[@]}}\n"
        )
    completed = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert completed.stdout.splitlines() == list(typed.values())
