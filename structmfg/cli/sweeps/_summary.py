"""What the runs of a sweep have in common: a table, a figure and a page."""

import csv
import io
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

from structmfg._files import write_bytes, write_json
from structmfg._pages import COLOURS, STYLE, Picture, page, picture
from structmfg.cli._output import number
from structmfg.cli.sweeps._points import Axis
from structmfg.runs import save_figures


def in_short(result: Mapping[str, Any]) -> str:
    """What a run reached, in a line."""
    gains = {kind: value for kind, value in result["exploitability"].items() if value is not None}
    numbers = [f"return {number(result['return'])}", *(f"{kind} {number(value)}" for kind, value in gains.items())]
    return f"{result['result']} in {result['train_seconds']:.1f} s, {', '.join(numbers)}"


def write_table(path: Path, axes: Sequence[Axis], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows so far as comma-separated values."""
    kinds = sorted({kind for row in rows for kind in row["result"]["exploitability"]})
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["folder", *(axis.name for axis in axes), "result", "return", *kinds, "train_seconds"])
    for row in rows:
        result = row["result"]
        gains = [result["exploitability"].get(kind) for kind in kinds]
        swept = [row["values"][axis.name] for axis in axes]
        writer.writerow([row["folder"], *swept, result["result"], result["return"], *gains, result["train_seconds"]])
    write_bytes(path, lines.getvalue().encode())


def summarise(
    folder: Path, axes: Sequence[Axis], rows: Sequence[dict[str, Any]], failed: Mapping[str, str], *, title: str
) -> dict[str, Any]:
    """Write result.json, the figure and report.html of a sweep; what result.json holds.

    Args:
        folder: The folder of the sweep.
        axes: What was swept.
        rows: For every run that has ended, its `values` by axis and its `result`.
        failed: The message of every run that failed, by its folder.
        title: The game and the solver.
    """
    kinds = _kinds(rows)
    result = {
        "axes": {axis.name: axis.values for axis in axes},
        "runs": [{"values": row["values"], **row["result"]} for row in rows],
        "failed": dict(failed),
        "out": str(folder),
        "report": str(folder / "report.html"),
    }
    pictures = [_draw(axes, rows, kinds, title)] if kinds else []
    save_figures(folder, pictures)
    names = [axis.name for axis in axes]
    report = page(
        "structmfg.cli", "sweep.html", pictures, title=title, names=names, kinds=kinds, rows=rows, failed=failed
    )
    write_bytes(folder / "report.html", report.encode())
    write_json(folder / "result.json", result)
    return result


def _kinds(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The kinds of exploitability that every run has."""
    measured = [{kind for kind, value in row["result"]["exploitability"].items() if value is not None} for row in rows]
    return sorted(set.intersection(*measured)) if measured else []


def table(axes: Sequence[Axis], rows: Sequence[dict[str, Any]]) -> Table:
    """A table with a row for every run."""
    kinds = _kinds(rows)
    drawn = Table(*(axis.name for axis in axes), "return", *kinds, "seconds", "result", box=None, padding=(0, 3, 0, 0))
    for column in drawn.columns[:-1]:
        column.justify = "right"
    for row in rows:
        result = row["result"]
        measured = (Text(number(result["exploitability"][kind]), style="bold") for kind in kinds)
        swept = (str(row["values"][axis.name]) for axis in axes)
        seconds = f"{result['train_seconds']:.1f}"
        drawn.add_row(*swept, number(result["return"]), *measured, seconds, result["result"])
    return drawn


def _draw(axes: Sequence[Axis], rows: Sequence[dict[str, Any]], kinds: Sequence[str], title: str) -> Picture:
    """Exploitability over the first axis but the seed, a line for each combination of the others, means over seeds."""
    first = next((axis for axis in axes if axis.name != "seed"), axes[0])
    others = [axis for axis in axes if axis is not first and axis.name != "seed"]
    numeric = all(isinstance(value, int | float) for value in first.values)
    x = np.array(first.values, float) if numeric else np.arange(len(first.values))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.6 * len(kinds), 3.4), layout="constrained")
        panels = figure.subplots(1, len(kinds), squeeze=False)[0]
        for axes_of_kind, kind in zip(panels, kinds, strict=True):
            for i, combination in enumerate(itertools.product(*(axis.values for axis in others))):
                wanted = dict(zip((axis.name for axis in others), combination, strict=True))
                samples = [_samples(rows, kind, {**wanted, first.name: value}) for value in first.values]
                means = [np.mean(sample) if sample else np.nan for sample in samples]
                label = ", ".join(f"{name}={value}" for name, value in wanted.items()) or None
                style = ("-", "--", ":", "-.")[i % 4]
                colour = COLOURS[i % len(COLOURS)]
                axes_of_kind.plot(x, means, style, marker="o", color=colour, label=label)
                for place, sample in zip(x, samples, strict=True):
                    axes_of_kind.plot([place] * len(sample), sample, "_", color=colour, alpha=0.7)
            axes_of_kind.set_title(kind)
            axes_of_kind.set_xlabel(first.name)
            axes_of_kind.grid(color="#e3e6ea", linewidth=0.8)
            if not numeric:
                axes_of_kind.set_xticks(x, [str(value) for value in first.values])
        panels[0].set_ylabel("exploitability (units of the return)")
        if others:
            panels[0].legend()
        caption = f"{title}: exploitability over {first.name}. Dots are means over seeds, dashes are single runs."
        return picture("sweep", caption, figure)


def _samples(rows: Sequence[Mapping[str, Any]], kind: str, wanted: Mapping[str, Any]) -> list[float]:
    """The exploitability of all runs with these values, whatever their seed."""
    return [
        row["result"]["exploitability"][kind]
        for row in rows
        if all(row["values"][name] == value for name, value in wanted.items())
    ]
