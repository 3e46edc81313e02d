"""The folder of a solve is there before all imports; a run that is killed in that time begins anew by --resume."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from structmfg.cli import main
from structmfg.cli._early import DEFAULT_SOLVERS, GAME_NAMES, prepare
from structmfg.games import GAMES, make
from structmfg.solvers import default_solver

SOLVE = ["solve", "left_right", "--solver", "exact", "--iterations", "3"]


def test_names_are_those_of_the_games():
    assert sorted(GAME_NAMES) == sorted(GAMES)
    for name in GAMES:
        assert DEFAULT_SOLVERS.get(name, "rspg") == default_solver(make(name))


@pytest.mark.parametrize(
    ("options", "folder"),
    [pytest.param((), "runs/left_right-exact-0", marks=pytest.mark.slow), (("--out", "mine"), "mine")],
)
def test_a_kill_before_anything_is_imported(options, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path(folder)
    command = [sys.executable, "-m", "structmfg", *SOLVE, *options]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])})
    began = time.monotonic()
    while not folder.is_dir() and time.monotonic() - began < 60:
        time.sleep(0.001)
    process.kill()
    process.wait()
    assert [path.name for path in folder.iterdir()] == ["command.json"]
    assert main(["solve", "--resume", str(folder), "--quiet"]) == 1  # three iterations are not enough to converge
    settings = json.loads((folder / "settings.json").read_text())
    assert (settings["game"], settings["solver"], settings["max_steps"]) == ("left_right", "exact", 3)
    assert (folder / "report.html").is_file()
    assert not (folder / "command.json").exists()


@pytest.mark.parametrize(
    "wrong",
    [["--solver", "nonsense"], ["--iterations", "0"], ["--num-states", "5"], ["--colour", "red"], ["--seeds", "2"]],
)
def test_nothing_is_left_of_a_refused_command(wrong, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*SOLVE, *wrong]) == 2
    assert main([*SOLVE, *wrong, "--out", "mine"]) == 2
    assert not any(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    assert main([*SOLVE, *wrong, "--out", "mine"]) == 2
    assert [*tmp_path.rglob("*")] == [tmp_path / "mine"]


def test_folders_are_numbered_and_never_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "left_right-exact-0").mkdir(parents=True)
    assert prepare(SOLVE).folder == Path("runs/left_right-exact-0-2")
    assert prepare([*SOLVE, "--seed", "3", "--seeds=2"]).folder == Path("runs/left_right-exact-seeds-3-4")
    assert prepare([*SOLVE, "--solver", "../.."]) is None
    assert prepare(["solve", "--resume", "runs/left_right-exact-0"]) is None
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert prepare([*SOLVE, "--out", "full"]) is None


@pytest.mark.parametrize("command", [["verify", "macro"], ["solve", "--resume", "x"], "solve", ["solve", 3], None])
def test_a_command_that_begins_no_run_is_refused(command, tmp_path, capsys):
    (tmp_path / "command.json").write_text(json.dumps({"command": command}))
    assert main(["solve", "--resume", str(tmp_path)]) == 2
    assert "command.json" in capsys.readouterr().err
