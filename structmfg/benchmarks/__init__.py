"""Benchmarks of the operators and solvers: the suite of `structmfg bench`, comparisons, a cost model, and scripts.

- `structmfg bench` runs the `suite`: operators in every form, updates, training, other libraries.
- `structmfg compare` runs `comparison`: exploitability against seconds of training, for several solvers and seeds.
- `structmfg plan` predicts what an update costs on several devices: `plan_update`.
- `python -m structmfg.benchmarks.NAME` runs a script: `training` (training time to exploitability), `exact` (the exact
  solvers), `players` (policies among N players), `variance` (RSPG against sampled agents), `memory` (estimates against
  measured peaks), `products` (explicit products against SciPy's).
"""

from structmfg.benchmarks._devices import DEVICES, Device, device
from structmfg.benchmarks._plan_update import (
    MAX_DEVICES as MAX_DEVICES,
)
from structmfg.benchmarks._plan_update import (
    Split,
    UpdatePlan,
    plan_update,
    predicted,
    update_cost,
)
from structmfg.benchmarks._plan_update import (
    basis as basis,
)
from structmfg.benchmarks._plan_update import (
    plan_object as plan_object,
)
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
    "DEVICES",
    "FULL",
    "QUICK",
    "Case",
    "Device",
    "MFGLib",
    "NotRun",
    "OpenSpiel",
    "Peer",
    "Plan",
    "Row",
    "Split",
    "Target",
    "Update",
    "UpdatePlan",
    "cases",
    "describe",
    "device",
    "plan_update",
    "predicted",
    "run",
    "save",
    "targets",
    "update_cost",
]
