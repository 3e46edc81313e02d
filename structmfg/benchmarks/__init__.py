"""Benchmarks: operators in every form, training, other libraries; each case in a process of its own.

`structmfg bench` runs them. `python -m structmfg.benchmarks.training` measures training time to exploitability alone;
`python -m structmfg.benchmarks.exact` the exact solvers; `python -m structmfg.benchmarks.players` policies among N
players. `benchmarks.comparison`, on the command line `structmfg compare`, sets solvers on one clock.
"""

from structmfg.benchmarks._cases import Case, NotRun, Row
from structmfg.benchmarks._peers import Peer, Update
from structmfg.benchmarks._plan import FULL, QUICK, Plan, cases
from structmfg.benchmarks._report import describe
from structmfg.benchmarks._run import run, save
from structmfg.benchmarks._targets import Target, targets

__all__ = [
    "FULL",
    "QUICK",
    "Case",
    "NotRun",
    "Peer",
    "Plan",
    "Row",
    "Target",
    "Update",
    "cases",
    "describe",
    "run",
    "save",
    "targets",
]
