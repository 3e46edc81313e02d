"""Runs that are killed, terminated, or run out of room, and go on: to the same files, bit for bit.

What is killed is a process of its own.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from structmfg.cli import main

GAME = ["linear_quadratic", "--num-states", "15", "--horizon", "5", "--hidden", "4", "--width", "4"]
LONG = [*GAME, "--iterations", "400", "--snapshot-seconds", "0.05"]
Start = Callable[..., subprocess.Popen[str]]
CLOCK = (
    "train_seconds",
    "compile_seconds",
    "out",
    "report",
    "memory",
)  # of result.json and metrics.jsonl: not the same twice


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts `structmfg` in a process of its own; what such runs compile is shared (see conftest.py)."""

    def start(*arguments: str, environment: Mapping[str, str] = MappingProxyType({})) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "structmfg", *arguments],
            cwd=tmp_path, env={**os.environ, **environment}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    return start


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing happened to. It takes no process of its own, which would spend seconds on imports."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main(["solve", *LONG, "--quiet", "--out", str(folder)]) == 0
    return folder


def without_clock(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_clock(item) for name, item in value.items() if name not in CLOCK}
    return value


def contents(folder: Path) -> dict[str, Any]:
    """Of a run folder, all but what the clock said."""
    metrics = [without_clock(json.loads(line)) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {
        "files": sorted(str(path.relative_to(folder)) for path in folder.rglob("*")),
        "metrics": metrics,
        "result": without_clock(json.loads((folder / "result.json").read_text())),
        "settings": json.loads((folder / "settings.json").read_text()),
        "figures": [path.read_bytes() for path in sorted((folder / "figures").iterdir())],
        "policy": (folder / "policy.safetensors").read_bytes(),
        "trajectories": {name: array.tobytes() for name, array in np.load(folder / "trajectories.npz").items()},
    }


def saved(folder: Path) -> set[str]:
    """The snapshots there are."""
    return {path.stem for path in (folder / "snapshots").glob("*") if path.stem.isdigit()}


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Until it holds, or the process is over."""
    while process.poll() is None and not condition():
        time.sleep(0.005)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=300)
    assert "Traceback" not in errors
    return process.returncode, errors


def resumed(start: Start, folder: Path, whole: Path) -> None:
    """To the end, and to the same."""
    code, errors = finish(start("solve", "--resume", str(folder), "--quiet"))
    assert (code, errors) == (0, "")
    assert contents(folder) == contents(whole)


def kill_at(start: Start, folder: Path, seconds: float) -> None:
    """With SIGKILL, so long after it has begun to train."""
    process = start("solve", *LONG, "--quiet", "--out", str(folder))
    wait_for(lambda: bool(saved(folder)), process)
    time.sleep(seconds)
    process.kill()
    process.communicate()


def test_a_killed_run_goes_on(start: Start, whole: Path, tmp_path: Path) -> None:
    """In this process: the slow tests go on in another."""
    kill_at(start, tmp_path / "run", 0.3)
    assert saved(tmp_path / "run")
    assert main(["solve", "--resume", str(tmp_path / "run"), "--quiet"]) == 0
    assert contents(tmp_path / "run") == contents(whole)


@pytest.mark.slow
def test_a_run_killed_at_once_goes_on(start: Start, whole: Path, tmp_path: Path) -> None:
    kill_at(start, tmp_path / "run", 0.0)
    resumed(start, tmp_path / "run", whole)


@pytest.mark.slow
def test_twenty_kills_at_random_moments(start: Start, whole: Path, tmp_path: Path) -> None:
    """Before the first snapshot, in training and while the report is written."""
    began = time.perf_counter()
    finish(start("solve", *LONG, "--quiet", "--out", str(tmp_path / "measured")))
    length, rng = time.perf_counter() - began, np.random.default_rng(0)
    for i, share in enumerate(rng.random(20)):
        folder = tmp_path / f"run-{i}"
        process = start("solve", *LONG, "--quiet", "--out", str(folder))
        wait_for(lambda folder=folder: (folder / "settings.json").exists(), process)
        time.sleep(0.9 * length * share)
        process.kill()
        process.communicate()
        resumed(start, folder, whole)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["training", "report"])
def test_a_terminated_run_goes_on(stage: str, start: Start, whole: Path, tmp_path: Path) -> None:
    """SIGTERM is answered at once, with how to go on."""
    folder = tmp_path / "run"
    process = start("solve", *LONG, "--quiet", "--out", str(folder))
    wait_for(lambda: bool(saved(folder)) if stage == "training" else (folder / "policy.safetensors").exists(), process)
    process.send_signal(signal.SIGTERM)
    code, errors = finish(process)
    assert code == 143
    assert f"structmfg solve --resume {folder} goes on" in errors
    assert not (folder / "result.json").exists()
    resumed(start, folder, whole)


@pytest.mark.slow
def test_a_run_interrupted_by_hand_goes_on(start: Start, whole: Path, tmp_path: Path) -> None:
    """It has its report, and can still go on."""
    folder = tmp_path / "run"
    process = start("solve", *LONG, "--quiet", "--out", str(folder))
    wait_for(lambda: bool(saved(folder)), process)
    process.send_signal(signal.SIGINT)
    assert finish(process) == (0, "")
    assert json.loads((folder / "result.json").read_text())["result"] == "interrupted"
    resumed(start, folder, whole)


def injected(folder: Path, code: str) -> dict[str, str]:
    """An environment in which every process begins with this."""
    (folder / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"}


def small_files(folder: Path, size: int) -> dict[str, str]:
    """No file may grow beyond so many bytes, as on a disk that is full."""
    return injected(folder, f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))\n")


@pytest.mark.slow
def test_no_room_for_the_report(start: Start, whole: Path, tmp_path: Path) -> None:
    """Snapshots fit, figures do not: a clear end, and with room it goes on."""
    folder, full = tmp_path / "run", small_files(tmp_path, 70_000)
    code, errors = finish(start("solve", *LONG, "--quiet", "--out", str(folder), environment=full))
    assert code == 1
    assert "the report could not be written (cannot write" in errors
    assert f"structmfg solve --resume {folder} goes on" in errors
    (tmp_path / "sitecustomize.py").unlink()
    resumed(start, folder, whole)


@pytest.mark.slow
def test_no_room_for_snapshots(start: Start, whole: Path, tmp_path: Path) -> None:
    """The last good one stays; the rest of the solve is made without."""
    folder = tmp_path / "run"
    kill_at(start, folder, 0.0)
    before = saved(folder)
    code, errors = finish(start("solve", "--resume", str(folder), "--quiet", environment=small_files(tmp_path, 64)))
    assert code == 1
    assert "could not be saved in" in errors
    assert "the policy could not be saved" in errors
    assert max(before, key=int) in saved(folder)
    (tmp_path / "sitecustomize.py").unlink()
    resumed(start, folder, whole)


@pytest.mark.slow
def test_a_clock_that_jumps(start: Start, whole: Path, tmp_path: Path) -> None:
    """Back and forth by years while the run goes on, and between its two parts."""
    jump = "import random, time\nreal = time.time\ntime.time = lambda: real() + random.choice([-1e9, 0.0, 1e9])\n"
    folder, jumping = tmp_path / "run", injected(tmp_path, jump)
    process = start("solve", *LONG, "--quiet", "--out", str(folder), environment=jumping)
    wait_for(lambda: len(saved(folder)) > 1, process)
    process.kill()
    process.communicate()
    resumed(lambda *arguments: start(*arguments, environment=jumping), folder, whole)


@pytest.mark.slow
def test_two_processes_on_one_run(start: Start, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = start("solve", *LONG, "--quiet", "--out", str(folder))
    wait_for(lambda: bool(saved(folder)), first)
    first.send_signal(signal.SIGSTOP)  # it stays in the midst of training
    code, errors = finish(start("solve", "--resume", str(folder)))
    first.send_signal(signal.SIGCONT)
    assert code == 2
    assert "another process is at work in" in errors
    assert finish(first)[0] == 0
    assert contents(folder) == contents(whole)


@pytest.mark.slow
def test_several_seeds_go_on(start: Start, tmp_path: Path) -> None:
    both = ["solve", *LONG, "--seeds", "2", "--seed", "3", "--quiet"]
    assert finish(start(*both, "--out", str(tmp_path / "whole")))[0] == 0
    process = start(*both, "--out", str(tmp_path / "cut"))
    wait_for(lambda: bool(saved(tmp_path / "cut")), process)
    process.kill()
    process.communicate()
    assert finish(start("solve", "--resume", str(tmp_path / "cut"), "--quiet"))[0] == 0
    for seed in (3, 4):
        assert contents(tmp_path / "cut" / f"seed-{seed}") == contents(tmp_path / "whole" / f"seed-{seed}")
    result = json.loads((tmp_path / "cut" / "result.json").read_text())
    assert result["seeds"] == [3, 4]
    values = [one["exploitability"]["clairvoyant"] for one in result["results"]]
    assert result["over_seeds"]["clairvoyant"]["mean"] == pytest.approx(np.mean(values))
    assert values[0] != values[1]


def test_a_finished_run_says_so(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(whole)
    assert main(["solve", "--resume", str(whole), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert without_clock(printed) == before["result"]
    assert contents(whole) == before


def test_snapshots_that_a_late_kill_left_are_removed(whole: Path, tmp_path: Path) -> None:
    """Of a run that was killed between its report and its end."""
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    (folder / "snapshots").mkdir()
    (folder / "snapshots" / "400.safetensors").write_bytes(b"whole or not")
    assert main(["solve", "--resume", str(folder), "--quiet"]) == 0
    assert contents(folder) == contents(whole)


def test_a_result_that_was_changed_is_refused(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    for harm in ({"anchors": {}}, {"return": None}, {"result": "splendid"}):
        saved = json.loads((whole / "result.json").read_text())
        (folder / "result.json").write_text(json.dumps({**saved, **harm}))
        assert main(["solve", "--resume", str(folder)]) == 2
        assert "result.json" in capsys.readouterr().err


BAD: list[tuple[Sequence[str], str]] = [
    ([], "solve needs a GAME, or --resume RUN"),
    (["--resume", "RUN", "--seed", "3"], "leave out --seed"),
    (["linear_quadratic", "--resume", "RUN", "--num-states", "9"], "leave out GAME, --num-states"),
    (["--resume", "nowhere"], "no such folder"),
    (["--resume", "."], "it has no settings.json"),
    (["--resume", "a" * 5000], "File name too long"),
    (["--resume", "RUN", "--snapshot-seconds", "0"], "snapshot_seconds must be finite and above 0"),
    (["--resume", "RUN", "--max-seconds", "nan"], "max_seconds must be finite and above 0"),
    (["linear_quadratic", "--seeds", "0"], "seeds must be a whole number of at least 1"),
    (["linear_quadratic", "--seeds", "2", "--seed", "4294967295"], "seed must be at most"),
    (["left_right", "--solver", "exact", "--seeds", "2"], "--seeds is for solvers that train"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD, ids=lambda value: " ".join(value[-2:]))
def test_bad_input(
    arguments: Sequence[str], said: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["solve", *(str(whole) if argument == "RUN" else argument for argument in arguments)]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
