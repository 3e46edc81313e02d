"""Figures of what follows a shock: impulse responses, columns of Jacobians, residuals of the transition path."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from structmfg._files import file_name
from structmfg._pages import COLOURS, GREY, LINES, STYLE, Picture, picture
from structmfg.economies.sequence_space import ImpulseResponse

_RATES = {"interest", "inflation", "rate", "monetary"}  # words in the names of paths that are rates
_ZERO = 1e-8  # a steady value of which nobody takes percentages
_ROUNDING = 1e-10  # of the largest change of any path, below which one does not move
_COLUMNS = (0, 25, 50, 75, 100)
_PANELS_A_ROW = 4
_LEAST_SHOWN = 20  # periods


class Unit(NamedTuple):
    """How the change of a path is shown: times `scale`, in a unit of this name."""

    scale: float
    name: str


def unit_of(path: str, steady: float) -> Unit:
    """Percentage points for rates, which have "interest", "inflation", "rate" or "monetary" in their name.

    Percent of the steady state for other paths, and the change itself where the steady state is zero.
    """
    if _RATES & set(path.split("_")):
        return Unit(100.0, "percentage points")
    if abs(steady) <= _ZERO:
        return Unit(1.0, "change")
    return Unit(100 / abs(steady), "% of steady state")


class Peak(NamedTuple):
    """The change of a path at time 0, and its largest change in absolute value with the period, in the path's unit."""

    impact: float
    peak: float
    period: int


def peak(change: Float[np.ndarray, " horizon"]) -> Peak:
    """Summarise the response of a path."""
    place = int(np.argmax(np.abs(change)))
    return Peak(float(change[0]), float(change[place]), place)


def shown_periods(response: ImpulseResponse) -> int:
    """How many periods a figure shows: until the response has died away, and a little more."""
    horizon = len(next(iter(response.paths.values())))
    return min(horizon, max(_LEAST_SHOWN, round(1.2 * response.stats["memory"])))


def moving(response: ImpulseResponse) -> list[str]:
    """The paths that move, in the order of the economy."""
    largest = {name: np.abs(response.paths[name]).max() for name in response.steady}
    return [name for name, change in largest.items() if change > _ROUNDING * max(largest.values())]


def panels(number: int, *, height: float = 2.4) -> tuple[Figure, list[Axes]]:
    """A figure of small multiples, and its panels."""
    columns = min(number, _PANELS_A_ROW)
    rows = math.ceil(number / columns)
    figure = Figure(figsize=(2.9 * columns + 0.6, height * rows + 0.4), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for empty in axes[number:]:
        empty.set_axis_off()
    return figure, axes[:number]


def draw_responses(responses: Mapping[str, ImpulseResponse], shock: str, size: float) -> Picture:
    """Small multiples of all paths that move.

    Args:
        responses: The responses to one shock, by what they are: linear, nonlinear.
        shock: The path that is shocked.
        size: Its change at time 0.
    """
    first = next(iter(responses.values()))
    names = [shock, *(name for name in moving(first) if name != shock)]
    periods = shown_periods(first)
    with mpl.rc_context(STYLE):
        figure, axes = panels(len(names))
        for panel, name in zip(axes, names, strict=True):
            unit = unit_of(name, first.steady[name])
            for i, (kind, response) in enumerate(responses.items()):
                change = unit.scale * response.paths[name][:periods]
                panel.plot(change, color=COLOURS[i], linestyle=LINES[i], label=kind)
            panel.axhline(0, color=GREY, linewidth=0.8)
            panel.set_title(name.replace("_", " "), fontsize=10)
            panel.set_ylabel(unit.name, fontsize=8)
            panel.set_xlabel("periods", fontsize=8)
        if len(responses) > 1:
            axes[0].legend(fontsize=8)
        caption = (
            f"Responses to a change of {shock} by {size:g} at time 0. Percent of the steady state; percentage points "
            "for rates; the change itself where the steady state is zero."
        )
        text = "; ".join(f"{name}: peak {peak(first.paths[name]).peak:.4g}" for name in names)
        return picture("responses", caption, figure, text)


def draw_jacobian(name: str, jacobian: Mapping[str, Mapping[str, Any]]) -> Picture:
    """Columns of the Jacobians of one output of a household, consumption where it has it, a panel for each input."""
    output = "consumption" if "consumption" in jacobian else next(iter(jacobian))
    inputs = list(jacobian[output])
    horizon = len(jacobian[output][inputs[0]])
    columns = [s for s in _COLUMNS if s < horizon]
    periods = min(horizon, round(1.4 * columns[-1]) + _LEAST_SHOWN)
    with mpl.rc_context(STYLE):
        figure, axes = panels(len(inputs), height=2.7)
        for panel, source in zip(axes, inputs, strict=True):
            matrix = np.asarray(jacobian[output][source])
            for i, s in enumerate(columns):
                panel.plot(
                    matrix[:periods, s],
                    color=COLOURS[i % len(COLOURS)],
                    linestyle=LINES[i % len(LINES)],
                    label=f"s = {s}",
                )
            panel.axhline(0, color=GREY, linewidth=0.8)
            panel.set_title(f"d {output} / d {source}".replace("_", " "), fontsize=10)
            panel.set_xlabel("t", fontsize=8)
        axes[0].legend(fontsize=8)
        caption = (
            f"Jacobian of {output.replace('_', ' ')} of households ({name}) in partial equilibrium: its change at time "
            "t for a change of one at time s, which becomes known at time 0."
        )
        return picture(f"jacobian-{file_name(name)}", caption, figure)


def draw_residuals(residuals: Sequence[float], tolerance: float) -> Picture:
    """The largest residual of the equations at each step towards the transition path."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.8, 3.2), layout="constrained")
        axes = figure.subplots()
        axes.semilogy(np.maximum(residuals, 1e-300), marker="o", color=COLOURS[0])
        axes.axhline(tolerance, color=GREY, linewidth=0.8, linestyle=LINES[1])
        axes.set_xticks(range(len(residuals)) if len(residuals) < 12 else axes.get_xticks())
        axes.set_xlim(-0.3, len(residuals) - 0.7)
        axes.set_xlabel("step")
        axes.set_ylabel("largest residual")
        caption = (
            "Largest residual of any equation in any period along the nonlinear path, by step; dashed: the tolerance."
        )
        text = ", ".join(f"{residual:.2e}" for residual in residuals)
        return picture("residuals", caption, figure, text)
