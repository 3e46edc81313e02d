"""The command line, in process: what it prints, what it leaves, and how it refuses."""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import pytest

from structmfg.cli import _progress, main
from structmfg.games import GAMES
from structmfg.runs import _load
from structmfg.solvers import SOLVERS, Progress, StationarySolver, TreeSolver

pytestmark = pytest.mark.usefixtures("spared_estimates", "blank_figures", "first_method_alone")
TINY = ["linear_quadratic", "--num-states", "15", "--horizon", "5", "--iterations", "3"]
TINY += ["--hidden", "4", "--width", "4"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, spared_estimates: None, blank_figures: None) -> Path:
    """A run of the tiny game."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["solve", *TINY, "--quiet", "--out", str(folder)]) == 0
    return folder


def last_object(text: str) -> dict[str, Any]:
    """The last line, read by a parser that accepts no NaN and no Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    value = json.loads(text.rstrip("\n").rpartition("\n")[2], parse_constant=refuse)
    assert isinstance(value, dict)
    return value


def test_games_lists_every_game_with_its_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["games"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in GAMES)
    assert main(["games", "--json", "--quiet"]) == 0
    captured = capsys.readouterr()
    games = {game["name"]: game for game in last_object(captured.out)["games"]}
    assert captured.err == ""
    assert games.keys() == GAMES.keys()
    assert games["beach_bar"]["noise_paths"] == 102
    assert games["macro"]["noise_paths"] is None
    assert games["macro"]["parameters"]["num_wealth"] == 200
    assert games["macro"]["declares"] == ["common noise (continuous)"]
    assert games["epidemic"]["declares"][1:] == ["public state", "statistics of actions"]
    assert games["predator_prey"]["declares"] == ["no common noise", "3 populations"]
    assert games["sis"]["declares"] == ["no common noise", "for ever"]
    subjects = {game["subject"] for game in games.values()}
    assert subjects == {"Crowds", "Economics and finance", "Contagion", "Traffic", "Textbook games"}
    assert all(subject in text for subject in subjects)
    descriptions = {game["description"] for game in games.values()}
    assert len(descriptions) == len(GAMES)
    assert all(text.endswith(".") for text in descriptions)


