"""The variance of gradients and returns: individual states integrated exactly, against agents sampled one by one."""

from structmfg._statistics import Interval
from structmfg.verification.variance._figures import figures
from structmfg.verification.variance._returns import ReturnPoint, ReturnSpread
from structmfg.verification.variance._study import NUM_TESTS, GradientRow, VarianceStudy, variance_study

__all__ = [
    "NUM_TESTS",
    "GradientRow",
    "Interval",
    "ReturnPoint",
    "ReturnSpread",
    "VarianceStudy",
    "figures",
    "variance_study",
]
