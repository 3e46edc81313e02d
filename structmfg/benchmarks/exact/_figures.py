"""The figures of the exact solvers' benchmark, drawn off screen."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator, ScalarFormatter

from structmfg._pages import COLOURS, GREY, STYLE, Picture, picture

Row = Mapping[str, Any]

_LEAST_DRAWN = 1e-8  # smaller values, and zero, are drawn here
_ERRORS = {
    "rms_start": "control at 0, root mean square",
    "max_start": "control at 0, largest",
    "rms_middle": "control at T/2, root mean square",
    "max_middle": "control at T/2, largest",
    "variance": "Var(X - m), largest",
}


def figures(result: Row) -> list[Picture]:
    """The pictures of all parts in a result."""
    pictures = []
    with mpl.rc_context(STYLE):
        for game in ("linear_quadratic", "crowd_modelling"):
            if part := result.get(game):
                caption = "Exploitability by steps and by seconds: the exact solver and the classical iterations."
                pictures.append(picture(f"{game}_solvers", caption, draw_solvers(game, part)))
        if part := result.get("carmona_fouque_sun"):
            caption = "The exact equilibrium against the closed form as the time step is refined."
            pictures.append(picture("closed_form", caption, draw_closed_form(part["rows"], part["orders"])))
    return pictures


def draw_solvers(game: str, part: Row) -> Figure:
    """The figure of every family's best setting, against steps and against seconds without compilation."""
    rows = [part["exact"][-1], *(row for row in part["others"] if row["best"])]
    figure = Figure(figsize=(10.2, 5.0), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for i, row in enumerate(rows):
        steps, values = np.array(row["curve"], float).reshape(-1, 2).T
        shown = np.maximum(values, _LEAST_DRAWN)
        name = " ".join(part for part in (row["solver"], row["setting"]) if part)
        colour = GREY if i >= len(COLOURS) else COLOURS[i]
        look: dict[str, Any] = {"color": colour, "linewidth": 2.8 if i == 0 else 1.6, "zorder": 4 if i == 0 else 3}
        dashed = row["solver"] in ("Munchausen", "policy iteration")  # these curves may cover others
        look["linestyle"] = "--" if dashed else ":" if i >= len(COLOURS) else "-"
        end = np.argmax(values <= _LEAST_DRAWN) if (values <= _LEAST_DRAWN).any() else len(values) - 1
        for axes, scale in zip(panels, (1.0, row["seconds"] / max(row["steps"], 1)), strict=True):
            axes.plot(steps[: end + 1] * scale, shown[: end + 1], label=name, **look)
            if values[end] <= _LEAST_DRAWN or row["result"] == "converged":
                axes.plot(
                    steps[end] * scale, shown[end], marker="v", color=colour, markersize=7, zorder=5, clip_on=False
                )
    for axes, label in zip(panels, ("steps", "seconds of training, without compilation"), strict=True):
        _log(axes)
        axes.set_xlabel(label)
    panels[0].set_ylabel("non-anticipative exploitability\n(units of the return)")
    title = f"{game}: what a best response would gain (triangle: the tolerance, or exactly zero, is reached)"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    return figure


def draw_closed_form(rows: Sequence[Row], orders: Row) -> Figure:
    """The figure of errors by time step, with the fitted orders, and of the control at t = 0."""
    figure = Figure(figsize=(10.2, 5.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    counts = [row["num_steps"] for row in rows]
    for (name, words), colour in zip(_ERRORS.items(), COLOURS, strict=False):
        fitted = f" (order {orders[name]:.2f})" if orders[name] is not None else ""
        left.plot(counts, [row[name] for row in rows], color=colour, marker="o", markersize=5, label=words + fitted)
    start = 1.4 * rows[0]["max_start"]
    left.plot(counts, [start * counts[0] / n for n in counts], color=GREY, linestyle=":", label="first order")
    _log(left)
    left.xaxis.set_minor_locator(NullLocator())
    left.xaxis.set_major_formatter(ScalarFormatter())
    left.set_xticks(counts)
    left.set_xlabel("steps of time")
    left.set_title("Error of the exact equilibrium against the closed form")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    for row, colour in zip(rows, COLOURS, strict=False):
        profile = row["profile"]
        right.plot(
            profile["distance"], profile["control"], color=colour, label=f"{row['num_steps']} steps", linewidth=1.2
        )
    right.plot(profile["distance"], profile["closed_form"], color="black", linestyle="--", label="closed form")
    right.set_xlabel("m - x")
    right.set_title("Control at t = 0")
    right.grid(color="#e3e6ea", linewidth=0.8)
    right.legend(fontsize=8.5)
    return figure


def _log(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(color="#e3e6ea", linewidth=0.8)
    axes.set_axisbelow(True)
