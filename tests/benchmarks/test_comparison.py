"""Solvers on one clock: the summary, which runs are saved, resumed, and refused."""

import json
import math
import re

import numpy as np
import pytest

from structmfg import reports
from structmfg.benchmarks import comparison
from structmfg.benchmarks.comparison import _plan, _runs
from structmfg.benchmarks.comparison._compare import summarise
from structmfg.cli import main
from structmfg.games import make
from structmfg.reports import ReferenceValues
from structmfg.runs import load_run
from structmfg.solvers import Estimate, preset

GAME = make("left_right")
pytestmark = pytest.mark.usefixtures("blank_figures", "measured_once", "programs_kept", "first_method_alone")


@pytest.fixture(scope="module")
def measured_once():
    """What exploitabilities are compared with is the same in all comparisons here, all of which are of one game."""
    measure, known = reports.reference_values, {}

    def once(game, solver, *, kinds):
        assert game == GAME
        key = (solver, *kinds)
        if key not in known:
            known[key] = measure(game, solver, kinds=kinds)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reports, "reference_values", once)
        yield


def curve(*points):
    return [(float(seconds), float(value), 0.0) for seconds, value in points]


def clocked(solver, seed, *points):
    return comparison.ClockedRun(solver, seed, "completed", 10, points[-1][0], 1.0, curve(*points), "folder")


@pytest.mark.parametrize("max_steps", [1, 2, 15, 16, 1000])
def test_checkpoints_are_closer_at_the_start(max_steps):
    steps = _runs.checkpoint_steps(preset(GAME, "spg").solver, max_steps)
    assert steps[-1] == max_steps
    assert steps[0] >= 1
    assert sorted(set(steps)) == steps
    if max_steps == 1000:
        assert (np.diff(steps, 2) >= -1).all()
        assert len(steps) == 16
        on_tree = _runs.checkpoint_steps(preset(GAME, "exact").solver, max_steps)
        assert on_tree == [1, 2, 3, 4, 7, 10, 17, 27, 43, 69, 110, 176, 281, 450, 721]


def test_summary_by_hand():
    """Half-way is sqrt(100 * 1) = 10: at 1 s for rspg, at 5 s for spg; ippo is not in its 8 s."""
    runs = {
        "rspg": [clocked("rspg", seed, (1, 10), (10, end)) for seed, end in enumerate([0.5, 1.0, 1.5])],
        "spg": [clocked("spg", seed, (5, 10), (10, 4)) for seed in range(3)],
        "ippo": [clocked("ippo", seed, (1, 90), (8, 50)) for seed in range(3)],
    }
    plan = comparison.ClockPlan("left_right", {}, "float32", 10.0, {}, list(runs), [0, 1, 2], {})
    beside = ReferenceValues({"clairvoyant": Estimate(100.0, 0.0)}, {"clairvoyant": 0.3}, "public", None)
    found = summarise(GAME, plan, runs, beside)
    assert (found["reference"], found["half_way"]) == ("rspg", 10)
    rspg, spg, ippo = found["rows"]
    assert rspg["exploitability"] == pytest.approx(1)
    assert rspg["half_width"] == pytest.approx(4.302653 * 0.5 / math.sqrt(3), rel=1e-6)
    assert (spg["of_reference"], spg["of_uniform"], spg["seconds_to_half_way"], spg["speed_up"]) == (4, 0.04, 5, 5)
    assert not spg["speed_up_at_least"]
    assert (ippo["seconds_to_half_way"], ippo["speed_up"], ippo["speed_up_at_least"]) == (None, 8, True)


@pytest.mark.parametrize("end", [0.0, 150.0])
def test_no_half_way_is_claimed_where_there_is_none(end):
    """At an end of zero there is no geometric mean; from one above the uniform policy's nobody came down to it."""
    runs = {name: [clocked(name, 0, (1, 140), (10, end))] for name in ("rspg", "spg")}
    plan = comparison.ClockPlan("left_right", {}, "float32", 10.0, {}, list(runs), [0], {})
    beside = ReferenceValues({"clairvoyant": Estimate(100.0, 0.0)}, {"clairvoyant": None}, "public", None)
    found = summarise(GAME, plan, runs, beside)
    assert (found["half_way"] is None) == (end == 0)
    assert [row["speed_up"] for row in found["rows"]] == [None, None]


# Runs.


@pytest.fixture(scope="module")
def compared(tmp_path_factory, programs_kept, first_method_alone):
    """Two solvers, one on the tree, and two seeds."""
    folder = tmp_path_factory.mktemp("compared")
    programs_kept.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_plan, "_MIN_TRIAL_SECONDS", 0.02)
        told = []
        result = comparison.compare(
            GAME, folder, solvers=["spg", "fixed_point"], seeds=2, max_seconds=0.2, log=told.append
        )
    assert len(programs_kept) == 4  # a comparison drops its programs after every run
    return folder, result, told


