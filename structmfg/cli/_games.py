"""`structmfg games`: list the games."""

import argparse
import dataclasses
import inspect
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from structmfg.cli._output import console, print_json
from structmfg.games import GAMES, Game, make


def games(arguments: argparse.Namespace) -> int:
    """Print every game with its sizes, parameters and defaults."""
    described = [_describe(name, make(name)) for name in GAMES]
    for game in described:
        console(arguments).print(_table(game))
    if arguments.json:
        print_json({"games": described})
    return 0


def _describe(name: str, game: Game) -> dict[str, Any]:
    """A game with its sizes and parameters, as `--json` prints it."""
    scenarios = game.scenarios()
    return {
        "name": name,
        "description": _first_line(game),
        "num_states": game.num_states,
        "num_actions": game.num_actions,
        "horizon": game.horizon,
        "noise_paths": None if scenarios is None else scenarios.num_paths,
        "parameters": dataclasses.asdict(game),  # type: ignore[call-overload]
    }


def _first_line(game: Game) -> str:
    return inspect.cleandoc(type(game).__doc__ or "").partition("\n")[0]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _table(game: dict[str, Any]) -> Group:
    noise = "continuous noise" if game["noise_paths"] is None else _count(game["noise_paths"], "noise path")
    sizes = ", ".join(_count(game[f"num_{what}s"], what) for what in ("state", "action"))
    sizes = f"{sizes}, {_count(game['horizon'], 'step')}, {noise}"
    table = Table.grid(padding=(0, 2))
    table.add_row("", Text(game["description"]))
    table.add_row("", Text(sizes, style="dim"))
    options = (f"--{name.replace('_', '-')} {value}" for name, value in game["parameters"].items())
    table.add_row("", Text("  ".join(option.replace(" ", "\u00a0") for option in options), style="cyan"))
    return Group(Text(game["name"], style="bold"), table, Text())
