"""Measure and draw economies: households in the steady state, responses to shocks, comparative statics."""

from structmfg.reports.economies._households import OnAssets, draw_households, on_assets, pooled_lorenz
from structmfg.reports.economies._responses import (
    Peak,
    Unit,
    draw_jacobian,
    draw_residuals,
    draw_responses,
    peak,
    unit_of,
)
from structmfg.reports.economies._statics import draw_statics, draw_swept_responses

__all__ = [
    "OnAssets",
    "Peak",
    "Unit",
    "draw_households",
    "draw_jacobian",
    "draw_residuals",
    "draw_responses",
    "draw_statics",
    "draw_swept_responses",
    "on_assets",
    "peak",
    "pooled_lorenz",
    "unit_of",
]
