"""The loop that drives every solver: chunks, time limits, snapshots, memory estimates.

What is imported under its own name, `x as x`, serves other rooms of the package and may change.
"""
# ruff: isort: skip_file

from structmfg.solvers.loop._callbacks import CSVCallback, LogCallback, TensorBoardCallback, WandbCallback
from structmfg.solvers.loop._memory import (
    SMALL_PROGRAMS as SMALL_PROGRAMS,
    MemoryEstimate,
    MemoryProfiler as MemoryProfiler,
    estimate_memory,
    least_bytes as least_bytes,
    lower_update as lower_update,
    profile_clairvoyant as profile_clairvoyant,
    profile_informed as profile_informed,
    profile_solve as profile_solve,
    profile_stationary_solve as profile_stationary_solve,
    profile_tree_solve as profile_tree_solve,
    refuse_at_once as refuse_at_once,
)
from structmfg.solvers.loop._training_run import lower_chunk as lower_chunk, start as start
from structmfg.solvers.loop._progress import Progress
from structmfg.solvers.loop._snapshots import Snapshots
from structmfg.solvers.loop._solve import solve, solve_seeds

__all__ = [
    "CSVCallback",
    "LogCallback",
    "MemoryEstimate",
    "Progress",
    "Snapshots",
    "TensorBoardCallback",
    "WandbCallback",
    "estimate_memory",
    "solve",
    "solve_seeds",
]
