"""Checks that a game obeys the laws every solver relies on, and a report of them."""

from structmfg.verification import laws, oracles, populations
from structmfg.verification._against_oracle import matches_oracle
from structmfg.verification._check import CheckResult
from structmfg.verification._fuzz import fuzz
from structmfg.verification._private_history import (
    PrivateHistoryRow,
    faced_population,
    private_history_table,
    value_of_private_history,
)
from structmfg.verification._report import Report, Stage, Table, stage_text
from structmfg.verification._verify import verify
from structmfg.verification.selftest import self_test
from structmfg.verification.variance import VarianceStudy, variance_study

__all__ = [
    "CheckResult",
    "PrivateHistoryRow",
    "Report",
    "Stage",
    "Table",
    "VarianceStudy",
    "faced_population",
    "fuzz",
    "laws",
    "matches_oracle",
    "oracles",
    "populations",
    "private_history_table",
    "self_test",
    "stage_text",
    "value_of_private_history",
    "variance_study",
    "verify",
]
