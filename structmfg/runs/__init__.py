"""Keep runs: the folder of a solve with its settings, policy, result, figures and report."""

from structmfg._text import display_name
from structmfg.runs._config import as_toml
from structmfg.runs._html import render
from structmfg.runs._library import load, name_own, report, save
from structmfg.runs._load import POLICY_FILE, Run, load_run, load_settings
from structmfg.runs._memory import check_memory, estimate_run, gibibytes
from structmfg.runs._parameters import in_words, parameters
from structmfg.runs._result import measures, reference_object, result_object
from structmfg.runs._save import save_figures, save_policy, save_run, save_settings
from structmfg.runs._settings import Precision, Settings, versions
from structmfg.runs._side_by_side import side_by_side

__all__ = [
    "POLICY_FILE",
    "Precision",
    "Run",
    "Settings",
    "as_toml",
    "check_memory",
    "display_name",
    "estimate_run",
    "gibibytes",
    "in_words",
    "load",
    "load_run",
    "load_settings",
    "measures",
    "name_own",
    "parameters",
    "reference_object",
    "render",
    "report",
    "result_object",
    "save",
    "save_figures",
    "save_policy",
    "save_run",
    "save_settings",
    "side_by_side",
    "versions",
]
