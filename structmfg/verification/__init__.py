"""Checks that a game obeys the laws every solver relies on, and a report of them."""

from structmfg.verification import laws
from structmfg.verification._check import CheckResult
from structmfg.verification._fuzz import fuzz
from structmfg.verification._report import Report
from structmfg.verification._verify import verify

__all__ = ["CheckResult", "Report", "fuzz", "laws", "verify"]
