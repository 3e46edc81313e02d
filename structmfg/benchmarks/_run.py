"""A run: all cases one after the other, then what follows from them, then the files."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from structmfg._files import write_bytes, write_json
from structmfg.benchmarks._cases import FAILED, NOT_RUN, OK, Case, Row
from structmfg.benchmarks._children import run_case
from structmfg.benchmarks._machine import machine
from structmfg.benchmarks._report import render
from structmfg.benchmarks._targets import scaling, targets

FORMAT = 1


def run(
    planned: Sequence[Case], *, timeout: float, tell: Callable[[Case, list[Row], float], None] = lambda *_: None
) -> dict[str, Any]:
    """Measure all cases; `tell` is given each, its rows and its seconds. An interrupt leaves out those that remain.

    `measurements` holds a row for every measurement that was planned, with `status` "ok", "failed" or "not run".
    """
    about, rows = machine(), []
    stopped, start = False, time.perf_counter()
    for case in planned:
        began = time.perf_counter()
        try:
            found = case.rows(NOT_RUN, "interrupted") if stopped else run_case(case, timeout=timeout)
        except KeyboardInterrupt:
            stopped, found = True, case.rows(NOT_RUN, "interrupted")
        except OSError as error:  # the process could not be started
            found = case.rows(FAILED, str(error))
        rows += found
        tell(case, found, time.perf_counter() - began)
    return {
        "format": FORMAT,
        "machine": about,
        "seconds": time.perf_counter() - start,
        "measurements": rows,
        "scaling": [fit._asdict() for fit in scaling(rows)],
        "targets": [target._asdict() for target in targets(rows)],
        "counts": {status: sum(row["status"] == status for row in rows) for status in (OK, FAILED, NOT_RUN)},
    }


def save(folder: Path, result: dict[str, Any]) -> None:
    """Write bench.json, then report.html."""
    write_json(folder / "bench.json", result)
    write_bytes(folder / "report.html", render(result).encode())
