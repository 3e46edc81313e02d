"""Checks that a game obeys the laws every solver relies on, and a report of them."""

from structmfg.verification._laws import (
    LAWS,
    CheckResult,
    adjoint,
    forms_agree,
    linear,
    mass_kept,
    rows_sum_to_one,
    sign_kept,
)
from structmfg.verification._report import Report
from structmfg.verification._verify import verify

__all__ = [
    "LAWS",
    "CheckResult",
    "Report",
    "adjoint",
    "forms_agree",
    "linear",
    "mass_kept",
    "rows_sum_to_one",
    "sign_kept",
    "verify",
]
