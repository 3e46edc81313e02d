"""The loop that drives every solver: chunks, time limits, snapshots, memory estimates."""

from structmfg.solvers.loop._callbacks import CSVCallback, LogCallback, TensorBoardCallback, WandbCallback
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
from structmfg.solvers.loop._progress import Progress
from structmfg.solvers.loop._snapshots import Snapshots
from structmfg.solvers.loop._solve import solve, solve_seeds

__all__ = [
    "SMALL_PROGRAMS",
    "CSVCallback",
    "LogCallback",
    "MemoryEstimate",
    "MemoryProfiler",
    "Progress",
    "Snapshots",
    "TensorBoardCallback",
    "WandbCallback",
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
