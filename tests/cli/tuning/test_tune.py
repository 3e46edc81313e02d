"""`structmfg tune`: what it searches, what it keeps, and how it goes on."""

import json
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from structmfg.cli import main
from structmfg.cli.arguments import Option
from structmfg.cli.tuning import _trial, _tune
from structmfg.cli.tuning._spaces import _SPACES, FIXED, Choices, Range, fields_of, read_spaces, spaces, unknown_fields
from structmfg.cli.tuning._study import Study
from structmfg.solvers import SOLVERS

pytestmark = pytest.mark.usefixtures("blank_figures", "programs_kept")
TINY = ["left_right", "--solver", "mirror_descent", "--iterations", "5", "--seconds", "5", "--trials"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def result_of(folder):
    return json.loads((Path(folder) / "result.json").read_text())


# Where settings are searched; these need no Optuna.


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_setting_of_the_package_is_known(solver):
    """A field that is added to a solver gets a range, or a place among those that are not searched."""
    assert unknown_fields(solver) == []
    assert not FIXED & _SPACES.keys()


def test_ranges_lie_around_the_preset():
    suited = {"learning_rate": 0.02, "adaptive": False, "temperature": 0.0, "num_paths": 2, "inner": 10, "damping": 1.0}
    found = spaces("rspg", suited, {"schedule": "linear"})
    assert found["learning_rate"] == Range(0.002, 0.2, log=True)
    assert found["num_paths"] == Range(1, 8, log=True, whole=True)
    assert "temperature" not in found  # there is nothing around zero
    assert "schedule" not in found  # it was given
    assert spaces("prior_descent", suited, {}) == {"inner": Range(2, 40, log=True, whole=True)}
    assert spaces("fixed_point", suited, {}) == {"damping": Range(0.05, 1.0)}
    assert "num_states" not in fields_of("rspg")
    assert "gradient_discount" not in spaces("rspg", {**suited, "gradient_discount": None}, {})
    beyond = spaces("rspg", {"gradient_discount": 0.8, "adam_b2": 0.95}, {})
    assert beyond["gradient_discount"] == Range(0.8, 1.0)
    assert beyond["adam_b2"].has(0.95)


def test_settings_that_the_table_does_not_know_are_told(capsys):
    """Those of a solver of one's own, before the first trial; --search takes them."""
    pytest.importorskip("optuna")
    Path("bold.py").write_text(
        "from structmfg.solvers import OccupationInclusion\n\n\n"
        "class Bold(OccupationInclusion):\n    boldness: float = 1.0\n    daring: float = 2.0\n"
    )
    words = ["--search", "daring=1:3", "--iterations", "2", "--trials", "1", "--out", "t"]
    assert main(["tune", "left_right", "--solver", "bold.py:Bold", *words]) == 0
    text = capsys.readouterr().out
    assert "Not searched, because no range is known (give --search): boldness\n" in text
    assert result_of("t")["search"] == {"learning_rate": "0.001 to 0.1, by factors", "daring": "1 to 3"}


def test_ranges_of_ones_own():
    options = {
        "learning_rate": Option("learning_rate", float, ""),
        "num_paths": Option("num_paths", int, ""),
        "window": Option("window", int | None, ""),
    }
    words = ["learning-rate=1e-4:1e-1:log", "num_paths=2:16", "window=8,none"]
    assert read_spaces(words, options) == {
        "learning_rate": Range(1e-4, 1e-1, log=True),
        "num_paths": Range(2, 16, whole=True),
        "window": Choices((8, None)),
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--search", "learning_rate"], "--search takes SETTING=LOW:HIGH, LOW:HIGH:log or A,B, but was given"),
        (["--search", "rate=1:2"], "unknown setting of --search 'rate'; did you mean"),
        (["--search", "learning_rate=2:1"], "--search learning_rate needs finite numbers LOW:HIGH, the first below"),
        (["--search", "learning_rate=0:1:log"], "so LOW must be above 0, but is 0"),
        (["--search", "learning_rate=a:1"], "learning_rate must be a number, but is 'a'"),
        (["--search", "adaptive=true"], "--search adaptive needs two values or more"),
        (["--search", "adaptive=0:1"], "--search adaptive takes a list such as A,B: it is no number"),
        (["--search", "information=full,publik"], "unknown information 'publik'"),
        (["--search", "learning_rate=1:2", "learning-rate=2:3"], "--search has learning_rate twice"),
        (["--search", "learning_rate=1:2", "--learning-rate", "1"], "learning_rate is searched, and given as well"),
        (["--search"], "--search takes SETTING=LOW:HIGH, LOW:HIGH:log or A,B, but was given nothing"),
        (["--trials", "0"], "trials must be a whole number of at least 1, but is 0"),
        (["--seconds", "0"], "seconds must be finite and above 0, but is 0"),
        (["--measure", "clear"], "unknown measure 'clear'"),
        (["--resume", "nowhere", "--out", "t"], "--resume and --out both name a folder: leave out one of them"),
        (["--resume", "nowhere"], "nowhere holds no search: it has no tuning.json"),
    ],
)
def test_refused(words, message, capsys):
    pytest.importorskip("optuna")
    assert main(["tune", *TINY, "1", *words]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert not Path("runs").exists()


def test_without_optuna(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(["tune", *TINY, "1"]) == 2
    assert "tune needs Optuna: pip install 'structmfg[tune]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["[solver]\nname='spg'"], "has settings of spg, which --solvers does not name"),
        (["[solver]\nname='rspg'", "[solver]\nname='rspg'"], "--config has settings of rspg twice"),
        (["[game]\nname='macro'\n[solver]\nname='rspg'"], "is about the game macro, but the comparison is about"),
        (["[solver]\nname='rspg'\npreset='paper'"], "compare takes settings beyond the default preset only"),
        (["[solver]\nname='rspg'\nlearning_rat=1.0"], "unknown setting of the solver 'learning_rat'; did you mean"),
    ],
)
def test_files_that_compare_refuses(files, message, capsys):
    for place, text in enumerate(files):
        Path(f"{place}.toml").write_text(text)
    words = [f"{place}.toml" for place in range(len(files))]
    assert main(["compare", "beach_bar", "--solvers", "rspg", "--config", *words]) == 2
    assert message in capsys.readouterr().err


