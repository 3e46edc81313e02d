"""Benchmarks of the operators and solvers: the suite of `structmfg bench`, a comparison of solvers, and scripts.

- `structmfg bench` runs the `suite`: operators in every form, updates, training, other libraries.
- `structmfg compare` runs `comparison`: exploitability against seconds of training, for several solvers and seeds.
- `python -m structmfg.benchmarks.NAME` runs a script: `training` (training time to exploitability), `exact` (the exact
  solvers), `players` (policies among N players), `variance` (RSPG against sampled agents), `memory` (estimates against
  measured peaks), `products` (explicit products against SciPy's).
"""

from structmfg.benchmarks.suite import (
    FULL,
    QUICK,
    Case,
    MFGLib,
    NotRun,
    OpenSpiel,
    Peer,
    Plan,
    Row,
    Target,
    Update,
    cases,
    describe,
    run,
    save,
    targets,
)

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
