"""The data of the interactive panel of a report: mean field and mean action by noise path, time and state.

They are few enough for a page: states and times are left out evenly where there are many, and numbers have four digits.
"""

from typing import Any

import numpy as np

from structmfg._checks import printable
from structmfg.games import Game
from structmfg.reports import StateView, Trajectories, state_views

_MAX_NUMBERS = 48_000  # of all mean fields and actions: about half a megabyte of text
_MAX_POINTS, _MAX_POINTS_OF_PRODUCT = 120, 60
_LEAST_MASS = 1e-6  # of a grid point; less is written as 0


def panel_data(game: Game, shown: Trajectories) -> dict[str, Any]:
    """What the panel shows, as one JSON object.

    Its lists `mass` and `action` are by noise path, level of the other factors, time, and point of the first factor.
    The action at T is missing, as the game ends there: `action` has no entry for it.
    """
    views, horizon = state_views(game), game.horizon or 1
    axis = views[0].axis
    points = _evenly(len(axis.coordinates), _MAX_POINTS if len(views) == 1 else _MAX_POINTS_OF_PRODUCT)
    per_time = 2 * len(shown.labels) * len(views) * len(points)
    times = _evenly(horizon + 1, max(_MAX_NUMBERS // per_time, 2))
    steps = times[times < horizon]
    return {
        "paths": [printable(label) for label in shown.labels],
        "levels": [printable(view.label) for view in views],
        "axis": printable(axis.label),
        "action_name": printable(game.action_axis()[0]),
        "shift": axis.shift,
        "points": _rounded(axis.coordinates[points]),
        "names": None if axis.names is None else [printable(axis.names[point]) for point in points],
        "times": times.tolist(),
        "left_out": bool(len(points) < len(axis.coordinates) or len(times) <= horizon),
        "mass": [
            [_rounded(view.mass(shown.mean_field[path])[times][:, points], _LEAST_MASS) for view in views]
            for path in range(len(shown.labels))
        ],
        "action": [
            [_rounded(_mean_action(view, shown, path)[steps][:, points]) for view in views]
            for path in range(len(shown.labels))
        ],
    }


def _mean_action(view: StateView, shown: Trajectories, path: int) -> np.ndarray:
    """The mean action (T, M) of the agents at the points of a view; where nobody is, of all its states alike."""
    mass, action = shown.mean_field[path, :-1], shown.mean_action[path]
    plain = view.mass(action) / view.mass(np.ones_like(action))
    total = view.mass(mass)
    return np.where(total > 0, view.mass(mass * action) / np.where(total > 0, total, 1), plain)


def _evenly(count: int, at_most: int) -> np.ndarray:
    """Evenly spread places in 0..count-1, with both ends."""
    return np.unique(np.linspace(0, count - 1, min(count, at_most)).round().astype(int))


def _rounded(values: np.ndarray, least: float = 0.0) -> list[Any]:
    """The numbers with four significant digits, as lists; None where they are not finite."""
    if values.ndim > 1:
        return [_rounded(row, least) for row in values]
    return [_short(float(value), least) for value in values]


def _short(value: float, least: float) -> float | int | None:
    if not np.isfinite(value):
        return None
    value = float(f"{value:.4g}") if abs(value) > least else 0.0
    return int(value) if value == int(value) and abs(value) < 1e6 else value
