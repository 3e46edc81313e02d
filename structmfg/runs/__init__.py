"""Runs: the folders that keep a solve, their settings, results and pages."""

from structmfg.runs._html import render, spoken
from structmfg.runs._loading import blamed
from structmfg.runs._memory import check_memory, estimate_run, gibibytes
from structmfg.runs._result import anchors_object, measures, result_object
from structmfg.runs._run import Run, load_run, load_settings, save_policy, save_run, save_settings
from structmfg.runs._settings import Precision, Settings, parameters, versions

__all__ = [
    "Precision",
    "Run",
    "Settings",
    "anchors_object",
    "blamed",
    "check_memory",
    "estimate_run",
    "gibibytes",
    "load_run",
    "load_settings",
    "measures",
    "parameters",
    "render",
    "result_object",
    "save_policy",
    "save_run",
    "save_settings",
    "spoken",
    "versions",
]
