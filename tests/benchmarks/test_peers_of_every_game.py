"""Imported games in `structmfg bench --games all`: of a library that is made up, and of those in the extra `peers`."""

import importlib
import json
import math
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest

from structmfg.benchmarks import every_game
from structmfg.benchmarks.every_game import _run, _worker
from structmfg.benchmarks.imports import LIBRARIES, PeerLibrary, Trained
from structmfg.benchmarks.imports import _mfglib as mfglib
from structmfg.benchmarks.imports import _peer as openspiel
from structmfg.benchmarks.imports._libraries import brought_over
from structmfg.cli import main
from structmfg.evaluation import exploitability
from structmfg.games import GAMES, from_openspiel, make
from structmfg.policies import uniform


@pytest.fixture
def libraries(monkeypatch):
    """One library that is there, and one that is not installed."""

    def train(game, solver, seconds):
        if solver == "broken":
            raise RuntimeError("it does not work")
        return Trained(uniform(game), seconds, 3)

    games = {"left_right": ("choice",)}
    there = PeerLibrary("There", "numpy", games, lambda name: make("left_right"), ("broken", "nothing"), train)
    for prefix in [*LIBRARIES]:
        monkeypatch.delitem(LIBRARIES, prefix)
    monkeypatch.setitem(LIBRARIES, "there", there)
    monkeypatch.setitem(LIBRARIES, "absent", there._replace(name="Absent", distribution="not-a-distribution"))


@pytest.fixture
def in_this_process(monkeypatch):
    """The processes of pairs run here; the solvers of each."""
    started = []

    def run(command, **_):
        assert command[1:3] == ["-m", "structmfg.benchmarks.every_game._worker"]
        started.append(command[6:])
        try:
            return subprocess.CompletedProcess(command, _worker.main(command[3:]), "", "")
        except RuntimeError as error:
            return subprocess.CompletedProcess(command, 1, "", f"Traceback\nRuntimeError: {error}")

    monkeypatch.setattr(subprocess, "run", run)
    return started


@pytest.mark.usefixtures("libraries")
def test_imported_games_stand_beside_those_of_their_kind(monkeypatch):
    monkeypatch.setattr(_run, "GAMES", {name: GAMES[name] for name in ("left_right", "sis")})
    pairs = [(each.game, each.solver) for each in every_game.entries(solvers=["exact"])]
    imported = [("there:choice", solver) for solver in ("exact", "There: broken", "There: nothing")]
    assert pairs == [("left_right", "exact"), *imported, ("sis", "exact")]
    with pytest.raises(ValueError, match="unknown game 'absent:choice'"):
        list(every_game.entries(["absent:choice"]))


@pytest.mark.usefixtures("libraries")
def test_all_solvers_are_measured_alike_on_an_imported_game(tmp_path, in_this_process):
    names = ["exact", "stationary"]
    result = every_game.run_all(tmp_path, games=["there:choice"], solvers=names, max_seconds=0.5)
    exact, stationary, broken, nothing = result["entries"]
    assert (exact["status"], exact["result"]) == ("ok", "converged")
    assert 0 <= exact["excess"] <= 1e-4
    assert (stationary["status"], nothing["status"]) == ("not for it", "ok")
    assert nothing["excess"] == nothing["uniform"] == exact["uniform"] == pytest.approx(0.25)
    assert (nothing["steps"], nothing["train_seconds"]) == (3, 0.5)
    assert (broken["status"], broken["reason"]) == ("failed", "RuntimeError: it does not work")
    (row,) = result["table"]
    assert (row["best"], row["best_peer"]) == ("exact", "There: nothing")
    assert result["peers"] == {"There": np.__version__, "Absent": None}
    report = " ".join((tmp_path / "report.html").read_text().split())
    assert f"There {np.__version__}<" in report
    assert "Absent is not installed: its games and solvers are left out" in report

    peers = ["There: broken", "There: nothing"]
    assert in_this_process == [[*names, *peers], ["There: broken"]]  # what failed is run again, alone
    again = every_game.run_all(tmp_path, games=["there:choice"], solvers=names, max_seconds=0.5)
    assert again["entries"] == json.loads(json.dumps(result["entries"]))
    assert in_this_process[2:] == [["There: broken"]]  # the others are read
    with pytest.raises(ValueError, match=r"there-choice holds runs of 0\.5 s of training, but max_seconds is 2"):
        every_game.run_all(tmp_path, games=["there:choice"], solvers=["exact"], max_seconds=2)