@pytest.mark.slow
def test_every_run_is_kept(compared):
    """As a run folder, its schedule planned to fill the clock."""
    folder, result, told = compared
    assert {path.name for path in (folder / "runs").iterdir()} == {"spg-0", "spg-1", "fixed_point-0", "fixed_point-1"}
    assert [run.seed for run in result.runs["spg"]] == [0, 1]
    run = load_run(folder / "runs" / "spg-1")
    assert (run.settings.seed, run.settings.max_steps) == (1, result.plan.steps["spg"])
    assert run.settings.max_steps > 5
    assert told[0] == "timing spg"
    saved = json.loads((folder / "result.json").read_text())
    assert [row["solver"] for row in saved["rows"]] == ["spg", "fixed_point"]
    assert saved["anchors"]["floor"]["clairvoyant"] == pytest.approx(0, abs=1e-6)
    for solver in ("spg", "fixed_point"):
        for kept in result.runs[solver]:
            assert all(b[0] >= a[0] for a, b in zip(kept.curve, kept.curve[1:], strict=False))
            assert kept.curve[-1][0] == kept.train_seconds
    html = (folder / "report.html").read_text()
    assert html.count("data:image/png;base64,") == 2
    assert "SPG" in html


def test_seeds_differ(compared):
    one, two = compared[1].runs["spg"]
    assert one.curve[0][1] != two.curve[0][1]


def test_it_goes_on_where_it_was(compared, monkeypatch):
    """Only the run that was not finished is made again, and the seed that is added, of the solver asked for."""
    folder, before, _ = compared
    (folder / "runs" / "spg-1" / _runs.FILE).unlink()
    told = []
    after = comparison.compare(GAME, folder, solvers=["spg"], seeds=3, max_seconds=0.2, log=told.append)
    made = [line.partition(":")[0] for line in told if "after" in line]
    assert made == ["spg, seed 1", "spg, seed 2"]
    assert after.plan.steps == before.plan.steps
    assert after.runs["spg"][0] == before.runs["spg"][0]
    assert after.runs["spg"][1].curve[0][1] == before.runs["spg"][1].curve[0][1]  # the same seed, the same numbers


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_seconds": 0.3}, "holds a comparison with another max seconds: 0.2 there, 0.3 now"),
        ({"game": make("crowd_modelling")}, "another game: left_right there, crowd_modelling now"),
        ({"solvers": ["rpsg"]}, "unknown solver 'rpsg'; did you mean rspg"),
        ({"solvers": []}, "at least one solver"),
        ({"seeds": 0}, "seeds must be a whole number of at least 1"),
        ({"max_seconds": 0.0}, "max_seconds must be finite and above 0"),
    ],
)
def test_refused(compared, change, message):
    arguments = {"game": GAME, "solvers": ["spg"], "seeds": 1, "max_seconds": 0.2} | change
    with pytest.raises(ValueError, match=re.escape(message)):
        comparison.compare(arguments.pop("game"), compared[0], **arguments)


@pytest.mark.parametrize(
    "damage", [{"seeds": "x"}, {"steps": {"spg": "many"}}, {"solvers": ["rm -rf"]}, {"steps": {}}, {"seeds": [-1]}]
)
def test_a_damaged_plan_is_not_gone_on_with(compared, tmp_path, damage):
    plan = json.loads((compared[0] / _plan.FILE).read_text()) | damage
    (tmp_path / _plan.FILE).write_text(json.dumps(plan))
    with pytest.raises(ValueError, match="damaged"):
        comparison.compare(GAME, tmp_path, solvers=["spg"], seeds=1, max_seconds=0.2)


@pytest.mark.parametrize("damage", ["{", "{}", '{"curve": []}', '{"curve": [[1, "x", 0]], "result": "completed"}'])
def test_a_damaged_run_is_not_read(tmp_path, damage):
    path = tmp_path / "runs" / "spg-0"
    path.mkdir(parents=True)
    (path / _runs.FILE).write_text(damage)
    with pytest.raises(ValueError, match=r"damaged|not a readable JSON"):
        _runs.finished(tmp_path, "spg", 0)


# The command line.


def test_command(tmp_path, capsys, monkeypatch):
    """Interrupted in the midst of a run, it says how to go on; the same command then finishes."""
    monkeypatch.setattr(_plan, "_MIN_TRIAL_SECONDS", 0.02)
    folder = tmp_path / "compared"
    command = ["compare", "left_right", "--solvers", "fixed_point,spg", "--seeds", "1", "--max-seconds", "0.2"]
    command += ["--out", str(folder), "--json", "--quiet"]
    train = _runs.solve

    def interrupted(game, solver, **arguments):
        if type(solver).__name__ == "SPG":
            assert arguments["snapshots"].folder == folder / "runs" / "spg-0" / "snapshots"
            raise KeyboardInterrupt
        return train(game, solver, **arguments)

    with monkeypatch.context() as patch:
        patch.setattr(_runs, "solve", interrupted)
        assert main(command) == 130
    assert f"interrupted with 1 runs done; the same command with --out {folder} goes on" in capsys.readouterr().err
    assert main(command) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert not list(folder.rglob("snapshots"))
    assert [row["solver"] for row in result["rows"]] == ["fixed_point", "spg"]
    assert result["report"] == str(folder / "report.html")


def test_command_refuses(tmp_path, capsys):
    """And leaves nothing behind."""
    folder = tmp_path / "new"
    assert main(["compare", "left_right", "--solvers", "spgg", "--out", str(folder)]) == 2
    assert "did you mean spg" in capsys.readouterr().err
    assert not folder.exists() or not list(folder.iterdir())
    (folder).mkdir(exist_ok=True)
    (folder / "mine.txt").write_text("mine")
    assert main(["compare", "left_right", "--solvers", "spg", "--out", str(folder)]) == 2
    assert "is not empty" in capsys.readouterr().err
