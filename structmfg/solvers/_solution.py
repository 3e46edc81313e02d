"""What a solve returns, and the ways it can end."""

import enum
from typing import Any, NamedTuple

import numpy as np

from structmfg.policies import Policy


class RESULTS(enum.Enum):
    """How a solve ended; the value is the whole message."""

    completed = "All planned updates were made."
    converged = "The exploitability is at most the tolerance."
    not_converged = "All planned updates were made, but the exploitability is above the tolerance; see stats."
    time_limit = "The time limit was reached before all planned updates were made; the policy is the one reached."
    interrupted = "The solve was interrupted; the policy is the one reached."
    nonfinite = "A number was not finite; the policy is the last good one."
    invalid = "Under the policy reached the game is not one, so nothing is certified; see stats['failure']."
    uncertified = (
        "No change at a single information set gains more than the tolerance, but an agent's own past says something "
        "about the noise, so nothing certifies that no other policy does."
    )

    @property
    def succeeded(self) -> bool:
        """Whether the policy may be used as what the solver was asked for."""
        return self not in (RESULTS.nonfinite, RESULTS.invalid, RESULTS.not_converged, RESULTS.uncertified)


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
