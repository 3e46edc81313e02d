"""The loop that drives every solver: chunks, time limits, snapshots, memory estimates."""

from structmfg.solvers.loop._memory import (
    ONE_BY_ONE,
    MemoryEstimate,
    Meter,
    estimate_memory,
    least_bytes,
    meter_clairvoyant,
    meter_informed,
    meter_solve,
    meter_tree_solve,
    too_much,
)
from structmfg.solvers.loop._snapshots import Snapshots
from structmfg.solvers.loop._solve import Progress, solve, solve_seeds

__all__ = [
    "ONE_BY_ONE",
    "MemoryEstimate",
    "Meter",
    "Progress",
    "Snapshots",
    "estimate_memory",
    "least_bytes",
    "meter_clairvoyant",
    "meter_informed",
    "meter_solve",
    "meter_tree_solve",
    "solve",
    "solve_seeds",
    "too_much",
]
