"""The report of a search: how it went, which settings matter, where the good ones lie, and the best of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from structmfg._files import write_bytes
from structmfg._pages import COLOURS, GREY, STYLE, Picture, page, picture
from structmfg.cli.tuning._spaces import Choices, Range, Space
from structmfg.cli.tuning._study import Trial, best_of
from structmfg.runs import save_figures

_PANELS = 6  # the most settings that are drawn by themselves
_UNITS = "exploitability (units of the return)"


def write_report(
    folder: Path,
    trials: Sequence[Trial],
    spaces: Mapping[str, Space],
    importances: Mapping[str, float],
    *,
    title: str,
    facts: Mapping[str, str],
) -> None:
    """Write the figures and report.html.

    Args:
        folder: The folder of the search.
        trials: All trials that have ended.
        spaces: Where each setting was searched.
        importances: The share of each setting.
        title: The game and the solver.
        facts: What else the page says, by what it is about.
    """
    pictures = []
    if best_of(trials) is not None:
        pictures = [_history(trials, title), _slices(trials, spaces, importances, title)]
        if importances:
            pictures.insert(1, _importances(importances, title))
    save_figures(folder, pictures)
    names = list(spaces)
    text = page(
        "structmfg.cli", "tuning.html", pictures, title=title, names=names, trials=trials, best=best_of(trials),
        facts=facts, spaces={name: str(space) for name, space in spaces.items()},
    )  # fmt: skip
    write_bytes(folder / "report.html", text.encode())


def _measured(trials: Sequence[Trial]) -> list[tuple[Trial, float]]:
    return [(trial, trial.value) for trial in trials if trial.value is not None]


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """Logarithmic values where none is zero."""
    if min(values) > 0:
        axes.set_yscale("log")
    axes.grid(color="#e3e6ea", linewidth=0.8)


def _history(trials: Sequence[Trial], title: str) -> Picture:
    measured = _measured(trials)
    numbers, values = [trial.number for trial, _ in measured], [value for _, value in measured]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.4), layout="constrained")
        axes = figure.subplots()
        axes.plot(numbers, values, "o", color=COLOURS[0], label="trial")
        axes.plot(
            numbers, np.minimum.accumulate(values), drawstyle="steps-post", color=COLOURS[1], label="least so far"
        )
        for trial in trials:
            if trial.value is None:
                axes.axvline(trial.number, color=GREY, linestyle=":", linewidth=1)
        axes.set(xlabel="trial", ylabel=_UNITS)
        _scale(axes, values)
        axes.legend()
        caption = (
            f"{title}: the exploitability of every trial. Trial 0 has the preset's settings. Dotted lines are trials "
            "that failed."
        )
        text = (
            f"least {min(values):.4g}, of trial {numbers[int(np.argmin(values))]}; trial {numbers[0]}: {values[0]:.4g}"
        )
        return picture("history", caption, figure, text)


def _importances(importances: Mapping[str, float], title: str) -> Picture:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 0.8 + 0.3 * len(importances)), layout="constrained")
        axes = figure.subplots()
        axes.barh(list(importances), list(importances.values()), color=COLOURS[0])
        axes.invert_yaxis()
        axes.set_xlabel("share (PED-ANOVA)")
        caption = f"{title}: how much each setting matters for being among the best trials (PED-ANOVA)."
        return picture("importances", caption, figure)


def _slices(
    trials: Sequence[Trial], spaces: Mapping[str, Space], importances: Mapping[str, float], title: str
) -> Picture:
    shown = [name for name in [*importances, *spaces] if name in spaces]
    shown = list(dict.fromkeys(shown))[:_PANELS]
    measured, best = _measured(trials), best_of(trials)
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.4 * columns, 2.9 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, name in zip(panels, shown, strict=False):
            _draw_slice(axes, name, spaces[name], measured, best)
        for axes in panels[len(shown) :]:
            axes.set_axis_off()
        for axes in panels[::columns]:
            axes.set_ylabel("exploitability")
        caption = f"{title}: exploitability over single settings, those that matter most first. The ring is the best."
        return picture("settings", caption, figure)


def _draw_slice(
    axes: Axes, name: str, space: Space, measured: Sequence[tuple[Trial, float]], best: Trial | None
) -> None:
    def place(value: Any) -> float:
        return float(space.values.index(value)) if isinstance(space, Choices) else float(value)

    own = [(trial, value) for trial, value in measured if name in trial.settings]
    axes.plot([place(trial.settings[name]) for trial, _ in own], [value for _, value in own], "o", color=COLOURS[0])
    if best is not None and best.value is not None and name in best.settings:
        axes.plot(place(best.settings[name]), best.value, "o", markersize=12, fillstyle="none", color=COLOURS[1])
    if isinstance(space, Choices):
        axes.set_xticks(range(len(space.values)), str(space).split(", "))
    elif isinstance(space, Range) and space.log:
        axes.set_xscale("log")
    axes.set_xlabel(name)
    _scale(axes, [value for _, value in measured])