def test_the_command_shows_the_best_of_both(tmp_path, monkeypatch, capsys):
    entries = [
        every_game.Entry("there:choice", "exact", "ok", 1e-5, 0.25),
        every_game.Entry("there:choice", "There: nothing", "ok", 0.125, 0.25),
    ]
    result = {
        "entries": [each._asdict() for each in entries],
        "table": every_game.tabulate(entries),
        "peers": {"There": "1.0", "Absent": None},
    }
    monkeypatch.setattr(every_game, "run_all", lambda *_, **__: result)
    assert main(["bench", "--games", "all", "--out", str(tmp_path / "new")]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert ["there:choice", "0.25", "exact", "1e-05", "There:", "nothing", "0.125"] in lines
    assert ["Absent", "is", "not", "installed:"] in [line[:4] for line in lines]


def test_the_best_iteration_within_the_seconds_counts():
    """MFGLib takes iterations, not seconds: the run is repeated until it is long enough, and then cut."""
    counts = []

    def solve(environment, *, max_iter, **_):
        counts.append(max_iter)
        scores = [math.nan if i == 22 else abs(i - 20.0) for i in range(max_iter + 1)]
        return list(range(max_iter + 1)), scores, [0.25 * i for i in range(max_iter + 1)]

    found = mfglib.best_within(lambda: SimpleNamespace(solve=solve), None, 6.25)
    assert found == (0.0, 20, 25, 6.25)
    assert counts == [10, 30]


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("name", ["garnet", "routing"])
def test_a_policy_of_openspiels_keeps_its_nash_conv(name):
    """Also where the moves depend on the mean field, as on a small network of Braess's."""
    pytest.importorskip("pyspiel", reason="OpenSpiel is in the extra `peers`")
    if name == "routing":
        names = ("dynamic_routing", "factory")
        routing, factory = (importlib.import_module(f"open_spiel.python.mfg.games.{each}") for each in names)
        network, demand = factory.DYNAMIC_ROUTING_NETWORK["braess"]
        parameters = {"max_num_time_step": 20, "time_step_length": 0.25, "players": -1}
        own = routing.MeanFieldRoutingGame(parameters, network=network, od_demand=demand)
        game, solvers = from_openspiel(own, rewards="as_valued"), ["mirror descent, rate 1"]
    else:
        game, solvers = LIBRARIES["openspiel"].load("mfg_garnet"), LIBRARIES["openspiel"].solvers
    for solver in solvers:
        made = openspiel.solvers(game.walk.game)[solver]()
        for _ in range(3):
            made.iteration()
        policy = made.get_policy()
        here = exploitability(game, brought_over(game, policy), kind="non_anticipative").value
        assert 0.01 < here == pytest.approx(openspiel.nash_conv(game.walk.game, policy), rel=1e-9)


@pytest.mark.usefixtures("double")
def test_a_policy_of_mfglibs_keeps_its_score():
    torch = pytest.importorskip("torch", reason="PyTorch and MFGLib are in the extra `peers`")
    pytest.importorskip("mfglib", reason="MFGLib is in the extra `peers`")
    threads = torch.get_num_threads()
    try:
        game = LIBRARIES["mfglib"].load("left_right")
        gains = []
        for name in LIBRARIES["mfglib"].solvers:
            trained = LIBRARIES["mfglib"].train(game, name, 0.2)
            assert trained.seconds <= 0.2
            here = exploitability(game, trained.policy, kind="non_anticipative").value
            table = torch.tensor(np.asarray(trained.policy.table))
            scoring = importlib.import_module("mfglib.scoring")
            assert here == pytest.approx(scoring.exploitability_score(game.environment, table), rel=1e-6, abs=1e-6)
            gains.append(here)
        assert min(gains) < 0.2 < exploitability(game, uniform(game), kind="non_anticipative").value
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_num_threads(threads)
