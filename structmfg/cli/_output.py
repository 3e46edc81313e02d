"""Print tables and messages for people, and one JSON object for machines."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from structmfg._files import to_json
from structmfg._statistics import mean_and_half_width
from structmfg._text import display_name, printable
from structmfg.cli.arguments import Arguments

_WIDTH = 120  # where no terminal says how much room there is


def console(arguments: Arguments) -> Console:
    """The console for people: standard error where standard output is for JSON, nowhere with --quiet."""
    out = Console(stderr=arguments.json, quiet=arguments.quiet, highlight=False, markup=False)
    if not out.is_terminal:
        out.width = _WIDTH
    return out


def print_json(value: Any) -> None:
    """Print one object on the last line of standard output."""
    print(to_json(value))
    sys.stdout.flush()


def summary(result: dict[str, Any]) -> Table:
    """A table of the exploitability by kind, with the values to compare it with."""
    paper, floors, errors = result["anchors"]["paper"], result["anchors"]["floor"], result["exploitability_stderr"]
    columns = ["exploitability", "this run", "uniform", "floor", "excess"]
    if paper:
        columns.append(f"paper's {display_name(result['solver'])}")
    table = table_of_numbers(*columns)
    for kind, value in result["exploitability"].items():
        if kind == "non_anticipative" and "bounds" in result:
            bracket = bracket_text(result["bounds"])
            unknown = ["–"] * (len(columns) - 5)
            uniform = number(result["anchors"]["uniform"][kind])
            table.add_row(kind, Text(bracket, style="bold"), uniform, number(0.0), bracket, *unknown)
            continue
        if errors[kind] is None:  # not measured
            continue
        excess = None if floors[kind] is None else value - floors[kind]
        row: list[str | Text] = [
            Text(number(value) + plus_minus(errors[kind]), style="bold"),
            number(result["anchors"]["uniform"][kind]),
            number(floors[kind]),
            number(excess),
        ]
        if paper:
            row.append(f"{number(paper[kind])} ({paper['train_seconds']:g} s)" if kind in paper else "–")
        table.add_row(kind, *row)
    table.columns[0].justify = "left"
    return table


def populations_table(result: dict[str, Any]) -> Table:
    """A table of what an agent of each of several populations gains, by kind."""
    kinds = [kind for kind, error in result["exploitability_stderr"].items() if error is not None]
    table = table_of_numbers("population", "mass", "return", *kinds)
    for name, each in result["populations"].items():
        gains = [number(each["exploitability"].get(kind)) for kind in kinds]
        errors = [plus_minus(each["exploitability_stderr"].get(kind)) for kind in kinds]
        cells = [gain + error for gain, error in zip(gains, errors, strict=True)]
        table.add_row(Text(printable(name)), number(each["mass"]), number(each["return"]), *cells)
    table.columns[0].justify = "left"
    return table


def seeds_object(results: Sequence[dict[str, Any]], *, out: str) -> dict[str, Any]:
    """The results of several seeds, and by kind the mean exploitability with half of its 95 % interval over seeds."""
    measured = {kind for result in results for kind, value in result["exploitability"].items() if value is not None}
    means = {}
    for kind in sorted(measured):
        mean, half = mean_and_half_width(np.array([result["exploitability"][kind] for result in results], float))
        means[kind] = {"mean": float(mean), "half_width": float(half)}
    return {"seeds": [result["seed"] for result in results], "over_seeds": means, "results": list(results), "out": out}


def seeds_table(results: Sequence[dict[str, Any]]) -> Table:
    """A table of the exploitability by seed, with the means in the last row."""
    means = seeds_object(results, out="")["over_seeds"]
    table = table_of_numbers("seed", "return", *means)
    for result in results:
        values = [number(result["exploitability"][kind]) for kind in means]
        table.add_row(str(result["seed"]), number(result["return"]), *values)
    cells = [Text(number(mean["mean"]) + plus_minus(mean["half_width"]), style="bold") for mean in means.values()]
    table.add_row("mean", "", *cells)
    return table


def table_of_numbers(*columns: str) -> Table:
    """An empty table without borders, with columns of these headings for numbers."""
    table = Table(*columns, box=None, padding=(0, 3, 0, 0))
    for column in table.columns:
        column.justify = "right"
    return table


def title(result: dict[str, Any]) -> str:
    """Game, solver and seed of a run."""
    return f"{result['game']}, {display_name(result['solver'])}, seed {result['seed']}"


def basis(result: dict[str, Any]) -> str:
    """What the exploitability was measured on, and what the floor is."""
    anchors = result["anchors"]
    missing = anchors.get("missing") or {}
    floor = ""
    if anchors["floor"]["clairvoyant"] is not None:
        floor = f"; floor: the exact equilibrium with {anchors['floor_information']} information"
    elif "floor" in missing:
        floor = f"; the floor is not known: {printable(str(missing['floor']))}"
    paths = result["evaluation"]["noise_paths"]
    exact = result["evaluation"]["exact"]
    text = (f"exact, over all {paths} noise paths" if exact else f"over {paths} held-out noise paths") + floor
    if bounds := result.get("bounds"):
        low, high = bounds["interval"]
        text += (
            f"; non_anticipative: between a lower and an upper bound, with their errors from {low:.4g} to {high:.4g}"
            f"{_public_text(bounds)}; foresight is worth at least "
            f"{number(bounds['foresight'])}{plus_minus(bounds['foresight_stderr'])}"
        )
    if "no_bounds" in result:
        text += f"; non_anticipative has no bounds: {printable(result['no_bounds'])}"
    return text


def _public_text(bounds: dict[str, Any]) -> str:
    """The bounds of the public exploitability, if they are known."""
    if bounds["for_public"]:
        return ", and the same for public"
    if "public_lower" not in bounds:
        return ""
    low, high = (
        f"{number(bounds[name])}{plus_minus(bounds[f'{name}_stderr'])}" for name in ("public_lower", "public_upper")
    )
    return f"; public: from {low} to {high}"


def bracket_text(bounds: dict[str, Any]) -> str:
    """The bounds of the non-anticipative exploitability, and whether they say little."""
    text = f"{number(bounds['lower'])} to {number(bounds['upper'])}"
    return text if bounds["informative"] else f"{text}, not informative"


def number(value: float | None, *, digits: int = 4) -> str:
    """The number in so many digits, or a dash for None."""
    return "–" if value is None else f"{value:.{digits}g}"


def plus_minus(stderr: float | None) -> str:
    """The standard error as it stands after a number; nothing for none."""
    return f" ± {stderr:.2g}" if stderr and stderr > 0 else ""
