"""Parse the arguments. Every parameter of a game and of a solver is an option, read off the fields that define it.

One parser serves all games, so that options may stand before and after the game's name. `games.make` checks that a
parameter belongs to the game, and names the nearest one if it does not.
"""

import argparse
import dataclasses
import difflib
import importlib.metadata
import json
import platform
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, NoReturn

from structmfg._checks import check_name
from structmfg._version import __version__
from structmfg.evaluation import Kind
from structmfg.games import GAMES
from structmfg.policies import BinnedPolicy, BinnedSettings, NetworkPolicy, NetworkSettings, ParametricPolicy
from structmfg.solvers import SOLVERS, PresetName, TrainingSolver
from structmfg.solvers.n_players import Deviator

_COMMANDS = {
    "games": "list the games with their sizes, parameters and defaults",
    "solve": "solve a game by training or exactly, and save the policy with a report",
    "evaluate": "measure the policy of a run again",
    "compare": "train several solvers on one clock, over seeds, with a figure and a table",
    "verify": "check a game against its laws, Monte Carlo populations and more, with a report",
    "bench": "time operators, training and other libraries, with a report",
}

_WITH_RESUME = ("command", "resume", "game_parameters", "overrides", "json", "quiet", "max_seconds", "snapshot_seconds")


_PRECISIONS = ("float32", "float64")


class _Field(NamedTuple):
    name: str
    kind: Any
    note: str


class _Parser(argparse.ArgumentParser):
    """A parser that raises `ValueError` where others exit."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see {self.prog} --help)")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments; `game_parameters` and `overrides` hold those that were given.

    Raises:
        ValueError: An argument is unknown, or its value cannot be read.
        SystemExit: --help or --version was given, and has been answered.
    """
    if sorted(argv) == ["--json", "--version"]:
        print(json.dumps(_versions()))
        raise SystemExit(0)
    if argv and not argv[0].startswith("-"):
        check_name("command", argv[0], _COMMANDS)
    parser, commands = build_parser()
    arguments, rest = parser.parse_known_args([_with_hyphens(argument) for argument in argv])
    if rest:
        _reject(rest, commands[arguments.command]._option_string_actions)
    if arguments.command in ("solve", "compare", "verify"):
        check_name("precision", arguments.precision, _PRECISIONS)
        arguments.game_parameters = _given(arguments, game_fields())
    if arguments.command == "solve":
        arguments.overrides = _given(arguments, [*solver_fields(), *network_fields(), *table_fields()])
        _check_resume(arguments, commands["solve"])
    return arguments


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


