"""Run folders from strangers: refused in one line that names the file, soon, and with nothing allocated for them."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.hostile import GAME, RESULT, SETTINGS, Case, good_run
from helpers.hostile_cases import BOMBS, CASES

from structmfg import runs
from structmfg._files import subfolder
from structmfg._pages import Picture
from structmfg.benchmarks.comparison import ClockPlan, _plan, _runs
from structmfg.cli import main
from structmfg.games import make
from structmfg.runs import versions

GoodRun = Callable[[str], Path]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> GoodRun:
    """A good run of every kind, made once."""
    root, made = tmp_path_factory.mktemp("good"), dict[str, Path]()

    def run(kind: str) -> Path:
        if kind not in made:
            made[kind] = good_run(root / kind, kind)
        return made[kind]

    return run


FIGURE = Picture("players", "A figure.", b"\x89PNG")


def spoiled(case: Case, good: GoodRun, folder: Path) -> Path:
    shutil.copytree(good(case.kind), folder)
    case.spoil(folder)
    return folder


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_refused(case: Case, good: GoodRun, tmp_path: Path) -> None:
    folder = spoiled(case, good, tmp_path / "run")
    before, start = sorted(tmp_path.rglob("*")), time.perf_counter()
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=re.escape(case.words)) as refused:
            runs.load_run(folder)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(folder / case.file) in str(refused.value)
    assert len(str(refused.value)) < 1000
    assert peak < 48 * 2**20
    assert time.perf_counter() - start < 20
    assert sorted(tmp_path.rglob("*")) == before  # nothing was unpickled or unpacked


def test_there_are_enough() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 180
    assert len(BOMBS) >= 12


_WATCHED = """
import resource, sys
from structmfg import runs
runs.load_run(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for folder in sys.argv[2:]:
    try:
        runs.load_run(folder)
    except ValueError as error:
        print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_bombs_take_no_memory(good: GoodRun, tmp_path: Path) -> None:
    """Of the whole process, XLA's arrays included: MiB beyond what a good run takes."""
    folders = [spoiled(case, good, tmp_path / str(i)) for i, case in enumerate(BOMBS)]
    command = [sys.executable, "-c", _WATCHED, *map(str, [good("network"), *folders])]
    *said, grown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(said) == len(BOMBS)
    assert float(grown) < 100


REFUSED_BY_COMMAND = (
    "tree: game ../../etc",
    "a bomb",
    "pickled",
    f"{SETTINGS} bottomless",
    "network: game_parameters.num_states 1000000000000",
)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.name in REFUSED_BY_COMMAND], ids=lambda case: case.name
)
def test_evaluate_refuses_in_one_line(
    case: Case, good: GoodRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = spoiled(case, good, tmp_path / "run\x1b[31m")
    assert main(["evaluate", str(folder)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.rstrip("\n").isprintable()
    assert case.file in captured.err


def test_a_run_reached_through_a_link_is_read(good: GoodRun, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(good("tree"))
    assert runs.load_run(tmp_path / "link").game == GAME


@pytest.mark.parametrize(
    "name", ["players.png", f".players.png.{os.getpid()}.tmp"], ids=["the figure", "its temporary file"]
)
def test_a_planted_link_is_replaced_and_not_written_through(tmp_path: Path, name: str) -> None:
    precious, run = tmp_path / "precious", tmp_path / "run"
    precious.write_text("mine")
    (run / "figures").mkdir(parents=True)
    (run / "figures" / name).symlink_to(precious)
    path = runs.save_figures(run, [FIGURE])[0]
    assert precious.read_text() == "mine"
    assert path.read_bytes().startswith(b"\x89PNG")
    assert not path.is_symlink()


@pytest.mark.parametrize("plant", [lambda path: path.symlink_to("../elsewhere"), lambda path: path.touch()])
def test_a_planted_folder_is_not_written_into(tmp_path: Path, plant: Callable[[Path], object]) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    plant(tmp_path / "run" / "figures")
    with pytest.raises(ValueError, match="figures"):
        runs.save_figures(tmp_path / "run", [FIGURE])
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_path_in_a_result_is_not_followed(good: GoodRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor printed: `evaluate` names the folder that it was given."""
    shutil.copytree(good("tree"), tmp_path / "run")
    saved = json.loads((tmp_path / "run" / RESULT).read_text())
    away = {"out": str(tmp_path / "away"), "report": "/etc/passwd"}
    (tmp_path / "run" / RESULT).write_text(json.dumps(saved | away))
    assert main(["evaluate", str(tmp_path / "run"), "--json", "--quiet"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["out"], printed["report"]) == (str(tmp_path / "run"), str(tmp_path / "run" / "report.html"))
    assert not (tmp_path / "away").exists()


# Comparisons.

RUN = {
    "result": "completed",
    "steps": 2,
    "train_seconds": 1.0,
    "compile_seconds": 1.0,
    "curve": [[0.5, 2.0, 0.0], [1.0, 1.0, 0.0]],
}


@pytest.mark.parametrize(
    "change",
    [
        {"curve": [[1, "nan", 0]]}, {"curve": [[1, 2]]}, {"curve": [[1, 2, 3, 4]]}, {"curve": [[-1, 2, 3]]},
        {"curve": {}}, {"curve": [[2, 1, 0], [1, 1, 0]]}, {"curve": []}, {"curve": [[1, None, 0]]}, {"steps": "2"},
        {"steps": -1}, {"steps": True}, {"curve": [[True, 1, 0]]}, {"steps": 2.5}, {"result": "perfect"},
        {"result": ["completed"]}, {"train_seconds": "1"}, {"compile_seconds": -1.0}, {"compile_seconds": None},
    ],
)  # fmt: skip
def test_a_spoiled_learning_curve_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "runs" / "spg-0"
    path.mkdir(parents=True)
    (path / _runs.FILE).write_text(json.dumps(RUN))
    assert _runs.finished(tmp_path, "spg", 0) is not None
    (path / _runs.FILE).write_text(json.dumps(RUN | change))
    with pytest.raises(ValueError, match=r"learning_curve\.json is damaged"):
        _runs.finished(tmp_path, "spg", 0)


@pytest.mark.parametrize("link", ["runs", "runs/spg-0", "runs/spg-0/learning_curve.json"])
def test_a_comparison_follows_no_link(tmp_path: Path, link: str) -> None:
    away, folder = tmp_path / "away", tmp_path / "compared"
    away.mkdir()
    (folder / link).parent.mkdir(parents=True)
    (folder / link).symlink_to(away)
    with pytest.raises(ValueError, match=f"{link} is a symbolic link"):
        _runs.finished(folder, "spg", 0)
    if not link.endswith("json"):
        with pytest.raises(ValueError, match=f"{link} is a symbolic link"):
            subfolder(folder, "runs", "spg-0")
    assert not list(away.iterdir())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seeds": [True]}, "seeds must be a list"), ({"seeds": [2**32]}, "seed must be at most"),
        ({"steps": {"spg": 1.5}}, "steps must be an object"), ({"steps": {"spg": 2**40}}, "steps must lie in"),
        ({"steps": {"spg": True}}, "steps must be an object"), ({"versions": []}, "versions must be an object"),
        ({"solvers": ["spg", "/bin"]}, "unknown solver '/bin'"), ({"solvers": [["spg"]]}, "solvers must be a list"),
        ({"max_seconds": "1"}, "max_seconds must be a number"), ({"game": ["left_right"]}, "game must be a text"),
    ],
)  # fmt: skip
def test_a_spoiled_plan_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    game = make("left_right")
    plan = ClockPlan("left_right", {}, "float32", 0.2, versions(), ["spg"], [0], {"spg": 3})
    (tmp_path / _plan.FILE).write_text(json.dumps(plan._asdict()))
    asked: dict[str, Any] = {
        "solvers": ["spg"],
        "seeds": 1,
        "max_seconds": 0.2,
        "log": print,
        "executor": None,
        "make_game": lambda: game,
    }
    assert _plan.planned(game, tmp_path, **asked) == plan
    (tmp_path / _plan.FILE).write_text(json.dumps(plan._asdict() | change))
    with pytest.raises(ValueError, match=re.escape(said)) as refused:
        _plan.planned(game, tmp_path, **asked)
    assert _plan.FILE in str(refused.value)
