"""A run of the suite: all cases one after the other, then the targets, then the files.

Every case has a process of its own, so that its peak memory is its own, and a crash ends no other case. On a processor
it has one core.
"""

import contextlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from structmfg._files import write_bytes, write_json
from structmfg.benchmarks._machine import core, machine
from structmfg.benchmarks.suite._cases import FAILED, NOT_RUN, OK, Case, Row
from structmfg.benchmarks.suite._device import CPU, environment, find_device
from structmfg.benchmarks.suite._report import render
from structmfg.benchmarks.suite._targets import scaling, targets

FORMAT = 1


def run(
    planned: Sequence[Case],
    *,
    timeout: float,
    seconds: float = math.inf,
    device: str | None = None,
    callback: Callable[[Case, list[Row], float], None] = lambda *_: None,
) -> dict[str, Any]:
    """Measure all cases, each in a process of its own.

    Args:
        planned: The cases; see `cases`.
        timeout: The seconds after which a case is stopped.
        seconds: Those of the whole run: what is not measured by then is left out.
        device: "cpu" or "gpu"; None for the device that JAX picks.
        callback: Called after every case with the case, its rows and its seconds.

    Returns:
        The result for bench.json. `measurements` has a row for every measurement that was planned, with `status` "ok",
        "failed" or "not run". An interrupt leaves out the cases that remain.

    Raises:
        ValueError: JAX has no such device here.
    """
    start, found = time.perf_counter(), find_device(device)
    about, rows, stopped = machine(pinned=found.platform == CPU), [], ""
    for case in planned:
        began = time.perf_counter()
        left = start + seconds - began
        if not stopped and left <= 0:
            stopped = f"the {seconds:g} s of the run were over"
        try:
            case_rows = (
                case.rows(NOT_RUN, stopped)
                if stopped
                else run_case(case, timeout=timeout, left=left, device=device, platform=found.platform)
            )
        except KeyboardInterrupt:
            stopped = "interrupted"
            case_rows = case.rows(NOT_RUN, stopped)
        except OSError as error:  # the process could not be started
            case_rows = case.rows(FAILED, str(error))
        rows += case_rows
        callback(case, case_rows, time.perf_counter() - began)
    return {
        "format": FORMAT,
        "machine": about,
        "device": found._asdict(),
        "seconds": time.perf_counter() - start,
        "measurements": rows,
        "scaling": [fit._asdict() for fit in scaling(rows)],
        "targets": [target._asdict() for target in targets(rows)],
        "counts": {status: sum(row["status"] == status for row in rows) for status in (OK, FAILED, NOT_RUN)},
    }


def save(folder: Path, result: dict[str, Any]) -> None:
    """Write bench.json and report.html of a result to a folder."""
    write_json(folder / "bench.json", result)
    write_bytes(folder / "report.html", render(result).encode())


def run_case(
    case: Case, *, timeout: float, left: float = math.inf, device: str | None = None, platform: str = CPU
) -> list[Row]:
    """All rows of a case; those that its process did not report failed, for the reason that it ended.

    Where it ended because the run had only so many seconds `left`, they are left out.
    """
    command = [sys.executable, "-m", "structmfg.benchmarks.suite._worker", case.to_json(), platform]
    status, seconds = FAILED, min(timeout, left)
    with pinned() if platform == CPU else contextlib.nullcontext():
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=seconds, check=False, env=environment(device)
            )
            printed, reason = done.stdout, _reason(done.returncode, done.stderr)
        except subprocess.TimeoutExpired as late:
            printed = late.stdout.decode() if isinstance(late.stdout, bytes) else late.stdout or ""
            reason = f"stopped after {seconds:.3g} s"
            if left < timeout:
                status, reason = NOT_RUN, "the time of the run was over"
    rows = [json.loads(line) for line in printed.split("\n")[:-1]]  # the last line may be half a row
    return rows + [case.row(key, {"status": status, "reason": reason}) for key in case.keys[len(rows) :]]


def _reason(code: int, errors: str) -> str:
    message = next((line for line in reversed(errors.splitlines()) if line.strip()), "")
    ended = f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return f"{ended}; {message}" if message else ended


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """Run the processes that are started inside on one core, where the system can (Linux).

    They inherit this process's core, as XLA and BLAS count the cores that they may use when they start.
    """
    chosen = core()
    if chosen is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {chosen})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
