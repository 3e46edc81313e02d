"""The figures of variance studies, drawn off screen."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from structmfg._pages import COLOURS, GREY, STYLE, Picture, picture
from structmfg._statistics import Interval
from structmfg.verification.variance._gradients import Baseline
from structmfg.verification.variance._study import VarianceStudy

_COLUMNS = 3
_WORDS: dict[Baseline, str] = {
    "none": "REINFORCE, no baseline",
    "mean": "REINFORCE, mean of the other agents",
    "values": "REINFORCE, exact values as baseline",
}


def figures(studies: Sequence[VarianceStudy]) -> list[Picture]:
    """Gradients and mean returns, a panel for every study."""
    gradients = "The variance of a gradient by number of agents, against that of the exact integral over states."
    returns = "The variance of a mean return by numbers of agents and noise paths."
    with mpl.rc_context(STYLE):
        return [
            picture("variance", gradients, draw_gradients(studies)),
            picture("variance_of_returns", returns, draw_returns(studies)),
        ]


def draw_gradients(studies: Sequence[VarianceStudy]) -> Figure:
    """The figure of relative variances against the number of agents; RSPG's are horizontal lines."""
    figure, panels = _panels(studies)
    for study, axes in zip(studies, panels, strict=False):
        for (baseline, words), colour in zip(_WORDS.items(), (COLOURS[4], COLOURS[1], COLOURS[3]), strict=True):
            rows = [row for row in study.gradients if row.sampling == "iid" and row.baseline == baseline]
            _bars(axes, [row.num_agents or 0 for row in rows], [row.variance for row in rows], colour, words, "-")
        iid, own = study.row("iid").variance.value, study.row("own").variance.value
        equal = study.equal_agents
        chosen = study.row("own", equal, "mean").variance.value
        label = "the same on RSPG's own choice of noise paths"
        axes.plot([equal], [chosen], "D", color=COLOURS[1], fillstyle="none", markersize=7, label=label)
        axes.axhline(iid, color=COLOURS[0], label="RSPG, independent noise paths", linewidth=2.4)
        if own:
            axes.axhline(own, color=COLOURS[0], linestyle="--", label="RSPG, its own choice of noise paths")
        else:
            axes.text(0.03, 0.03, "RSPG's own choice, all paths: 0", transform=axes.transAxes, fontsize=9)
        axes.axvline(equal, color=GREY, linestyle=":", label="as long as RSPG (mean field not counted)", zorder=1)
        least = min(x for x in (iid, own, chosen) if x > 0)
        most = max(row.variance.value for row in study.gradients)
        axes.set_ylim(bottom=least * (least / most) ** 0.2)  # room for the words
        ratio = study.row("iid", equal, "mean").ratio
        _title(axes, study, f"in equal time {_short(ratio.value)} × RSPG's" if ratio else "")
        axes.set_xlabel(f"agents on each of {study.num_paths} noise paths")
    title = "Sampling agents adds variance to a policy gradient that integrating over their states does not have"
    _finish(figure, panels, title, "variance / |mean gradient|²")
    return figure


def draw_returns(studies: Sequence[VarianceStudy]) -> Figure:
    """The figure of variances of mean returns: lines by the operators, points from agents, dotted their limits."""
    figure, panels = _panels(studies)
    agents = np.geomspace(1, 1e5, 60)
    for study, axes in zip(studies, panels, strict=False):
        spread = study.returns
        sizes = sorted({point.num_paths for point in spread.points})
        for paths, colour in zip(sizes, COLOURS, strict=False):
            axes.plot(agents, [spread.variance(paths, n) for n in agents], color=colour, linewidth=1.2)
            axes.axhline(spread.common / paths, color=colour, linestyle=":", linewidth=1.2)
            points = [point for point in spread.points if point.num_paths == paths]
            words = f"{paths} noise path{'s' * (paths > 1)}"
            _bars(axes, [p.num_agents for p in points], [p.variance for p in points], colour, words, "")
        share = spread.common / (spread.common + spread.idiosyncratic)
        _title(axes, study, f"common noise: {100 * share:.2g} % of one agent's")
        axes.set_xlabel("agents on each noise path")
        least = min(point.variance.value for point in spread.points)
        axes.set_ylim(bottom=0.3 * max(spread.common / max(sizes), 1e-2 * least))
    title = "More agents bring a mean return to the common noise's part (dotted) and no further; lines: exact"
    _finish(figure, panels, title, "variance of the mean return")
    return figure


def _panels(studies: Sequence[VarianceStudy]) -> tuple[Figure, list[Axes]]:
    columns = min(_COLUMNS, len(studies))
    rows = -(-len(studies) // columns)
    figure = Figure(figsize=(max(3.1 * columns, 8.4), 2.9 * rows + 1.0), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for empty in panels[len(studies) :]:
        empty.set_visible(False)
    return figure, panels


def _bars(
    axes: Axes, agents: Sequence[int], estimates: Sequence[Interval], colour: str, words: str, linestyle: str
) -> None:
    """Draw estimates with their intervals."""
    value, low, high = np.array(estimates).T
    look: dict[str, Any] = {"color": colour, "linestyle": linestyle, "linewidth": 1.4, "capsize": 2}
    axes.errorbar(
        agents, value, yerr=[value - np.maximum(low, 0), high - value], marker="o", markersize=4, label=words, **look
    )


def _short(ratio: float) -> str:
    """A ratio in two digits."""
    return f"{ratio:.2g}" if ratio < 100 else f"{float(f'{ratio:.2g}'):,.0f}"


def _title(axes: Axes, study: VarianceStudy, finding: str) -> None:
    axes.set_title(f"{study.label}\n{finding}", fontsize=9.5)


def _finish(figure: Figure, panels: Sequence[Axes], title: str, label: str) -> None:
    for number, axes in enumerate(panels):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_formatter(NullFormatter())
        axes.grid(color="#e3e6ea", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_ylabel("" if number % _COLUMNS else label)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    every = [axes.get_legend_handles_labels() for axes in panels]
    named = {words: handle for handles, labels in every for handle, words in zip(handles, labels, strict=True)}
    columns = min(_COLUMNS, len(panels))
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=max(2, columns), fontsize=8)
