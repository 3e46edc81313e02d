"""What `structmfg bench` runs: operators in every form, updates, training, other libraries; a process for each case."""

from structmfg.benchmarks.suite._cases import Case, NotRun, Row
from structmfg.benchmarks.suite._peers import MFGLib, OpenSpiel, Peer, Update
from structmfg.benchmarks.suite._plan import FULL, QUICK, Plan, cases
from structmfg.benchmarks.suite._report import describe
from structmfg.benchmarks.suite._run import run, save
from structmfg.benchmarks.suite._targets import Target, targets

__all__ = [
    "FULL",
    "QUICK",
    "Case",
    "MFGLib",
    "NotRun",
    "OpenSpiel",
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
