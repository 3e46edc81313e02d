"""What is printed: words for people, one JSON object for machines."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from structmfg._files import to_json
from structmfg.benchmarks.comparison import mean_and_half_width
from structmfg.runs import display_name
from structmfg.solvers.n_players import PlayersEvaluation

_WIDTH = 120  # where no terminal says how much room there is


def console(arguments: argparse.Namespace) -> Console:
    """Where the words go: to standard error where standard output is for JSON, nowhere with --quiet."""
    out = Console(stderr=arguments.json, quiet=arguments.quiet, highlight=False, markup=False)
    if not out.is_terminal:
        out.width = _WIDTH
    return out


def print_json(value: Any) -> None:
    """One object on the last line of standard output."""
    print(to_json(value))
    sys.stdout.flush()


def summary(result: dict[str, Any]) -> Table:
    """The exploitabilities by kind, beside what to hold them against."""
    paper, anchors = result["anchors"]["paper"], result["anchors"]
    columns = ["exploitability", "this run", "uniform", "floor", "excess"]
    if paper:
        columns.append(f"paper's {display_name(result['solver'])}")
    table = Table(*columns, box=None, padding=(0, 3, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    for kind, value in result["exploitability"].items():
        if result["exploitability_stderr"][kind] is None:  # not measured
            continue
        floor = anchors["floor"][kind]
        row: list[str | Text] = [
            Text(_number(value) + _error(result["exploitability_stderr"][kind]), style="bold"),
            _number(anchors["uniform"][kind]),
            _number(floor),
            _number(None if floor is None else value - floor),
        ]
        if paper:
            row.append(f"{_number(paper[kind])} ({paper['train_seconds']:g} s)" if kind in paper else "–")
        table.add_row(kind, *row)
    return table


def seeds_object(results: Sequence[dict[str, Any]], *, out: str) -> dict[str, Any]:
    """The results of several seeds, and by kind the mean exploitability with half of its 95 % interval over seeds."""
    measured = {kind for result in results for kind, value in result["exploitability"].items() if value is not None}
    over = {}
    for kind in sorted(measured):
        mean, half = mean_and_half_width(np.array([result["exploitability"][kind] for result in results], float))
        over[kind] = {"mean": float(mean), "half_width": float(half)}
    return {"seeds": [result["seed"] for result in results], "over_seeds": over, "results": list(results), "out": out}


def seeds_table(results: Sequence[dict[str, Any]]) -> Table:
    """The exploitabilities by seed, and their means."""
    over = seeds_object(results, out="")["over_seeds"]
    table = Table("seed", "return", *over, box=None, padding=(0, 3, 0, 0))
    for column in table.columns:
        column.justify = "right"
    for result in results:
        table.add_row(
            str(result["seed"]), _number(result["return"]), *(_number(result["exploitability"][kind]) for kind in over)
        )
    table.add_row(
        "mean", "", *(Text(_number(one["mean"]) + _error(one["half_width"]), style="bold") for one in over.values())
    )
    return table


def players_table(found: Sequence[PlayersEvaluation]) -> Table:
    """The policy in games of N players, and in the mean field."""
    columns = ["players", "return", "mean field", "deviator's gain", "mean field", "games"]
    table = Table(*columns, box=None, padding=(0, 3, 0, 0))
    for column in table.columns:
        column.justify, column.no_wrap = "right", True
    for one in found:
        table.add_row(
            str(one.num_players),
            _number(one.mean_return.value) + _error(one.mean_return.stderr),
            _number(one.mean_field_return),
            Text(_number(one.gain.value) + _error(one.gain.stderr), style="bold"),
            _number(one.mean_field_gain),
            str(one.num_games) if one.num_games else "exact",
        )
    return table


def title(result: dict[str, Any]) -> str:
    """Which run this is."""
    return f"{result['game']}, {display_name(result['solver'])}, seed {result['seed']}"


def basis(result: dict[str, Any]) -> str:
    """What the exploitabilities were measured on, and what the floor is."""
    floor = f"; floor: the exact equilibrium with {result['anchors']['floor_information']} information"
    floor = floor if result["anchors"]["floor"]["clairvoyant"] is not None else ""
    paths = result["evaluation"]["noise_paths"]
    exact = result["evaluation"]["exact"]
    return (f"exact, over all {paths} noise paths" if exact else f"over {paths} held-out noise paths") + floor


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _error(stderr: float | None) -> str:
    return f" ± {stderr:.2g}" if stderr and stderr > 0 else ""
