"""One process a case, on one core: what it uses of memory is its own, and its end is not the end of the others."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator

from structmfg.benchmarks._cases import FAILED, Case, Row
from structmfg.benchmarks._machine import core


def run_case(case: Case, *, timeout: float) -> list[Row]:
    """All rows of a case; those that its process did not report have failed, for the reason it ended."""
    command = [sys.executable, "-m", "structmfg.benchmarks._worker", case.to_json()]
    with pinned():
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=timeout, check=False, env=environment()
            )
            printed, reason = done.stdout, _reason(done.returncode, done.stderr)
        except subprocess.TimeoutExpired as late:
            printed = late.stdout.decode() if isinstance(late.stdout, bytes) else late.stdout or ""
            reason = f"stopped after {timeout:g} s"
    rows = [json.loads(line) for line in printed.split("\n")[:-1]]  # the last line may be half a row
    return rows + [case.row(key, {"status": FAILED, "reason": reason}) for key in case.keys[len(rows) :]]


def _reason(code: int, errors: str) -> str:
    said = next((line for line in reversed(errors.splitlines()) if line.strip()), "")
    ended = f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return f"{ended}; {said}" if said else ended


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """Processes started inside run on one core, where the system can do it (Linux).

    They inherit it before they begin: XLA and BLAS count the cores they may use when they start.
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


def environment() -> dict[str, str]:
    """Single precision, and the processor unless another platform was asked for."""
    return {"JAX_PLATFORMS": "cpu", **os.environ, "JAX_ENABLE_X64": "0"}
