"""Solvers on one clock: exploitability against seconds of training, over seeds, in one table and one figure.

Every solver has the same seconds of training, and its schedules (learning rate, entropy) are planned to fill them: a
trial measures how long an update takes. A comparison is saved to a folder run by run, so that it can be resumed after
an interrupt; each run in it is a run folder that `structmfg evaluate` reads.
"""

from structmfg._statistics import Band, band, mean_and_half_width, time_to
from structmfg.benchmarks.comparison._compare import Comparison, compare
from structmfg.benchmarks.comparison._plan import FILE, ClockPlan, steps_to_fill, steps_within
from structmfg.benchmarks.comparison._report import bracket, speed_up
from structmfg.benchmarks.comparison._runs import ClockedRun

__all__ = [
    "FILE",
    "Band",
    "ClockPlan",
    "ClockedRun",
    "Comparison",
    "band",
    "bracket",
    "compare",
    "mean_and_half_width",
    "speed_up",
    "steps_to_fill",
    "steps_within",
    "time_to",
]
