"""`structmfg verify`: check a game, one of the package's or a user's own, and write a report."""

import functools
import sys
from pathlib import Path
from typing import Any

import jax

from structmfg._checks import check_integer, check_seed, printable
from structmfg._files import output_folder
from structmfg._import import import_object
from structmfg.cli._job import short_name
from structmfg.cli._output import console, print_json
from structmfg.cli.arguments import Arguments
from structmfg.cli.arguments.fields import game_class
from structmfg.games import OPENSPIEL_PREFIX, Game, make
from structmfg.verification import Report, Stage, stage_text
from structmfg.verification import verify as verify_game
from structmfg.verification.selftest import self_test


def verify(arguments: Arguments) -> int:
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
            name = short_name(arguments.game)
            work = functools.partial(verify_game, game, num_points=arguments.points, deep=arguments.deep, fuzz=examples)
        with output_folder(arguments.out, f"verify-{name}") as folder:
            report = work(key=jax.random.key(seed), callback=print_stage)
            report.save(folder / "verify.json")
            report.save(folder / "report.html")
    return _print_report(arguments, report, folder)


def _print_report(arguments: Arguments, report: Report, folder: Path) -> int:
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
    """A game by its name, or a user's by module:Class or file.py:Class; an instance of a user's class, too."""
    if name is None:
        raise ValueError("name a game (see structmfg games), or a class of your own as module:Class or file.py:Class")
    own = ":" in name and not name.startswith(OPENSPIEL_PREFIX)
    if own and isinstance(game := import_object(name, "a game of your own"), Game):
        if parameters:
            raise ValueError(f"{name} is a game already: leave out {', '.join(parameters)}")
        return game
    game_class(name)
    return make(name, **parameters)
