"""What a solve returns, and what failed."""

from typing import Any, NamedTuple

import numpy as np

from structmfg._results import RESULTS
from structmfg.policies import Policy


class Checkpoint(NamedTuple):
    """Exploitability measured during training, outside its clock."""

    step: int
    train_seconds: float
    value: float
    stderr: float


class Solution(NamedTuple):
    """`policy`; `result`, a member of `RESULTS`; `stats`: see `solve`."""

    policy: Policy
    result: RESULTS
    stats: dict[str, Any]


def describe_failure(step: int, mean_return: float, gradient_norm: float) -> str:
    """When and where an update was not finite."""
    if np.isfinite([mean_return, gradient_norm]).all():
        return f"update {step}: the parameters after it were not finite"
    where = "return" if not np.isfinite(mean_return) else "gradient"
    return f"update {step}: the {where} was not finite (return {mean_return:g}, gradient norm {gradient_norm:g})"
