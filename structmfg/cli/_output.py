"""What is printed: words for people, one JSON object for machines."""

import argparse
import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from structmfg._json import to_json


def console(arguments: argparse.Namespace) -> Console:
    """Where the words go: to standard error where standard output is for JSON, nowhere with --quiet."""
    return Console(stderr=arguments.json, quiet=arguments.quiet, highlight=False, markup=False)


def print_json(value: Any) -> None:
    """One object on the last line of standard output."""
    print(to_json(value))
    sys.stdout.flush()


def summary(result: dict[str, Any]) -> Table:
    """The exploitabilities by kind, beside what to hold them against."""
    paper, solver = result["anchors"]["paper"], result["solver"].upper()
    table = Table("exploitability", "this run", "uniform", "floor", f"paper's {solver}", box=None, padding=(0, 3, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    for kind, value in result["exploitability"].items():
        if result["exploitability_stderr"][kind] is None:  # not measured
            continue
        table.add_row(
            kind,
            Text(_number(value) + _error(result["exploitability_stderr"][kind]), style="bold"),
            _number(result["anchors"]["uniform"][kind]),
            _number(result["anchors"]["floor"].get(kind)),
            f"{_number(paper[kind])} ({paper['train_seconds']:g} s)" if paper and kind in paper else "–",
        )
    return table


def title(result: dict[str, Any]) -> str:
    """Which run this is."""
    return f"{result['game']}, {result['solver'].upper()}, seed {result['seed']}"


def basis(result: dict[str, Any]) -> str:
    """What the exploitabilities were measured on."""
    paths = result["evaluation"]["noise_paths"]
    exact = result["evaluation"]["exact"]
    return f"exact, over all {paths} noise paths" if exact else f"over {paths} held-out noise paths"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _error(stderr: float | None) -> str:
    return f" ± {stderr:.2g}" if stderr else ""
