"""Many runs on several workers: a worker that dies costs nothing but time, and nothing is done twice."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from structmfg import parallel
from structmfg.cli import main
from structmfg.parallel import _executor

SMALL = ["solve", "left_right", "--solver", "spg", "--iterations", "40"]


def dies_at_first(folder):
    """Kill the process at the first call; later, how often there has been a call."""
    with (folder / "calls").open("a") as file:
        file.write("called\n")
    calls = (folder / "calls").read_text().count("called")
    if calls == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return calls


def always_dies():
    os.kill(os.getpid(), signal.SIGKILL)


def waits_for_the_end(file):
    """Say in a file how it ended."""
    file.write_text("begun")
    for _ in range(600):
        if parallel.stopping():
            file.write_text("stopped")
            raise KeyboardInterrupt
        time.sleep(0.05)


def await_text(file, text):
    for _ in range(1200):
        if file.exists() and file.read_text() == text:
            return
        time.sleep(0.05)
    raise AssertionError(f"{file} never said {text}")


@pytest.mark.parametrize(
    ("text", "place"), [("1", 1), ("local:2", 2), ("tcp://host.name:8786", "tcp://host.name:8786")]
)
def test_schedulers(text, place):
    assert parallel.check_scheduler(text) == place


@pytest.mark.parametrize("text", ["", "0", "local:0", "two", "-1", "local:", "tcp://host", "http://host:80", "2.5"])
def test_a_scheduler_of_another_form(text):
    with pytest.raises(ValueError, match=r"a number of workers .* or the address of a dask scheduler .*, but is"):
        parallel.check_scheduler(text)


def test_cores_are_shared_out():
    assert _executor._shares([0, 1, 4, 5, 6], 2) == [[0, 1], [4, 5, 6]]
    assert _executor._shares([2, 3], 3) == [[2], [3], [2]]


def test_without_an_executor_tasks_are_done_one_by_one():
    done = []
    with parallel.open_executor(None) as executor:
        for number, outcome in parallel.outcomes(executor, done.append, [("a",), ("b",)]):
            assert len(done) == number
            outcome()
    assert done == ["a", "b"]


def test_any_executor_will_do():
    with ThreadPoolExecutor(2) as executor:
        found = {number: outcome() for number, outcome in parallel.outcomes(executor, divmod, [(7, 2), (9, 4)])}
    assert found == {0: (3, 1), 1: (2, 1)}


def test_a_task_whose_process_dies_is_done_again(tmp_path):
    """By a new process; an error of a task is that of its outcome, and at the end what is not done is stopped."""
    with parallel.open_executor("1") as executor:
        outcomes = dict(parallel.outcomes(executor, dies_at_first, [(tmp_path,), (tmp_path / "absent",)]))
        assert outcomes[0]() == 2
        with pytest.raises(FileNotFoundError):
            outcomes[1]()
        last = executor.submit(waits_for_the_end, tmp_path / "last")
        queued = executor.submit(dies_at_first, tmp_path)
        await_text(tmp_path / "last", "begun")
    assert (tmp_path / "last").read_text() == "stopped"
    assert isinstance(last.exception(), InterruptedError)
    assert queued.cancelled()
    assert (tmp_path / "calls").read_text().count("called") == 2


@pytest.mark.slow
def test_a_task_that_kills_its_processes_is_given_up():
    with parallel.open_executor("2") as executor:
        outcomes = dict(parallel.outcomes(executor, always_dies, [()]))
        with pytest.raises(RuntimeError, match="its worker process died, 3 times"):
            outcomes[0]()
        assert executor.submit(divmod, 7, 2).result() == (3, 1)


@pytest.mark.slow
def test_workers_end_with_the_process_that_started_them(tmp_path):
    """However that ends: here by SIGKILL."""
    code = """if __name__ == "__main__":
    import pathlib, sys, test_sweeps
    from structmfg import parallel
    with parallel.open_executor("1") as executor:
        executor.submit(test_sweeps.waits_for_the_end, pathlib.Path(sys.argv[1])).result()
"""
    (tmp_path / "script.py").write_text(code)
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "file")]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": paths})
    await_text(tmp_path / "file", "begun")
    process.kill()
    await_text(tmp_path / "file", "stopped")


# On the command line.


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--scheduler", "2"], "--scheduler spreads the runs of --sweep, and there is one run"),
        (["--sweep", "seed=0,1", "--scheduler", "many"], "or the address of a dask scheduler"),
        (["--sweep", "seed=0,1", "--scheduler", "100000"], "scheduler asks for 100000 workers, of at most"),
    ],
)
def test_refused(more, message, tmp_path, capsys):
    assert main([*SMALL, *more, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("out/*"))


def test_dask_is_asked_for_by_need(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    command = ["compare", "beach_bar", "--scheduler", "tcp://127.0.0.1:1", "--out", str(tmp_path / "out")]
    assert main(command) == 2
    assert "needs dask.distributed: pip install 'structmfg[cluster]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_that_fails_loses_no_other(tmp_path, capsys, monkeypatch):
    """It is told with its folder, and the exit code is that of bad input."""

    def run(arguments, saved):
        if arguments.seed == 1:
            raise ValueError("too large")
        return (
            None,
            [{"result": "completed", "return": 1.0, "exploitability": {"public": 2.0}, "train_seconds": 3.0}],
            None,
        )

    monkeypatch.setattr("structmfg.cli.sweeps._run.run_or_load", run)
    assert main([*SMALL, "--sweep", "seed=0..2", "--out", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert "structmfg: seed=1: too large; the same command with --out" in captured.err
    assert "seed=1: failed" in captured.out
    result = json.loads((tmp_path / "result.json").read_text())
    assert [run["values"]["seed"] for run in result["runs"]] == [0, 2]
    assert result["failed"] == {"seed=1": "too large"}
    assert "seed=1: too large" in (tmp_path / "report.html").read_text()
    assert [row["folder"] for row in csv.DictReader((tmp_path / "table.csv").open())] == ["seed=0", "seed=2"]


def command_line(*arguments):
    return [sys.executable, "-m", "structmfg", *map(str, arguments)]


def workers_of(process):
    """The worker processes that a process has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process.pid and b"spawn_main" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