# Searches.


def test_a_search_finds_better_settings_and_the_same_ones_again(capsys, programs_kept):
    """The first trial is the preset; the best one's file makes a run that reaches the same number."""
    pytest.importorskip("optuna")
    programs_kept.clear()
    assert main(["tune", *TINY, "5", "--seed", "3", "--out", "t", "--json", "--quiet"]) == 0
    assert len(programs_kept) == 1  # it drops its programs after every ten trials
    captured = capsys.readouterr()
    assert captured.err == ""
    found = json.loads(captured.out)
    assert captured.out.count("\n") == 1
    assert found == result_of("t")
    trials = found["trials"]
    assert [trial["number"] for trial in trials] == list(range(1, 6))
    assert trials[0]["settings"] == {"learning_rate": 0.1, "adaptive": False}
    assert all(trial["steps"] == 5 and trial["kind"] == "non_anticipative, exact" for trial in trials)
    assert found["best"]["value"] == min(trial["value"] for trial in trials) < trials[0]["value"]
    assert set(found["importances"]) == {"learning_rate", "adaptive"}
    report = Path("t/report.html").read_text()
    assert "PED-ANOVA" in report
    assert report.count("data:image/png") == 3

    best = tomllib.loads(Path("t/best.toml").read_text())
    assert best["solver"]["learning_rate"] == found["best"]["settings"]["learning_rate"]
    assert main(["solve", "--config", "t/best.toml", "--out", "again", "--json", "--quiet"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["exploitability"]["non_anticipative"] == pytest.approx(found["best"]["value"], rel=1e-9)


def test_own_range_and_given_settings(capsys):
    pytest.importorskip("optuna")
    words = ["--search", "learning_rate=5:6", "--adaptive", "--out", "t", "--json"]
    assert main(["tune", *TINY, "3", *words]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert all(5 <= trial["settings"]["learning_rate"] <= 6 for trial in found["trials"])  # the preset lies outside
    assert found["search"] == {"learning_rate": "5 to 6"}
    assert tomllib.loads(Path("t/best.toml").read_text())["solver"]["adaptive"] is True
    assert "Given, and not searched: adaptive True" in captured.err


def test_trials_that_fail_are_kept(monkeypatch):
    """One is refused by its solver, one has no finite exploitability; the search goes on."""
    pytest.importorskip("optuna")
    spoiled, values = iter([{"learning_rate": -1.0}, {}, {}]), iter([float("nan"), 0.5])
    monkeypatch.setattr(_tune, "_consistent", lambda settings, *rest: settings | next(spoiled))
    monkeypatch.setattr(_trial, "measured", lambda *of: (next(values), "clairvoyant"))
    assert main(["tune", *TINY, "3", "--out", "t", "--quiet"]) == 0
    trials = result_of("t")["trials"]
    assert [trial["result"] for trial in trials] == ["failed", "failed", "completed"]
    assert trials[0]["message"] == "ValueError: learning_rate must be finite and above 0, but is -1.0"
    assert trials[1]["message"] == "the exploitability is nan"
    assert [trial["value"] for trial in trials] == [None, None, 0.5]
    assert result_of("t")["best"]["number"] == 3
    assert "must be finite and above 0" in Path("t/report.html").read_text()


def test_all_trials_failed(capsys, monkeypatch):
    pytest.importorskip("optuna")
    monkeypatch.setattr(_tune, "_consistent", lambda settings, *rest: {"learning_rate": -1.0})
    assert main(["tune", *TINY, "1", "--out", "t", "--quiet"]) == 1
    assert result_of("t")["best"] is None
    assert not Path("t/best.toml").exists()


def test_more_trials_and_another_search(capsys):
    """The same command with more trials goes on; what was there stays. Other settings are refused."""
    pytest.importorskip("optuna")
    assert main(["tune", *TINY, "2", "--out", "t", "--quiet"]) == 0
    before, best = result_of("t")["trials"], Path("t/best.toml").read_bytes()
    Path("t/best.toml").unlink()  # as after a kill
    assert main(["tune", *TINY, "2", "--resume", "t", "--quiet"]) == 0
    assert Path("t/best.toml").read_bytes() == best
    assert main(["tune", *TINY, "3", "--resume", "t", "--quiet"]) == 0
    assert result_of("t")["trials"][:2] == before
    assert len(result_of("t")["trials"]) == 3
    assert main(["tune", *TINY, "3", "--seed", "1", "--out", "t"]) == 2
    assert "t holds another search (another seed): choose another folder" in capsys.readouterr().err
    Path("t/study.db").write_text("no database, but long enough to look like one" * 100)
    assert main(["tune", *TINY, "3", "--out", "t"]) == 2
    assert "study.db cannot be used: " in capsys.readouterr().err


def test_an_interrupted_search_goes_on(capsys, monkeypatch):
    """Ctrl-C in the second trial: the first one stays, and the second is made again with the same settings."""
    pytest.importorskip("optuna")
    whole, run_trial, asked = ["tune", *TINY, "3", "--quiet", "--out", "t"], _tune.run_trial, []

    def interrupted(task, settings, callback):
        asked.append(settings)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return run_trial(task, settings, callback)

    monkeypatch.setattr(_tune, "run_trial", interrupted)
    assert main(whole) == 130
    assert "interrupted with 1 trials done; the same command with --out t goes on" in capsys.readouterr().err
    assert main(whole) == 0
    assert asked[1] == asked[2]
    assert [trial["settings"] for trial in result_of("t")["trials"]] == [asked[0], *asked[2:]]


@pytest.mark.parametrize("value", [0.5, None])
def test_a_trial_whose_process_was_killed_at_its_end_stays(value, tmp_path, monkeypatch):
    """Its outcome was written, and Optuna had not been told: the trial counts, and is not made again."""
    pytest.importorskip("optuna")
    spaces, start = {"rate": Range(0.0, 2.0)}, {"rate": 1.0}

    def run(settings):
        if value is None:
            raise _trial.TrialFailed("in vain")
        return _trial.Outcome(value, "public, exact", "completed", 3, 1.0, 2.0, "settings")

    class KilledError(Exception):
        pass

    def killed(*told):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Study, "_finish", killed)
        with pytest.raises(KilledError):
            Study(tmp_path, spaces, start, 0).try_next(run)
    study = Study(tmp_path, spaces, start, 0)
    (trial,) = study.trials()
    assert (trial.number, trial.settings, trial.value) == (1, start, value)
    assert study.best_toml == (None if value is None else "settings")
    assert study.try_next(run).settings != start


def test_a_trial_whose_process_was_killed_before_its_outcome_is_made_again(tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    spaces, start, outcome = (
        {"rate": Range(0.0, 2.0)},
        {"rate": 1.0},
        _trial.Outcome(0.5, "", "", 3, 1.0, 2.0, "settings"),
    )
    with monkeypatch.context() as patch:
        patch.setattr(Study, "_tell", lambda *told: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Study(tmp_path, spaces, start, 0).try_next(lambda settings: outcome)
    study = Study(tmp_path, spaces, start, 0)
    assert study.best_toml is None
    assert study.try_next(lambda settings: outcome).settings == start


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on():
    """With SIGKILL amid a trial: the trials that had ended stay, that one is made again, and no other ones come."""
    pytest.importorskip("optuna")
    whole = ["tune", *TINY, "5", "--quiet", "--out"]
    assert main([*whole, "whole"]) == 0
    process = subprocess.Popen([sys.executable, "-m", "structmfg", *whole, "killed"], env=os.environ)
    while not Path("killed/best.toml").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert not Path("killed/result.json").exists()
    assert main([*whole, "killed"]) == 0
    first, second = (result_of(folder)["trials"] for folder in ("whole", "killed"))
    assert [trial["settings"] for trial in first] == [trial["settings"] for trial in second]
    assert [trial["value"] for trial in first] == [trial["value"] for trial in second]


@pytest.mark.slow
def test_compare_takes_the_best_settings(capsys):
    pytest.importorskip("optuna")
    assert main(["tune", *TINY, "2", "--search", "learning_rate=2:3", "--adaptive", "--out", "t", "--quiet"]) == 0
    words = ["--config", "t/best.toml", "--seeds", "1", "--max-seconds", "2", "--out", "compared", "--json", "--quiet"]
    assert main(["compare", "left_right", "--solvers", "mirror_descent,fictitious_play", *words]) == 0
    compared = json.loads(capsys.readouterr().out)
    assert (
        compared["settings"]["mirror_descent"]["learning_rate"] == result_of("t")["best"]["settings"]["learning_rate"]
    )
    run = json.loads(Path("compared/runs/mirror_descent-0/settings.json").read_text())
    assert run["hyper_parameters"]["adaptive"] is True
    assert 2 <= run["hyper_parameters"]["learning_rate"] <= 3


@pytest.mark.slow
def test_a_trained_solver_fills_the_clock(capsys):
    """Without a number of updates a trial has as many as its seconds take, planned by a trial of its pace."""
    pytest.importorskip("optuna")
    words = ["--trials", "2", "--seconds", "2", "--hidden", "4", "--width", "4", "--out", "t", "--quiet"]
    words += ["--search", "temperature=0.1:10:log", "final_temperature=0.01:5:log"]
    assert main(["tune", "linear_quadratic", "--solver", "spg", "--num-states", "15", "--horizon", "5", *words]) == 0
    for trial in result_of("t")["trials"]:
        assert trial["result"] in ("completed", "time_limit")  # where the machine has become slower
        assert trial["kind"] == "public, exact"
        assert 0.5 < trial["train_seconds"] <= 2.5
        assert trial["steps"] > 20
