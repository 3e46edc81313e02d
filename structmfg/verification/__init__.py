"""Checks that a game obeys the laws every solver relies on, and a report of them."""

from structmfg.verification import laws
from structmfg.verification._check import CheckResult
from structmfg.verification._report import Report
from structmfg.verification._verify import verify
from structmfg.verification.variance import VarianceStudy, variance_study

__all__ = ["CheckResult", "Report", "VarianceStudy", "laws", "variance_study", "verify"]
