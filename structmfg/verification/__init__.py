"""Checks that a game obeys the laws every solver relies on, and a report of them."""

from structmfg.verification import laws, oracles, populations
from structmfg.verification._against_oracle import matches_oracle
from structmfg.verification._check import CheckResult
from structmfg.verification._fuzz import fuzz
from structmfg.verification._private_history import (
    Measured,
    faced_population,
    private_history_table,
    value_of_private_history,
)
from structmfg.verification._report import Report
from structmfg.verification._verify import verify

__all__ = [
    "CheckResult",
    "Measured",
    "Report",
    "faced_population",
    "fuzz",
    "laws",
    "matches_oracle",
    "oracles",
    "populations",
    "private_history_table",
    "value_of_private_history",
    "verify",
]
