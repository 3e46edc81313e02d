"""`structmfg bench --games all`: what it plans, what it reads, and that it goes on where it was."""

import json
import subprocess

import pytest

from structmfg.benchmarks import every_game
from structmfg.games import GAMES
from structmfg.solvers import SOLVERS


def test_pairs_that_do_not_suit_say_why():
    found = {(each.game, each.solver): each for each in every_game.entries(["macro", "sis", "left_right", "bank_run"])}
    assert len(found) == 4 * len(SOLVERS)
    assert found["macro", "exact"].status == "not for it"
    assert "noise tree needs finite common noise" in found["macro", "exact"].reason
    assert found["bank_run", "mf_omo"].status == "not for it"
    assert "BankRun declares actions, public" in found["bank_run", "mf_omo"].reason
    assert "infinite horizon" in found["left_right", "stationary"].reason
    assert [found[game, "rspg"].status for game in ("macro", "left_right")] == ["planned"] * 2
    assert found["sis", "stationary"].status == "planned"


@pytest.mark.parametrize(("games", "solvers"), [(["nothing"], []), ([], ["nothing"])])
def test_unknown_names_are_refused(games, solvers):
    with pytest.raises(ValueError, match="unknown"):
        list(every_game.entries(games, solvers))


@pytest.mark.slow
def test_a_run_goes_on_where_it_was(tmp_path, monkeypatch):
    """Pairs that are done are read; one that fails leaves the others alone."""
    result = every_game.run_all(tmp_path, games=["left_right"], solvers=["exact", "stationary"], max_seconds=1)
    exact, other = result["entries"]
    assert (exact["status"], exact["result"], other["status"]) == ("ok", "converged", "not for it")
    assert 0 <= exact["excess"] <= 1e-4
    assert abs(exact["uniform"] - 0.25) < 1e-5
    row = {"game": "left_right", "uniform": exact["uniform"], "best": "exact", "best_peer": None}
    assert result["table"] == [{**row, "excess": {"exact": exact["excess"]}}]

    def broken(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "structmfg: it does not work")

    monkeypatch.setattr(subprocess, "run", broken)
    again = every_game.run_all(tmp_path, games=["left_right"], solvers=["exact", "fixed_point"], max_seconds=1)
    assert again["entries"][0] == exact
    assert again["entries"][1]["status"] == "failed"
    assert again["entries"][1]["reason"] == "structmfg: it does not work"
    assert json.loads((tmp_path / "result.json").read_text()) == json.loads(json.dumps(again))
    assert "it does not work" in (tmp_path / "report.html").read_text()
    with pytest.raises(ValueError, match="left_right holds runs of 1 s of training, but max_seconds is 2"):
        every_game.run_all(tmp_path, games=["left_right"], solvers=["exact"], max_seconds=2)


def test_solvers_of_a_game_share_a_process_and_those_it_leaves_undone_run_alone(tmp_path, monkeypatch):
    commands = []

    def broken(command, **_):
        commands.append(command[command.index("--solvers") + 1])
        return subprocess.CompletedProcess(command, 1, "", "structmfg: it does not work")

    monkeypatch.setattr(subprocess, "run", broken)
    lines = []
    result = every_game.run_all(
        tmp_path, games=["left_right"], solvers=["exact", "rspg", "stationary"], log=lines.append
    )
    assert commands == ["exact,rspg", "exact", "rspg"]
    assert [each["status"] for each in result["entries"]] == ["failed", "failed", "not for it"]
    assert lines[0].startswith("left_right: running ")


def test_every_game_has_a_solver():
    planned = {each.game for each in every_game.entries(solvers=["rspg", "stationary"]) if each.status == "planned"}
    assert {game for game in planned if ":" not in game} == set(GAMES)
