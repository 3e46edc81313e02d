"""Measure and draw: what a policy reaches, the values to compare it with, and figures of what it does."""

from structmfg._pages import Picture
from structmfg.games import game_name
from structmfg.reports._evaluation import (
    HELD_OUT_PATHS,
    KINDS,
    TRAINING_PATHS,
    Evaluation,
    OfPopulation,
    ReferenceValues,
    checkpoint_evaluation,
    evaluate,
    held_out_key,
    keeps_gains,
    reference_values,
)
from structmfg.reports._figures import figures
from structmfg.reports._players import draw_players, players_basis, players_object
from structmfg.reports._published import SOURCE, Published, published
from structmfg.reports._state_figures import draw_gains, draw_mean_fields
from structmfg.reports._trajectories import Trajectories, kept_times, quantities_along, trajectories
from structmfg.reports._views import StateView, shown_paths, state_views

__all__ = [
    "HELD_OUT_PATHS",
    "KINDS",
    "SOURCE",
    "TRAINING_PATHS",
    "Evaluation",
    "OfPopulation",
    "Picture",
    "Published",
    "ReferenceValues",
    "StateView",
    "Trajectories",
    "checkpoint_evaluation",
    "draw_gains",
    "draw_mean_fields",
    "draw_players",
    "evaluate",
    "figures",
    "game_name",
    "held_out_key",
    "keeps_gains",
    "kept_times",
    "players_basis",
    "players_object",
    "published",
    "quantities_along",
    "reference_values",
    "shown_paths",
    "state_views",
    "trajectories",
]
