"""What Jacobians cost, by grid and horizon: processor seconds after compilation, and peak memory."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from structmfg._memory import forget_peak, peak_memory, resident_memory
from structmfg._statistics import log_log_slope
from structmfg.economies import Income
from structmfg.economies.sequence_space import (
    HouseholdSteadyState,
    WorkingBlock,
    household_steady_state,
    jacobian,
    linearise,
    one_asset_hank,
)
from structmfg.operators import GeometricGrid

# The steady state of `one_asset_hank()`, to four digits: costs do not depend on whether markets clear.
_INPUTS = {"interest": 0.005, "wage": 1 / 1.2, "transfer": 0.1387, "discount": 0.9822, "disutility": 0.7864}
_MIB = 2**20


def processor_seconds(calls: Sequence[Callable[[], Any]], rounds: int) -> list[float]:
    """The fewest processor seconds of each call, which are made in turn, after a round that compiles."""
    seconds = np.full((rounds, len(calls)), np.inf)
    for k in range(rounds + 1):
        for j, call in enumerate(calls):
            began = time.process_time()
            call()
            if k:
                seconds[k - 1, j] = time.process_time() - began
    return [float(best) for best in seconds.min(axis=0)]


def household(num_assets: int) -> HouseholdSteadyState:
    """The household of the one-asset economy, 7 skills, at its steady state."""
    income, grid = Income.rouwenhorst(7, 0.966, 0.5), GeometricGrid(num_assets, 0.0, 150.0)
    block = WorkingBlock(grid, 0.0, np.array(income.levels), np.array(income.transition), 2.0, 0.5)
    return household_steady_state(block, _INPUTS, tolerance=1e-9)


def costs(
    assets: Sequence[int], horizons: Sequence[int], *, rounds: int
) -> tuple[list[dict[str, Any]], dict[str, float | None]]:
    """A row for each grid at the first horizon, and for each horizon at the first grid; and the exponents of both."""
    sizes = [(n, horizons[0]) for n in assets] + [(assets[0], horizon) for horizon in horizons[1:]]
    known = {n: household(n) for n in assets}
    calls = [lambda n=n, t=t: jacobian(known[n].block, known[n], horizon=t) for n, t in sizes]
    seconds = processor_seconds(calls, rounds)
    rows = [
        {"states": 7 * n, "horizon": horizon, "seconds": each}
        for (n, horizon), each in zip(sizes, seconds, strict=True)
    ]
    exponents = {
        "states": log_log_slope([(row["states"], row["seconds"]) for row in rows if row["horizon"] == horizons[0]]),
        "horizon": log_log_slope([(row["horizon"], row["seconds"]) for row in rows if row["states"] == 7 * assets[0]]),
    }
    return rows, exponents


def memory(num_assets: int, horizon: int) -> list[dict[str, Any]]:
    """The peak memory of the Jacobians of a household, and of the linear response of the economy, each in a process."""
    rows = []
    for what in ("household", "economy"):
        code = f"from {__name__} import print_memory; print_memory({what!r}, {num_assets}, {horizon})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the measurement of memory failed: {done.stderr.strip()[-500:]}")
        rows.append({"what": what, "states": 7 * num_assets, "horizon": horizon, **json.loads(done.stdout)})
    return rows


def print_memory(what: str, num_assets: int, horizon: int) -> None:
    """Print the memory in MiB that this process holds before, and its peak during, the computation."""
    if what == "household":
        steady = household(num_assets)
        base = resident_memory()
        forget_peak()
        jacobian(steady.block, steady, horizon=horizon)
    else:
        known = one_asset_hank(num_assets=num_assets)
        base = resident_memory()
        forget_peak()
        linearise(known.economy, known, horizon=horizon, exogenous=["monetary"])
    print(json.dumps({"base": base / _MIB, "peak": peak_memory() / _MIB}))