def _reject(rest: Sequence[str], options: Iterable[str]) -> NoReturn:
    unknown = next((argument.partition("=")[0] for argument in rest if argument.startswith("-")), None)
    if unknown is None:
        raise ValueError(f"unexpected argument {rest[0]!r}")
    near = difflib.get_close_matches(unknown, list(options), n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "see --help"
    raise ValueError(f"unknown option {unknown!r}; {hint}")


def _given(arguments: argparse.Namespace, fields: Iterable[_Field]) -> dict[str, Any]:
    values = {field.name: getattr(arguments, field.name) for field in fields}
    return {name: value for name, value in values.items() if value is not None}


def _check_resume(arguments: argparse.Namespace, parser: _Parser) -> None:
    """Raise `ValueError` on neither a game nor --resume, and on --resume together with settings of the run."""
    if arguments.resume is None:
        if arguments.game is None:
            raise ValueError("solve needs a GAME, or --resume RUN (see structmfg solve --help)")
        return
    given = [
        name
        for name, value in vars(arguments).items()
        if name not in _WITH_RESUME and value not in (None, parser.get_default(name))
    ]
    if given:
        options = ", ".join("GAME" if name == "game" else f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(f"--resume goes on with the settings of the run: leave out {options}")


def whole_number(text: str) -> int:
    """An int from the command line."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, but is {text!r}") from None


def number(text: str) -> float:
    """A float from the command line."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, but is {text!r}") from None


# Fields of games, solvers, networks and tables.


def game_fields() -> list[_Field]:
    """The parameters of all games by name, with the default in each game that has it."""
    return _merged_fields(GAMES, lambda game, field: f"{game} {field.default}")


def solver_fields() -> list[_Field]:
    """The hyper-parameters of all solvers by name, with the solvers that have each."""
    return [field for field in _merged_fields(SOLVERS, lambda solver, _: solver) if field.name != "policy"]


def _merged_fields(kinds: Mapping[str, type[Any]], note: Callable[[str, dataclasses.Field[Any]], str]) -> list[_Field]:
    """The fields of several dataclasses, those of the same name as one, with the notes of all."""
    fields: dict[str, _Field] = {}
    for name, kind in kinds.items():
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            notes = [fields[field.name].note] if field.name in fields else []
            fields[field.name] = _Field(field.name, hints[field.name], ", ".join([*notes, note(name, field)]))
    return list(fields.values())


def network_fields() -> list[_Field]:
    """The settings of a network, but whether it is recurrent: that follows from the solver."""
    hints = typing.get_type_hints(NetworkSettings)
    return [_Field(name, hints[name], "") for name in NetworkSettings._fields if name != "recurrent"]


def table_fields() -> list[_Field]:
    """The settings of a table; each is one number for all observations."""
    hints = typing.get_type_hints(BinnedSettings)
    return [_Field(name, hints[name], "") for name in BinnedSettings._fields if name not in NetworkSettings._fields]


def _trainers(policy: type[ParametricPolicy]) -> str:
    """The solvers that train such a policy."""
    kinds = {name: kind for name, kind in SOLVERS.items() if issubclass(kind, TrainingSolver)}
    return ", ".join(name for name, kind in kinds.items() if issubclass(kind.trains, policy))


def _reader(kind: Any) -> tuple[Callable[[str], Any], str]:
    """How to read a value of this type, and its name in the help. The library checks names, as it knows the nearest."""
    members = [kind] if typing.get_origin(kind) is Literal else typing.get_args(kind) or [kind]  # X | None is read as X
    if int in members:
        return whole_number, "N"
    if float in members:
        return number, "X"
    names = [name for member in members for name in typing.get_args(member)]
    return str, f"{{{','.join(names)}}}"


# The parser.


def build_parser() -> tuple[_Parser, dict[str, _Parser]]:
    """The parser, and the parsers of its commands by name."""
    parser = _Parser(prog="structmfg", description="Solve mean field games with common noise.", allow_abbrev=False)
    version = f"structmfg {__version__}"
    explained = "print the version and exit; with --json, those of Python, JAX and NumPy, too"
    parser.add_argument("--version", action="version", version=version, help=explained)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parsers = {
        name: commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False)
        for name, text in _COMMANDS.items()
    }
    _solve_arguments(parsers["solve"])
    _evaluate_arguments(parsers["evaluate"])
    _compare_arguments(parsers["compare"])
    _verify_arguments(parsers["verify"])
    _bench_arguments(parsers["bench"])
    for command in parsers.values():
        output = command.add_argument_group("output")
        output.add_argument("--json", action="store_true", help="one JSON object on the last line; the rest to stderr")
        output.add_argument("--quiet", action="store_true", help="print nothing else")
    return parser, parsers


def _solve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("game", metavar="GAME", nargs="?", help=", ".join(GAMES))
    run = parser.add_argument_group("run")
    resumed = "instead of GAME: go on with a run that was cut short, to the numbers it would have reached"
    run.add_argument("--resume", metavar="RUN", help=resumed)
    often = "between two snapshots of the state, from which --resume goes on (default: 60)"
    run.add_argument("--snapshot-seconds", type=number, default=60.0, metavar="X", help=often)
    run.add_argument("--solver", default="rspg", metavar=f"{{{','.join(SOLVERS)}}}", help="default: rspg")
    presets = ",".join(typing.get_args(PresetName))
    suits = "settings that suit the game, or the paper's"
    run.add_argument("--preset", default="default", metavar=f"{{{presets}}}", help=suits)
    run.add_argument("--iterations", type=whole_number, metavar="N", help="updates (default: the preset's)")
    limit = "stop the training there, wherever its schedules are; to plan for less, use --iterations"
    run.add_argument("--max-seconds", type=number, metavar="X", help=limit)
    run.add_argument("--seed", type=whole_number, default=0, metavar="N", help="default: 0")
    several = "train K seeds, from --seed on, side by side in one program; each has a run folder of its own"
    run.add_argument("--seeds", type=whole_number, metavar="K", help=several)
    _add_output(run, "runs/GAME-SOLVER-SEED")
    _add_precision(run)
    groups = [
        ("solver", "By solver. Defaults: the preset's, else the solver's own.", solver_fields()),
        ("network", f"Of {_trainers(NetworkPolicy)}. Defaults: the preset's.", network_fields()),
        ("table", f"Of {_trainers(BinnedPolicy)}. Defaults: the preset's.", table_fields()),
    ]
    for name, text, fields in groups:
        _add_fields(parser.add_argument_group(name, text), fields)
    _add_game_fields(parser)


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a folder written by solve")
    options = parser.add_argument_group("evaluation")
    kinds = ",".join(typing.get_args(Kind))
    default = "of exploitability (default: all the game's noise allows)"
    options.add_argument("--kind", metavar=f"{{{kinds}}}", help=default)
    held_out = "held-out noise paths where the noise is continuous (default: 32); all paths where it is finite"
    options.add_argument("--paths", type=whole_number, default=32, metavar="N", help=held_out)
    seed = "of the held-out paths, and of the games (default: 0)"
    options.add_argument("--seed", type=whole_number, default=0, metavar="N", help=seed)
    players = parser.add_argument_group("players", "The policy in games of finitely many players; with a figure.")
    players.add_argument("--players", nargs="+", type=whole_number, metavar="N", help="numbers of players, say 10 100")
    knows = f"what the player who deviates knows: {{{','.join(typing.get_args(Deviator))}}}"
    note = "default: non_anticipative, where the noise is continuous clairvoyant; full is exact, in tiny games only"
    players.add_argument("--deviator", metavar="KIND", help=f"{knows} ({note})")
    games = "to play for every N (default: about 2e6 agents in all, at most 1024 games)"
    players.add_argument("--games", type=whole_number, metavar="N", help=games)


