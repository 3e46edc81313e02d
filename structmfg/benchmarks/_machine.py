"""The machine that the measurements are made on."""

import datetime
import os
import platform
from pathlib import Path
from typing import Any

from structmfg.runs import versions


def machine(*, pinned: bool = True) -> dict[str, Any]:
    """The processor, cores, versions and date, for JSON; whether the measurements are on one core."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "pinned_to_core": core() if pinned else None,
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def processor() -> str:
    """The name of the processor, where the system has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or "unknown"


def core() -> int | None:
    """The core of all measurements, the last that this process may use; None where the system cannot choose one."""
    return max(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else None
