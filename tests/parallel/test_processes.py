"""Several processes of one solve: the same numbers, one that reads and writes, agreement on signals, and deaths."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers.on_devices import training, vector

from structmfg import evaluation, parallel, solvers
from structmfg._files import open_arrays

TESTS = Path(__file__).parent.parent
SOLVE = [sys.executable, "-m", "structmfg", "solve"]


def free_port():
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def devices(count, quick=False):
    """The environment of a process whose CPU counts as so many devices, with programs as they are for users.

    `quick` has them compiled as in the other tests.
    """
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={count}", "JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}
    if quick:
        flags = {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags['XLA_FLAGS']}"}
    return {**os.environ, **flags, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}


def processes(count, command, *, each=1, quick=False, folder):
    """Start processes that find each other by the environment."""
    started = []
    common = {"JAX_COORDINATOR_ADDRESS": f"localhost:{free_port()}", "JAX_NUM_PROCESSES": str(count)}
    for number in range(count):
        own = {**devices(each, quick), **common, "JAX_PROCESS_ID": str(number)}
        with (folder / f"{number}.out").open("w") as out:
            started.append(subprocess.Popen(command, env=own, stdout=out, stderr=subprocess.STDOUT))
    return started


def wait(started, seconds):
    """The exit codes, once all have ended."""
    try:
        return [process.wait(seconds) for process in started]
    finally:
        for process in started:
            process.kill()


def test_two_processes_train_as_one(tmp_path):
    command = [sys.executable, "-m", "helpers.on_devices", str(tmp_path)]
    started = processes(2, command, each=2, quick=True, folder=tmp_path)
    codes = wait(started, 300)
    said = [(tmp_path / f"{number}.out").read_text() for number in (0, 1)]
    assert codes == [0, 0], said
    game, solver = training()
    alone = solvers.solve(game, solver, key=jax.random.key(1), max_steps=4)
    exploitability = evaluation.exploitability(game, alone.policy).value
    for number, text in enumerate(said):
        assert "the solve must be the same in all processes, but process 1 has another ['key']" in text
        assert re.findall(r"(\w+) (\d)\n", text) == [("interrupted", "2"), ("completed", "4")]  # both at one step
        with np.load(tmp_path / f"{number}.npz") as found:
            np.testing.assert_allclose(found["policy"], vector(alone.policy), rtol=0, atol=2e-6)
            np.testing.assert_allclose(found["value"], exploitability, rtol=1e-4)
    assert (tmp_path / "snapshots" / "4.safetensors").is_file()
    assert not (tmp_path / "nothing").exists()  # of the process that is not the first


@pytest.mark.parametrize(
    ("variables", "message", "code"),
    [
        ({}, "nothing says which processes take part: start them by srun, mpirun", 2),
        pytest.param(
            {"JAX_COORDINATOR_ADDRESS": "localhost:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"},
            "no answer from localhost:1 within 120 s",
            1,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_processes_that_do_not_find_each_other_are_refused(variables, message, code):
    env = {**devices(1), **variables}
    done = subprocess.run([*SOLVE, "beach_bar", "--distributed"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert message in done.stderr


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"JAX_COORDINATOR_ADDRESS": "there"}, "JAX_COORDINATOR_ADDRESS must be host:port"),
        ({"JAX_PROCESS_ID": "one"}, "JAX_PROCESS_ID must be a whole number, but is 'one'"),
        ({"JAX_PROCESS_ID": "2", "JAX_NUM_PROCESSES": "2"}, r"JAX_PROCESS_ID must be in 0\.\.1, .* but is 2"),
    ],
)
def test_variables_that_say_nothing_are_refused(variables, message, monkeypatch):
    """Before anything of JAX is called, so that this process may do it."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        parallel.join()


def test_processes_with_different_commands_are_refused(tmp_path):
    started = []
    common = {**devices(1), "JAX_COORDINATOR_ADDRESS": f"localhost:{free_port()}", "JAX_NUM_PROCESSES": "2"}
    for number in ("0", "1"):
        command = [*SOLVE, "beach_bar", "--distributed", "--seed", number, "--out", str(tmp_path / "run")]
        env = {**common, "JAX_PROCESS_ID": number}
        started.append(subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True))
    for process in started:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 2
        assert "the command must be the same in all processes, but process 1 has another ['seed']" in said
    assert not (tmp_path / "run").exists()


# The recipe for two shells on one machine in docs/devices.md, and what happens when one of them dies.

SMALL_RUN = ["beach_bar", "--num-states", "11", "--horizon", "6", "--iterations", "8000", "--hidden", "4"]
SMALL_RUN += ["--width", "4", "--depth", "1", "--rank", "3", "--set", "solver.deterministic=true"]
SMALL_RUN += ["--snapshot-seconds", "0.5"]


def parameters(folder):
    with open_arrays(folder / "policy.safetensors") as file:
        arrays = file.read()
    return np.concatenate([np.ravel(arrays[name]) for name in sorted(arrays)])


@pytest.mark.slow
def test_a_killed_process_ends_the_other_and_the_run_goes_on_to_the_same_numbers(tmp_path):
    whole, run = tmp_path / "whole", tmp_path / "run"
    subprocess.run([*SOLVE, *SMALL_RUN, "--devices", "2", "--out", str(whole)], env=devices(2), check=True)
    command = [*SOLVE, *SMALL_RUN, "--distributed", "--out", str(run)]
    for _ in range(2):
        before = newest(run)
        started = processes(2, command, folder=tmp_path)
        while newest(run) <= max(before, 1):
            assert all(process.poll() is None for process in started), (tmp_path / "0.out").read_text()
            time.sleep(0.05)
        started[1].send_signal(signal.SIGKILL)
        killed = time.monotonic()
        assert wait(started, 60)[0] == 1
        assert time.monotonic() - killed < 60
        assert "another process of this run has ended" in (tmp_path / "0.out").read_text()
        command = [*SOLVE, "--resume", str(run), "--distributed"]
    subprocess.run([*SOLVE, "--resume", str(run), "--devices", "2"], env=devices(2), check=True)
    np.testing.assert_array_equal(parameters(run), parameters(whole))
    assert json.loads((run / "result.json").read_text())["result"] == "completed"


def newest(run):
    """The step of the newest snapshot; -1 where there is none."""
    return max((int(path.stem) for path in (run / "snapshots").glob("[0-9]*.safetensors")), default=-1)


@pytest.mark.slow
def test_states_over_processes(tmp_path):
    few = [*SOLVE, "beach_bar", "--num-states", "28", *SMALL_RUN[3:5], "--iterations", "20", *SMALL_RUN[7:]]
    subprocess.run([*few, "--out", str(tmp_path / "alone")], env=devices(1), check=True)
    command = [*few, "--distributed", "--devices", "1x2", "--out", str(tmp_path / "shared")]
    assert wait(processes(2, command, folder=tmp_path), 300) == [0, 0], (tmp_path / "0.out").read_text()
    np.testing.assert_allclose(parameters(tmp_path / "shared"), parameters(tmp_path / "alone"), rtol=0, atol=1e-5)