def _compare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("game", metavar="GAME", help=", ".join(GAMES))
    options = parser.add_argument_group("comparison")
    default = "rspg,spg,rippo,ippo,m_omd"
    options.add_argument("--solvers", default=default, metavar="NAME,NAME", help=f"default: {default}")
    options.add_argument("--seeds", type=whole_number, default=3, metavar="N", help="0..N-1 (default: 3)")
    seconds = "of training for every solver and seed; its schedules are planned to fill them (default: 60)"
    options.add_argument("--max-seconds", type=number, default=60.0, metavar="X", help=seconds)
    _add_output(options, "runs/compare-GAME", ", or that of a comparison to go on with")
    _add_precision(options)
    _add_game_fields(parser)


def _verify_arguments(parser: argparse.ArgumentParser) -> None:
    own = "or a class of your own, module:Class, which may lie in the working folder"
    parser.add_argument("game", metavar="GAME", nargs="?", help=f"{', '.join(GAMES)}; {own}")
    options = parser.add_argument_group("verification")
    deep = "larger populations and more studies: minutes, not seconds"
    options.add_argument("--deep", action="store_true", help=deep)
    fuzz = "also check the laws at N random points, and shrink what fails to a small example (default: 0)"
    options.add_argument("--fuzz", type=whole_number, default=0, metavar="N", help=fuzz)
    self_test = "no game: put faults into games, and say which checks find them"
    options.add_argument("--self-test", action="store_true", help=self_test)
    points = "random paths along which the laws are checked (default: 3)"
    options.add_argument("--points", type=whole_number, default=3, metavar="N", help=points)
    options.add_argument("--seed", type=whole_number, default=0, metavar="N", help="of everything random (default: 0)")
    _add_output(options, "runs/verify-GAME")
    _add_precision(options)
    _add_game_fields(parser)


def _bench_arguments(parser: argparse.ArgumentParser) -> None:
    options = parser.add_argument_group("benchmarks")
    options.add_argument("--quick", action="store_true", help="a selection, in about three minutes")
    games = "beach_bar, linear_quadratic, macro (default: all three)"
    options.add_argument("--games", nargs="+", metavar="GAME", help=games)
    sizes = "numbers of states (macro: about so many; default: each game's own)"
    options.add_argument("--sizes", nargs="+", type=whole_number, metavar="N", help=sizes)
    peer = "another library to time, besides OpenSpiel and MFGLib; may be repeated (see benchmarks.Peer)"
    options.add_argument("--peer", action="append", default=[], metavar="MODULE:CLASS", help=peer)
    options.add_argument("--seed", type=whole_number, default=0, metavar="N", help="of policies, noise and training")
    _add_output(options, "runs/bench")


def _add_output(group: argparse._ArgumentGroup, default: str, more: str = "") -> None:
    group.add_argument("--out", metavar="DIR", help=f"a new or empty folder{more} (default: {default}, numbered)")


def _add_precision(group: argparse._ArgumentGroup) -> None:
    choices = f"{{{','.join(_PRECISIONS)}}}"
    group.add_argument("--precision", default=_PRECISIONS[0], metavar=choices, help=f"default: {_PRECISIONS[0]}")


def _add_game_fields(parser: argparse.ArgumentParser) -> None:
    _add_fields(parser.add_argument_group("game", "Every game has its own; here with their defaults."), game_fields())


def _add_fields(group: argparse._ArgumentGroup, fields: Iterable[_Field]) -> None:
    for field in fields:
        option, note = f"--{field.name.replace('_', '-')}", field.note or None
        if field.kind is bool:  # with --no-...
            group.add_argument(option, dest=field.name, action=argparse.BooleanOptionalAction, help=note)
            continue
        read, metavar = _reader(field.kind)
        group.add_argument(option, dest=field.name, type=read, metavar=metavar, help=note)
