"""The loop that drives every solver: chunks, time limits, snapshots, memory estimates."""

from structmfg.solvers.loop._memory import (
    SMALL_PROGRAMS,
    MemoryEstimate,
    MemoryProfiler,
    estimate_memory,
    least_bytes,
    profile_clairvoyant,
    profile_informed,
    profile_solve,
    profile_tree_solve,
    refuse_at_once,
)
from structmfg.solvers.loop._snapshots import Snapshots
from structmfg.solvers.loop._solve import Progress, solve, solve_seeds

__all__ = [
    "SMALL_PROGRAMS",
    "MemoryEstimate",
    "MemoryProfiler",
    "Progress",
    "Snapshots",
    "estimate_memory",
    "least_bytes",
    "profile_clairvoyant",
    "profile_informed",
    "profile_solve",
    "profile_tree_solve",
    "refuse_at_once",
    "solve",
    "solve_seeds",
]
