"""Reports: what was reached and what to hold it against, in figures, HTML and JSON; and the folders that keep runs."""

from structmfg._pages import Picture
from structmfg.reports._evaluation import (
    HELD_OUT_PATHS,
    KINDS,
    TRAINING_PATHS,
    Anchors,
    Evaluation,
    anchors,
    checkpoint_evaluation,
    evaluate,
    held_out_key,
)
from structmfg.reports._figures import draw_mean_fields, figures
from structmfg.reports._files import drop_folder, new_folder
from structmfg.reports._html import render, spoken
from structmfg.reports._memory import check_memory, estimate_run, gibibytes
from structmfg.reports._players import draw_players, players_basis, players_object, save_players
from structmfg.reports._published import Published, game_name, published
from structmfg.reports._result import anchors_object, measures, result_object
from structmfg.reports._run import Run, load_run, load_settings, save_policy, save_run, save_settings
from structmfg.reports._settings import Precision, Settings, versions
from structmfg.reports._trajectories import Trajectories, trajectories

__all__ = [
    "HELD_OUT_PATHS",
    "KINDS",
    "TRAINING_PATHS",
    "Anchors",
    "Evaluation",
    "Picture",
    "Precision",
    "Published",
    "Run",
    "Settings",
    "Trajectories",
    "anchors",
    "anchors_object",
    "check_memory",
    "checkpoint_evaluation",
    "draw_mean_fields",
    "draw_players",
    "drop_folder",
    "estimate_run",
    "evaluate",
    "figures",
    "game_name",
    "gibibytes",
    "held_out_key",
    "load_run",
    "load_settings",
    "measures",
    "new_folder",
    "players_basis",
    "players_object",
    "published",
    "render",
    "result_object",
    "save_players",
    "save_policy",
    "save_run",
    "save_settings",
    "spoken",
    "trajectories",
    "versions",
]
