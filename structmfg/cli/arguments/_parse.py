"""Parse the arguments: options win over `--set`, which wins over the file of `--config`, which wins over defaults.

The options of a command depend on its game and its solver, so these are looked for first.
"""

import importlib.metadata
import json
import math
import platform
import re
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

from structmfg._text import check_name
from structmfg._version import __version__
from structmfg.cli._early import GAME_NAMES
from structmfg.cli.arguments._app import OptionGroup, UnknownOption, build_app, split
from structmfg.cli.arguments._options import COMMANDS, OPTIONS, OUTPUT, PRECISIONS, Option, read_value

if TYPE_CHECKING:
    from structmfg.cli.arguments.config import Layer

_OF_A_GAME = ("solve", "compare", "tune", "verify", "plan")
# Where the options of a solve stand in a configuration file; the others are in [run] by their names.
_PLACES = {"game": ("game", "name"), "solver": ("solver", "name")}
_PLACES |= {name: ("solver", name) for name in ("preset", "policy", "optimiser")}
_ONLY_TYPED = ("config", "set", "sweep", "scheduler", "out", "resume", "json", "quiet", "devices", "distributed")
_WITH_RESUME = ["game", "solver", "policy", "optimiser", "resume", "json", "quiet", "max_seconds", "snapshot_seconds"]
_WITH_RESUME += ["devices", "distributed"]


class Arguments(SimpleNamespace):
    """The arguments: every option of the command by its name, and these.

    Attributes:
        command: The command.
        game_parameters: The parameters of the game or of the economy that were given.
        overrides: The settings of the solver that were given.
        given: The names of the other options that were given.
        fields: The parameters and settings that could be given, by table, for `--sweep`.
    """

    def __getattr__(self, name: str) -> Any:  # for type checkers: what there is depends on the command
        raise AttributeError(name)


def parse(argv: Sequence[str]) -> Arguments:
    """The arguments.

    Raises:
        ValueError: An argument is unknown, or its value cannot be read.
        SystemExit: --help or --version was given, and has been answered.
    """
    if sorted(argv) == ["--json", "--version"]:
        print(json.dumps(_versions()))
        raise SystemExit(0)
    if not argv:
        raise ValueError(f"name a COMMAND: {', '.join(COMMANDS)} (see structmfg --help)")
    if not argv[0].startswith("-"):
        check_name("command", argv[0], COMMANDS)
    argv, layers, groups, solver = _look_ahead(_arguments_first([_with_hyphens(word) for word in argv]))
    asks = {"--help", "-h"} & set(argv)
    app = build_app(groups, shown=groups if asks else ())
    try:
        words = split(app, argv)
    except UnknownOption as error:
        _refuse(error, argv, groups)
    if words is None:
        raise SystemExit(0)
    command, given = words
    return _arguments(command, given, layers, groups.get(command, []), solver)


def _versions() -> dict[str, str]:
    """The versions that a report of an error should state."""
    versions = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "numpy")}
    return (
        {"structmfg": __version__} | versions | {"python": platform.python_version(), "platform": platform.platform()}
    )


def _with_hyphens(argument: str) -> str:
    """The argument with hyphens in its name: --num_states=9 becomes --num-states=9."""
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else argument


# What is looked for first.


def _arguments_first(argv: list[str]) -> list[str]:
    """The words with those in front that stand behind an option of several values, but do not look like one of them.

    So `report --game mine.py:Game runs/a runs/b` has two runs, and `solve --set seed=1 macro` is about macro.
    """
    options = {option.typed: option for option in OPTIONS.get(argv[0], ()) if option.looks}
    front = next((place for place, word in enumerate(argv[1:], 1) if word.startswith("-")), len(argv))
    arguments, others = argv[:front], []
    option, values = None, 0
    for word in argv[front:]:
        if word.startswith("-"):
            name, equals, _ = word.partition("=")
            option, values = options.get(name), len(equals)
        elif option is not None and values and not re.fullmatch(option.looks, word, re.DOTALL):
            arguments.append(word)
            continue
        else:
            values += 1
        others.append(word)
    return [*arguments, *others]


def _look_ahead(argv: list[str]) -> tuple[list[str], "list[Layer]", dict[str, list[OptionGroup]], str | None]:
    """The arguments with the game in front, the settings from elsewhere, the options of this game and solver, its name.

    The name of the solver is None where no game is named, or the command takes no solver.
    """
    command = argv[0]
    if command not in (*_OF_A_GAME, "economy"):
        return argv, [], {}, None
    place = _place_of_game(argv, command)
    if place is not None:
        argv = [command, argv[place], *argv[1:place], *argv[place + 1 :]]
    layers: list[Layer] = []
    if command == "solve":
        from structmfg.cli.arguments.config import read_assignments, read_config

        if (path := _last_value(argv, "--config")) is not None:
            layers.append(read_config(path))
        layers.append(read_assignments(_all_values(argv, "--set"), "--set"))
    named = {option: _named(layers, *_PLACES[option]) for option in ("game", "solver", "preset")}
    game = argv[1] if place is not None else named["game"]
    if game is None:
        return argv, layers, {}, None
    # Imported here, as they take a second: the help of a command without a game should not wait for them.
    from structmfg.cli.arguments import fields

    of_game = fields.economy_group(game) if command == "economy" else fields.game_group(game, command)
    groups, solver = [of_game], None
    if command in ("solve", "plan", "tune"):
        solver = _last_value(argv, "--solver") or named["solver"]
        if solver is None:
            horizon = _last_value(argv, "--horizon") or _named(layers, "game", "horizon")
            solver = "rspg" if command == "plan" else fields.default_solver(game, horizon)
        preset = _last_value(argv, "--preset") or named["preset"] or "default"
        taken = {option.name for option in of_game.options}
        groups += fields.solver_groups(solver, game, preset, taken)
    return argv, layers, {command: groups}, solver