@pytest.mark.slow
def test_sixteen_runs_on_two_workers_of_which_one_is_killed(tmp_path):
    """And then all by Ctrl-C; in the end there are the results of one after the other, none made twice."""
    sweep = [*SMALL, "--sweep", "seed=0..15", "--snapshot-seconds", 0.01, "--out", tmp_path / "sweep"]
    command = command_line(*sweep, "--scheduler", 2)
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if " done: " not in line:
                continue
            lines.append(line)
            if len(lines) == 4:
                os.kill(workers_of(process)[0], signal.SIGKILL)
            if len(lines) == 10:
                process.send_signal(signal.SIGINT)
        error = process.stderr.read()
    assert process.returncode == 130, error
    assert error.startswith("structmfg: interrupted; the same command with --out")
    assert len({line.split(": ")[1] for line in lines}) == len(lines) < 16
    ended = {path: path.stat().st_mtime_ns for path in (tmp_path / "sweep").glob("*/result.json")}
    assert len(ended) >= len(lines)
    assert len(list(csv.DictReader((tmp_path / "sweep" / "table.csv").open()))) == len(lines)

    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "16 of 16 done" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in ended} == ended
    assert not list((tmp_path / "sweep").rglob("snapshots"))
    result = json.loads((tmp_path / "sweep" / "result.json").read_text())
    assert [run["values"]["seed"] for run in result["runs"]] == list(range(16))
    assert {run["iterations"] for run in result["runs"]} == {40}
    alone = [*SMALL, "--seed", 5, "--out", tmp_path / "alone", "--json", "--quiet"]
    cores = {min(os.sched_getaffinity(0))}  # as many as a worker has: another number of threads rounds otherwise
    run = subprocess.run(
        command_line(*alone),
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    assert json.loads(run.stdout)["return"] == result["runs"][5]["return"]


@pytest.fixture(scope="module")
def cluster():
    """A dask scheduler with two workers, in processes of their own."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as started:
        yield started


@pytest.mark.slow
def test_a_dask_scheduler(cluster, tmp_path):
    """A worker that dies is replaced, and at the end what is not done is stopped."""
    with parallel.open_executor(cluster.scheduler_address) as executor:
        outcomes = dict(parallel.outcomes(executor, dies_at_first, [(tmp_path,)]))
        assert outcomes[0]() == 2
        last = executor.submit(waits_for_the_end, tmp_path / "last")
        await_text(tmp_path / "last", "begun")
    assert (tmp_path / "last").read_text() == "stopped"
    assert isinstance(last.exception(), InterruptedError)


@pytest.mark.slow
def test_a_sweep_on_a_dask_scheduler(cluster, tmp_path):
    sweep = [*SMALL, "--sweep", "seed=0..3", "--out", str(tmp_path / "sweep"), "--scheduler", cluster.scheduler_address]
    assert main(sweep) == 0
    result = json.loads((tmp_path / "sweep" / "result.json").read_text())
    assert [run["values"]["seed"] for run in result["runs"]] == [0, 1, 2, 3]


@pytest.mark.slow
def test_no_scheduler_at_an_address(tmp_path, capsys, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(_executor, "_CONNECT_SECONDS", 0.5)
    assert (
        main([*SMALL, "--sweep", "seed=0,1", "--scheduler", "tcp://127.0.0.1:1", "--out", str(tmp_path / "out")]) == 2
    )
    assert "no dask scheduler answers at tcp://127.0.0.1:1 within 0.5 s" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_comparison_on_two_workers(tmp_path, capsys, monkeypatch):
    """The class of the game stands in a file of the user's, which the workers import."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("from structmfg.games import GAMES\nclass Mine(GAMES['left_right']): pass\n")
    command = ["compare", "mine.py:Mine", "--solvers", "fixed_point,spg", "--seeds", "2", "--max-seconds", "0.2"]
    assert main([*command, "--out", "out", "--scheduler", "2"]) == 0
    printed = capsys.readouterr().out
    assert printed.count(" after ") == 4
    result = json.loads(Path("out", "result.json").read_text())
    assert [(run["solver"], run["seed"]) for run in result["runs"]] == [
        ("fixed_point", 0), ("fixed_point", 1), ("spg", 0), ("spg", 1)
    ]  # fmt: skip
    assert main([*command, "--out", "out", "--scheduler", "2"]) == 0
    assert " after " not in capsys.readouterr().out
