"""`structmfg verify`: check a game, one of the package's or a user's own, and write a report."""

import argparse
import functools
import importlib
import os
import sys
from pathlib import Path
from typing import Any

import jax

from structmfg._checks import check_integer, check_name, check_seed, printable
from structmfg._files import output_folder
from structmfg.cli._output import console, print_json
from structmfg.games import Game, make
from structmfg.verification import Report, Stage, stage_text
from structmfg.verification import verify as verify_game
from structmfg.verification.selftest import self_test


def verify(arguments: argparse.Namespace) -> int:
    """Exit code 0, or 1 where a check failed."""
    seed, examples = check_seed(arguments.seed), check_integer("fuzz", arguments.fuzz, at_least=0)
    out = console(arguments)

    def print_stage(stage: Stage) -> None:
        out.print(stage_text(stage), soft_wrap=True)

    with jax.enable_x64(arguments.precision == "float64"):
        if arguments.self_test:
            if arguments.game is not None:
                raise ValueError(f"--self-test takes no game: its own are verified, but {arguments.game!r} was given")
            name, work = "self-test", functools.partial(self_test, deep=arguments.deep)
        else:
            game = _game(arguments.game, arguments.game_parameters)
            name = str(arguments.game).replace(":", ".")
            work = functools.partial(verify_game, game, num_points=arguments.points, deep=arguments.deep, fuzz=examples)
        with output_folder(arguments.out, f"verify-{name}") as folder:
            report = work(key=jax.random.key(seed), callback=print_stage)
            report.save(folder / "verify.json")
            report.save(folder / "report.html")
    return _print_report(arguments, report, folder)


def _print_report(arguments: argparse.Namespace, report: Report, folder: Path) -> int:
    out = console(arguments)
    out.print(f"\n{printable(report.game)}: {report.summary} in {report.seconds:.0f} s", soft_wrap=True)
    for line in report.basis:
        out.print(printable(line))
    out.print(f"report: {folder / 'report.html'}", soft_wrap=True)
    if arguments.json:
        print_json({**report.as_object(), "out": str(folder), "report": str(folder / "report.html")})
    if report.passed:
        return 0
    failed = [result.name for result in report.results if not result.passed]
    names = printable(", ".join(failed))
    print(f"structmfg: {len(failed)} of {len(report.results)} checks failed: {names}", file=sys.stderr)
    return 1


def _game(name: str | None, parameters: dict[str, Any]) -> Game:
    """A game by its name, or a user's by module:Class, with parameters if that is a dataclass."""
    if name is None:
        raise ValueError("name a game (see structmfg games), or a class of your own as module:Class")
    if ":" not in name:
        return make(name, **parameters)
    game = _imported(name)
    if isinstance(game, type) and issubclass(game, Game):
        for parameter in parameters:
            check_name(f"parameter of {name}", parameter, getattr(game, "__dataclass_fields__", ()))
        try:
            game = game(**parameters)
        except Exception as error:  # whatever a user's class raises
            raise ValueError(f"{name} cannot be made: {type(error).__name__}: {error}") from error
    if not isinstance(game, Game):
        raise ValueError(f"{name} must be a subclass of structmfg.Game, or an instance, but is {game!r}")
    return game


def _imported(name: str) -> Any:
    """The attribute that module:attribute names; modules in the working folder are found as well."""
    module_name, _, attribute = name.partition(":")
    if not (module_name and attribute):
        raise ValueError(f"a game of your own is named module:Class, but was given as {name!r}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever a user's module raises
        raise ValueError(f"cannot import {module_name!r}: {type(error).__name__}: {error}") from error
    if not hasattr(module, attribute):
        raise ValueError(f"module {module_name!r} has no {attribute!r}")
    return getattr(module, attribute)