def _place_of_game(argv: Sequence[str], command: str) -> int | None:
    """Where the game stands among the arguments: in front, or else a name that no option takes for its value."""
    if len(argv) > 1 and not argv[1].startswith("-"):
        return 1
    standard = {option.typed: option for option in [*OPTIONS[command], *OUTPUT]}
    values_left = 0.0  # how many of the next words are values of the option before them
    for place, word in enumerate(argv[1:], start=1):
        if word.startswith("-"):
            option = standard.get(word)
            if option is not None and option.several:
                values_left = math.inf
            else:
                values_left = 0 if "=" in word or (option and option.kind is bool) else 1
        elif values_left == math.inf:
            continue
        elif values_left and (argv[place - 1] in standard or not (word in GAME_NAMES or ":" in word)):
            values_left -= 1
        else:
            return place
    return None


def _last_value(argv: Sequence[str], option: str) -> str | None:
    """The last value given for an option."""
    values = _all_values(argv, option)
    return values[-1] if values else None


def _all_values(argv: Sequence[str], option: str) -> list[str]:
    """The values given for an option, which may take several."""
    values, taking = [], False
    for word in argv:
        name, equals, value = word.partition("=")
        if word.startswith("--"):
            taking = name == option
            values += [value] if taking and equals else []
        elif taking:
            values.append(word)
    return values


def _named(layers: "Sequence[Layer]", table: str, key: str) -> str | None:
    """What the last of the layers that has it says at this place, for instance of the name of the game."""
    found = [layer.tables[table][key] for layer in layers if key in layer.tables.get(table, {})]
    return str(found[-1]) if found else None


# What was given.


def _arguments(
    command: str,
    given: Sequence[tuple[Option, Any]],
    layers: "Sequence[Layer]",
    groups: Sequence[OptionGroup],
    solver: str | None,
) -> Arguments:
    """The arguments of a command, from all their origins, with this solver where they name none."""
    own = [option for group in groups for option in group.options]
    fields = {table: {option.name: option for option in own if option.section == table} for table in ("game", "solver")}
    standard = {option.name: option for option in [*OPTIONS[command], *OUTPUT]}
    values = {name: option.default for name, option in standard.items()}
    parameters: dict[str, dict[str, Any]] = {"game": {}, "solver": {}}
    typed: dict[str, Any] = {}
    for layer in layers:
        _take(layer, standard, fields, values, parameters, typed)
    for option, text in given:
        value = _read(option, text)
        if option in own:
            parameters[option.section][option.name] = value
        else:
            values[option.name] = typed[option.name] = value
    if values.get("solver", "") is None:
        values["solver"] = solver
    if "precision" in values:
        check_name("precision", values["precision"], PRECISIONS)
    arguments = Arguments(
        command=command, early=None, fields=fields, given=set(typed),
        game_parameters=parameters["game"], overrides=parameters["solver"], **values,
    )  # fmt: skip
    if command == "solve":
        _check_solve(arguments)
    return arguments


def _take(
    layer: "Layer",
    standard: Mapping[str, Option],
    fields: Mapping[str, Mapping[str, Option]],
    values: dict[str, Any],
    parameters: dict[str, dict[str, Any]],
    typed: dict[str, Any],
) -> None:
    """Add the settings of a layer to those of the layers before it."""
    for table in ("run", "game", "solver"):
        of_run = {
            _PLACES.get(name, ("run", name))[1]: option
            for name, option in standard.items()
            if _PLACES.get(name, ("run", name))[0] == table and name not in _ONLY_TYPED
        }
        if table == "run":
            layer.check_places(of_run, fields)
        what = {"run": "key of [run]", "game": "parameter of the game", "solver": "setting of the solver"}[table]
        for key, value in layer.values(table, {**fields.get(table, {}), **of_run}, what).items():
            if key in of_run:
                values[of_run[key].name] = typed[of_run[key].name] = value
            else:
                parameters[table][key] = value


def _read(option: Option, text: Any) -> Any:
    """The value of an option from the texts that were typed."""
    if option.kind is bool or isinstance(text, bool):
        return text
    if isinstance(text, list | tuple):
        kind = option.kind.__args__[0]
        return [read_value(option.typed, kind, item) for item in text]
    return read_value(option.typed, option.kind, text)


def _check_solve(arguments: Arguments) -> None:
    """Raise `ValueError` on neither a game nor --resume, and on --resume together with settings of the run."""
    if arguments.resume is None:
        if arguments.game is None:
            raise ValueError("solve needs a GAME, or --resume RUN (see structmfg solve --help)")
        return
    given = [name for name in ("game", "solver") if name in arguments.given and ":" not in getattr(arguments, name)]
    given += sorted({*arguments.given, *arguments.game_parameters, *arguments.overrides} - set(_WITH_RESUME))
    if "config" in given:  # what it holds was not typed
        given = ["config"]
    if given:
        options = ", ".join("GAME" if name == "game" else f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(f"--resume goes on with the settings of the run: leave out {options}")


def _refuse(error: UnknownOption, argv: Sequence[str], groups: Mapping[str, Any]) -> NoReturn:
    """Say which game or solver an option belongs to, if not to those that were named."""
    if argv[0] in groups:
        from structmfg.cli.arguments.fields import has_setting

        if owners := has_setting(error.option):
            some = ", ".join(owners[:4]) + (", ..." if len(owners) > 4 else "")
            raise ValueError(f"unknown option {error.option}: it belongs to {some}") from None
    raise ValueError(f"{error} (see structmfg {argv[0]} --help)") from None
