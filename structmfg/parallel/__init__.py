"""Solves on several devices, in several processes, and many at once: the room that knows of meshes and schedulers.

What is imported under its own name, `x as x`, serves other rooms of the package and may change.
"""
# ruff: isort: skip_file

from structmfg.parallel._cores import map_over_cores, shares_of_cores
from structmfg.parallel._executor import (
    check_scheduler as check_scheduler,
    open_executor,
    outcomes,
    stopping as stopping,
)
from structmfg.parallel._mesh import (
    PATHS as PATHS,
    STATES as STATES,
    axis_size,
    in_use as in_use,
    make_mesh,
    over_states,
    whole as whole,
)
from structmfg.parallel._paths import map_over_paths, sum_over_paths
from structmfg.parallel._processes import (
    agree as agree,
    any_process as any_process,
    check_same as check_same,
    end_at_once as end_at_once,
    from_first as from_first,
    is_first,
    join,
    leave,
    wait_for_all as wait_for_all,
)
from structmfg.parallel._program import ProgramCost, program_cost
from structmfg.parallel._states import spread

__all__ = [
    "ProgramCost",
    "axis_size",
    "is_first",
    "join",
    "leave",
    "make_mesh",
    "map_over_cores",
    "map_over_paths",
    "open_executor",
    "outcomes",
    "over_states",
    "program_cost",
    "shares_of_cores",
    "spread",
    "sum_over_paths",
]