def test_solve_prints_one_object_and_keeps_earlier_runs(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    earlier = Path("runs/linear_quadratic-rspg-0")
    earlier.mkdir(parents=True)
    (earlier / "file").write_text("mine")
    assert main(["solve", *TINY, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1
    assert "non_anticipative" in captured.err
    assert "report.html" in captured.err
    first, second = last_object(captured.out), json.loads((tiny / "result.json").read_text())
    names = "game solver seed iterations train_seconds compile_seconds return result"
    assert set(names.split()) <= first.keys()
    assert (first["game"], first["solver"], first["seed"], first["iterations"]) == ("linear_quadratic", "rspg", 0, 3)
    assert first["result"] == "completed"
    assert set(first["exploitability"]) == {"clairvoyant", "non_anticipative", "public"}
    assert first["exploitability"] == second["exploitability"]  # the seed decides
    assert first["anchors"]["uniform"]["clairvoyant"] > first["exploitability"]["clairvoyant"] > 0
    assert first["anchors"]["paper"] is None  # not the paper's sizes
    assert first["out"] == f"{earlier}-2"
    assert [path.name for path in earlier.iterdir()] == ["file"]
    assert json.loads(Path(first["out"], "result.json").read_text()) == first


@pytest.mark.slow
def test_every_solver_by_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, blank_figures: None
) -> None:
    """Solvers on trees: with the same run folder; not reaching the tolerance is said, with exit code 1."""
    monkeypatch.setattr("structmfg.reports._evaluation._FLOOR_MAX_STEPS", 2)  # the floor is sought anew for each
    on_trees = [
        kind for kind in SOLVERS.values() if issubclass(kind, TreeSolver) and not issubclass(kind, StationarySolver)
    ]
    for solver in sorted(name for name, kind in SOLVERS.items() if kind in on_trees):
        assert main(["solve", *TINY[:5], "--iterations", "2", "--solver", solver, "--json"]) == int(solver == "exact")
        captured = capsys.readouterr()
        result = last_object(captured.out)
        assert (result["solver"], result["iterations"]) == (solver, 2)
        assert result["result"] == ("not_converged" if solver == "exact" else "completed")
        assert result["certificate"]["kind"] == "non_anticipative"
        assert Path(result["report"]).stat().st_size > 10_000
    assert main(["evaluate", result["out"], "--json", "--quiet"]) == 0
    assert last_object(capsys.readouterr().out)["exploitability"] == result["exploitability"]


def test_evaluate_gives_what_solve_gave(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = json.loads((tiny / "result.json").read_text())
    assert main(["evaluate", str(tiny), "--json"]) == 0
    again = last_object(capsys.readouterr().out)
    assert again["exploitability"] == saved["exploitability"]
    assert again["return"] == saved["return"]
    assert main(["evaluate", str(tiny), "--kind", "clairvoyant", "--json"]) == 0
    one = last_object(capsys.readouterr().out)["exploitability"]
    assert one == {"clairvoyant": saved["exploitability"]["clairvoyant"], "non_anticipative": None, "public": None}
    assert main(["evaluate", str(tiny)]) == 0
    assert "clairvoyant" in capsys.readouterr().out


def test_evaluate_reads_every_file_once(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names, read = [], _load.read_json
    monkeypatch.setattr(_load, "read_json", lambda path: names.append(path.name) or read(path))
    assert main(["evaluate", str(tiny), "--quiet"]) == 0
    assert names == ["settings.json", "result.json"]


def test_quiet_prints_nothing(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(tiny), "--quiet"]) == 0
    assert main(["solve", *TINY, "--quiet"]) == 0
    assert main(["games", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


@pytest.mark.slow
def test_options_reach_game_solver_and_network() -> None:
    options = "--learning_rate=0.5 --solver spg --sampling iid --preset paper --precision float64 --push 2.5"
    assert main(["solve", "--seed", "7", *TINY, *options.split(), "--quiet", "--max-seconds", "60"]) == 0
    settings = json.loads(Path("runs/linear_quadratic-spg-7/settings.json").read_text())
    assert settings["game_parameters"]["push"] == 2.5
    assert settings["game_parameters"]["num_states"] == 15
    assert settings["hyper_parameters"]["learning_rate"] == 0.5
    assert settings["hyper_parameters"]["sampling"] == "iid"
    assert settings["hyper_parameters"]["schedule"] == "linear"
    assert settings["network"]["architecture"] == "joint"
    assert settings["network"]["recurrent"] is False
    assert (settings["precision"], settings["preset"], settings["max_seconds"]) == ("float64", "paper", 60)
    assert not jax.config.read("jax_enable_x64")  # nothing is left behind
    result = json.loads(Path("runs/linear_quadratic-spg-7/result.json").read_text())
    assert main(["evaluate", "runs/linear_quadratic-spg-7", "--quiet"]) == 0
    assert result["precision"] == "float64"


SMALL = ["solve", *TINY, "--quiet"]

BAD: list[tuple[Sequence[str], str]] = [
    ([], "COMMAND"),
    (["sovle"], "did you mean solve"),
    (["solve"], "GAME"),
    (["solve", "beachbar"], "did you mean beach_bar"),
    (["solve", "macro", "--num-states", "5"], "belongs to the game beach_bar"),
    (["solve", "macro", "--num-wealt", "5"], "did you mean --num-wealth"),
    ([*SMALL, "--solver", "rpsg"], "did you mean rspg"),
    ([*SMALL, "--preset", "papr"], "did you mean paper"),
    (["solve", "macro", "--solver", "exact"], "noise is continuous"),
    (["solve", "macro", "--noise-states", "3", "--solver", "exact"], "a horizon of 9 would fit"),
    (["solve", "left_right", "--solver", "fixed_point", "--damping", "2"], "damping must lie in"),
    (["solve", "left_right", "--solver", "exact", "--hidden", "4"], "belongs to the solver RSPG"),
    ([*SMALL, "--precision", "float16"], "float32"),
    ([*SMALL, "--schedule", "cosin"], "did you mean cosine"),
    ([*SMALL, "--hlep"], "did you mean --help"),
    ([*SMALL, "--set", "horizon=3"], "--set: horizon is no key of [run] but of [game]: game.horizon"),
    ([*SMALL, "--sweep", "clip=3,4"], "--sweep: clip is no key of [run] but of [solver]: solver.clip"),
    ([*SMALL, "--sweep", "max_seconds=1,0"], "max_seconds must be"),
    (["compare", "left_right", "--max-seconds", "0"], "max_seconds must be"),
    (["completion"], "name a shell, bash, zsh or fish"),
    ([*SMALL, "--num-stats", "5"], "did you mean --num-states"),
    ([*SMALL, "more"], "'more'"),
    ([*SMALL, "--num-states", "1"], "at least 2"),
    ([*SMALL, "--num-states", "few"], "'few'"),
    ([*SMALL, "--num-states", "2.5"], "whole number"),
    ([*SMALL, "--num-states", "1000000000000"], "at most 2147483647 pairs"),
    ([*SMALL, "--horizon", "0"], "at least 1"),
    ([*SMALL, "--discount", "0"], "(0, 1]"),
    ([*SMALL, "--discount", "1.01"], "(0, 1]"),
    ([*SMALL, "--discount", "nan"], "(0, 1]"),
    ([*SMALL, "--num-paths", "0"], "num_paths"),
    ([*SMALL, "--iterations", "0"], "iterations"),
    ([*SMALL, "--max-seconds", "0"], "max_seconds"),
    ([*SMALL, "--seed", "-1"], "seed"),
    ([*SMALL, "--learning-rate", "fast"], "'fast'"),
    ([*SMALL, "--num-paths", "3", "--sampling", "antithetic"], "even"),
    ([*SMALL, "--out", "file/below"], "cannot write"),
    ([*SMALL, "--out", "/proc/nowhere"], "cannot write"),
    ([*SMALL, "--out", "full"], "not empty"),
    (["evaluate"], "RUN"),
    (["evaluate", "nowhere"], "no such folder"),
    (["evaluate", "full"], "settings.json"),
    (["evaluate", "TINY", "--kind", "clairvoiant"], "did you mean clairvoyant"),
    (["evaluate", "TINY", "--paths", "1"], "at least 2"),
    (["evaluate", "TINY", "--paths", "many"], "'many'"),
    (["evaluate", "TINY", "--seed", "-1"], "seed must be"),
    (["evaluate", "TINY", "--players", "1"], "at least 2"),
    (["evaluate", "TINY", "--players", "10", "--deviator", "ful"], "did you mean full"),
    (["evaluate", "TINY", "--games", "10"], "--players"),
    (["evaluate", "TINY", "--seed", "4294967296"], "at most 4294967295"),
    (["bench", "--games", "beachbar"], "did you mean beach_bar"),
    (["bench", "--games", "left_right"], "allowed: beach_bar, linear_quadratic, macro"),
    (["solve", "macro", "--noise-states", "3", "--discretisation", "tauchn"], "did you mean tauchen"),
    (["bench", "--sizes", "3"], "at least 10"),
    (["bench", "--peer", "openspiel"], "module:Class"),
    (["bench", "--seed", "-1"], "seed must be"),
    (["bench", "--out", "full"], "not empty"),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "said"), BAD, ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else ""
)
def test_bad_input_is_refused_in_one_line(
    arguments: list[str], said: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").touch()
    Path("full").mkdir()
    Path("full", "notes.txt").touch()
    assert main([str(tiny) if argument == "TINY" else argument for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert said in captured.err
    assert "Traceback" not in captured.err
    assert not list(tmp_path.glob("runs/*"))


def test_interrupt_saves_what_was_learned(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One Ctrl-C, in the midst of training."""
    shown = _progress.Display.training

    def interrupted(display: _progress.Display, progress: Any) -> None:
        shown(display, progress)
        if progress.step == 1:  # once: a second one must not be needed
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(_progress.Display, "training", interrupted)
    before = signal.getsignal(signal.SIGINT)
    assert main(["solve", *TINY, "--json", "--out", "run"]) == 0
    assert signal.getsignal(signal.SIGINT) is before
    captured = capsys.readouterr()
    result = last_object(captured.out)
    assert result["result"] == "interrupted"
    assert result["iterations"] == 1
    assert "interrupted" in captured.err
    monkeypatch.setattr(_progress.Display, "training", shown)
    assert main(["evaluate", "run", "--quiet"]) == 0


def test_an_impatient_interrupt_keeps_the_policy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the trained policy is evaluated."""

    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("structmfg.reports.evaluate", interrupted)
    assert main(["solve", *TINY, "--out", "run"]) == 130
    assert "the policy is saved in run" in capsys.readouterr().err
    assert Path("run/policy.safetensors").is_file()


def test_training_that_is_not_finite_is_saved_with_the_last_good_policy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["solve", *TINY, "--learning-rate", "1e30", "--json", "--out", "run"]) == 1
    captured = capsys.readouterr()
    result = last_object(captured.out)
    assert result["result"] == "nonfinite"
    assert "update 1" in result["message"]
    assert "not finite" in captured.err
    assert Path("run/report.html").is_file()
    assert result["exploitability"]["clairvoyant"] > 0  # the last good policy can be measured


def test_module_runs_as_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "structmfg", "solve", "beachbar"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("structmfg: unknown game 'beachbar'")


def test_the_bar_shows_the_share_of_updates_or_of_seconds():
    progress = Progress(10, 1000, 4.0, 0.0, None)
    assert _progress.share_done(progress, None) == 0.01
    assert _progress.share_done(progress, 5.0) == 0.8
    assert _progress.share_done(progress, 1.0) == 1.0


def test_evaluate_among_players(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(tiny), "--players", "2", "5", "--games", "8", "--json"]) == 0
    captured = capsys.readouterr()
    result = last_object(captured.out)
    assert [(row["num_players"], row["games"], row["neglected"]) for row in result["players"]] == [
        (2, 8, ["reaction"]),
        (5, 8, ["reaction"]),
    ]
    assert result["players"][0]["mean_field_return"] == pytest.approx(result["return"], rel=1e-4)
    expected = result["exploitability"]["non_anticipative"]
    assert result["players"][0]["mean_field_gain"] == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert result["gain_rate"] is None
    assert "deviator's gain" in captured.err
    assert Path(result["players_figure"]).read_bytes().startswith(b"\x89PNG")


def test_a_run_without_its_report_can_still_be_evaluated(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = (tiny / "result.json").read_text()
    (tiny / "result.json").unlink()
    try:
        assert main(["evaluate", str(tiny), "--json"]) == 0
    finally:
        (tiny / "result.json").write_text(saved)
    assert last_object(capsys.readouterr().out)["exploitability"] == json.loads(saved)["exploitability"]


def test_a_report_that_fails_leaves_the_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no ink")

    monkeypatch.setattr("structmfg.runs.save_run", fail)
    assert main(["solve", *TINY, "--quiet", "--out", str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err
    assert "no ink" in said
    assert "the policy is saved in" in said
    assert (tmp_path / "run" / "policy.safetensors").exists()
