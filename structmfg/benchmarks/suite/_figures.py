"""The figures of a run of the suite, drawn off screen."""

from collections.abc import Callable, Iterable
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from structmfg._pages import COLOURS, STYLE, Picture, picture
from structmfg.benchmarks.suite._cases import OK, Row, find

# Every form has a colour, and every way of making its kernel a line style.
_FORMS = {"structured": COLOURS[0], "successors": COLOURS[1], "bcoo": COLOURS[2], "bcsr": COLOURS[3]}
_FORMS |= {"jax_bcoo": COLOURS[4], "jax_cusparse": COLOURS[5]}
_KERNELS = {"prebuilt": "-", "rebuilt": "--"}
_LAYOUTS = {(1, "single"): "one path", (8, "vmap"): "eight paths at once", (8, "map"): "eight paths in a row"}
_WORDS = {"forward": "Aᵀ μ", "adjoint": "A v"}


def figures(result: dict[str, Any]) -> list[Picture]:
    """All figures for which there are rows."""
    rows = [row for row in result["measurements"] if row["status"] == OK]
    operators = [row for row in rows if row["kind"] == "operator" and row["direction"] != "build"]
    pictures = []
    with mpl.rc_context(STYLE):
        for (paths, batch), words in _LAYOUTS.items():
            chosen = [row for row in operators if (row["paths"], row["batch"]) == (paths, batch)]
            if chosen:
                caption = f"Seconds of one update and path against the number of states, {words}."
                figure = _by_game(chosen, lambda row: row["seconds"], "seconds per update")
                pictures.append(picture(f"time_{paths}_{batch}", caption, figure))
        alone, copy = [row for row in operators if row["paths"] == 1], find(rows, kind="copy")
        if alone and copy:
            figure = _by_game(
                alone, lambda row: 100 * row["bytes_per_second"] / copy["bytes_per_second"], "% of the copy's bandwidth"
            )
            pictures.append(picture("bandwidth", "Share of the bandwidth of a plain copy.", figure))
        if alone:
            figure = _by_game(alone, lambda row: max(row["peak_bytes"], 1) / 2**20, "peak memory (MiB)")
            pictures.append(picture("memory", "Peak memory beyond that of the idle process.", figure))
        curves = [row for row in rows if row["kind"] == "training"]
        if curves:
            caption = "Clairvoyant exploitability against seconds of training."
            pictures.append(picture("exploitability", caption, _exploitability(curves)))
    return pictures


def _unique(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def _by_game(rows: list[Row], value: Callable[[Row], float], label: str) -> Figure:
    """A figure with a column for every game, a row for every direction, and a line for every form."""
    games = _unique(row["game"] for row in rows)
    figure = Figure(figsize=(3.9 * len(games) + 0.6, 6.4), layout="constrained")
    panels = figure.subplots(2, len(games), squeeze=False, sharey=True, sharex="col")
    for j, game in enumerate(games):
        for i, (direction, words) in enumerate(_WORDS.items()):
            axes = panels[i, j]
            here = [row for row in rows if (row["game"], row["direction"]) == (game, direction)]
            for form, kernel in _unique((row["form"], row["kernel"]) for row in here):
                line = sorted(
                    (row["states"], value(row)) for row in here if (row["form"], row["kernel"]) == (form, kernel)
                )
                axes.plot(
                    *zip(*line, strict=True), color=_FORMS[form], linestyle=_KERNELS[kernel], marker="o", markersize=4,
                    label=form if kernel == "prebuilt" else f"{form}, kernel made at every step",
                )  # fmt: skip
            _log(axes)
            axes.set_title(f"{game}, {words}")
            if j == 0:
                axes.set_ylabel(label)
            axes.xaxis.set_minor_formatter(NullFormatter())
            if i == 1:
                axes.set_xlabel("states")
    _legend(figure, panels.flat)
    return figure


def _exploitability(rows: list[Row]) -> Figure:
    games = _unique(row["game"] for row in rows)
    figure = Figure(figsize=(3.9 * len(games) + 0.6, 3.9), layout="constrained")
    panels = figure.subplots(1, len(games), squeeze=False)
    presets = _unique(row["preset"] for row in rows)
    for axes, game in zip(panels.flat, games, strict=True):
        for row in (row for row in rows if row["game"] == game and row["curve"]):
            colour = COLOURS[presets.index(row["preset"])]
            axes.plot(*zip(*row["curve"], strict=True), color=colour, marker="o", markersize=4, label=row["preset"])
        _log(axes)
        axes.set_title(game)
        axes.set_xlabel("seconds of training")
    panels[0, 0].set_ylabel("clairvoyant exploitability\n(units of the return)")
    _legend(figure, panels.flat)
    return figure


def _log(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(color="#e3e6ea", linewidth=0.8)
    axes.set_axisbelow(True)


def _legend(figure: Figure, panels: Iterable[Axes]) -> None:
    entries = {}
    for axes in panels:
        entries.update(dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True)))
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=3, fontsize=9)
