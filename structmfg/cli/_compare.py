"""`structmfg compare`: several solvers on one clock, over seeds."""

import contextlib
import functools
import os
import sys
from pathlib import Path
from typing import Any

import jax
from rich.table import Table
from rich.text import Text

from structmfg import parallel, runs
from structmfg._checks import check_positive
from structmfg._files import output_folder
from structmfg.benchmarks import comparison
from structmfg.cli._job import prepare_worker, short_name, to_worker
from structmfg.cli._output import console, number, print_json
from structmfg.cli._progress import Display, Interrupt
from structmfg.cli.arguments import Arguments
from structmfg.cli.arguments.config import read_config
from structmfg.cli.arguments.fields import game_group, solver_class, solver_groups
from structmfg.games import Game, make
from structmfg.solvers.loop import Progress


def compare(arguments: Arguments) -> int:
    """Exit code 0, or 1 where numbers of a run did not stay finite."""
    if arguments.game is None:
        raise ValueError("compare needs a GAME (see structmfg games)")
    check_positive("max_seconds", arguments.max_seconds)
    names = [name.strip() for name in arguments.solvers.split(",") if name.strip()]
    for name in names:
        solver_class(name)
    settings = _read_settings(arguments, names)
    with jax.enable_x64(arguments.precision == "float64"):  # which a game may need
        game = make(arguments.game, **arguments.game_parameters)
    if arguments.scheduler is not None:
        parallel.check_scheduler(arguments.scheduler)
    out = console(arguments)
    display = Display(quiet=arguments.quiet, max_seconds=arguments.max_seconds)
    with (
        jax.enable_x64(arguments.precision == "float64"),
        Interrupt(at_once=arguments.scheduler is not None) as interrupt,
        parallel.open_executor(arguments.scheduler) as executor,
        _folder(arguments) as folder,
        display,
    ):

        def follow(solver: str, seed: int, progress: Progress) -> None:
            display.training(progress, f"{runs.display_name(solver)}, seed {seed}")
            interrupt.check(progress)

        def log(line: str) -> None:
            display.stage(line)
            out.print(line, soft_wrap=True)

        try:
            compared = comparison.compare(
                game,
                folder,
                solvers=names,
                seeds=arguments.seeds,
                max_seconds=arguments.max_seconds,
                log=log,
                callback=follow,
                executor=executor,
                make_game=functools.partial(_make_game, to_worker(arguments)),
                settings=settings,
            )
        except KeyboardInterrupt:
            done = len(list(folder.glob("runs/*/learning_curve.json")))
            message = f"interrupted with {done} runs done; the same command with --out {folder} goes on from there"
            raise KeyboardInterrupt(message) from None
    result = compared.result
    out.print(_table(result))
    out.print("\nclairvoyant exploitability at the end, in units of the return; ± half of the 95 % interval over seeds")
    levels = {"uniform policy": result["anchors"]["uniform"], "floor": result["anchors"]["floor"]}
    known = [f"{name} {level['clairvoyant']:.4g}" for name, level in levels.items() if level["clairvoyant"] is not None]
    if result["half_way"] is not None:
        known.append(f"half-way, on a logarithmic scale, {result['half_way']:.4g}")
    out.print("; ".join(known))
    out.print(f"report: {result['report']}", soft_wrap=True)
    if arguments.json:
        print_json(result)
    all_runs = [run for seeds in compared.runs.values() for run in seeds]
    broken = [f"{run.solver} seed {run.seed}" for run in all_runs if run.result in ("nonfinite", "invalid")]
    if broken:
        print(f"structmfg: not finite: {', '.join(broken)}", file=sys.stderr)
    return 1 if broken else 0


def _read_settings(arguments: Arguments, solvers: list[str]) -> dict[str, dict[str, Any]]:
    """The settings of solvers in the files of --config; the parameters of the game in them are taken as well.

    Raises:
        ValueError: A file is about another game or solver, or two are about one solver or disagree about the game.
    """
    settings: dict[str, dict[str, Any]] = {}
    given = dict(arguments.game_parameters)
    for path in arguments.config:
        layer = read_config(path)
        of_solver, of_game = (dict(layer.tables.get(table, {})) for table in ("solver", "game"))
        name, game = of_solver.pop("name", None), of_game.pop("name", arguments.game)
        if name not in solvers:
            raise ValueError(f"{path} has settings of {name}, which --solvers does not name")
        if name in settings:
            raise ValueError(f"--config has settings of {name} twice")
        if game != arguments.game:
            raise ValueError(f"{path} is about the game {game}, but the comparison is about {arguments.game}")
        if of_solver.pop("preset", "default") != "default":
            raise ValueError(f"{path}: compare takes settings beyond the default preset only")
        layer = layer._replace(tables={"solver": of_solver, "game": of_game})
        groups = solver_groups(name, game, "default", set())
        options = {option.name: option for group in groups for option in group.options}
        settings[name] = layer.values("solver", options, "setting of the solver")
        options = {option.name: option for option in game_group(game, "compare").options}
        for key, value in layer.values("game", options, "parameter of the game").items():
            if key not in given and arguments.game_parameters.setdefault(key, value) != value:
                raise ValueError(f"{path} has {key} {value}, but another file has {arguments.game_parameters[key]}")
    return settings


def _make_game(values: dict[str, Any]) -> Game:
    """The game of these arguments, in a worker, where its class and those of the solvers are registered."""
    arguments = prepare_worker(values)
    for name in arguments.solvers.split(","):
        solver_class(name.strip())
    return make(arguments.game, **arguments.game_parameters)


def _folder(arguments: Arguments) -> contextlib.AbstractContextManager[Path]:
    """The folder: that of a comparison to go on with, or a new one, which is removed if nothing is written into it."""
    if arguments.out is not None and os.path.lexists(Path(arguments.out, comparison.FILE)):
        return contextlib.nullcontext(Path(arguments.out))
    return output_folder(arguments.out, f"compare-{short_name(arguments.game)}")


def _table(result: dict[str, Any]) -> Table:
    reference = runs.display_name(result["reference"])
    columns = (
        "solver",
        "exploitability",
        "non-anticipative",
        f"of {reference}'s",
        "to half-way",
        f"{reference} sooner by",
    )
    table = Table(*columns, box=None, padding=(0, 3, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    for row in result["rows"]:
        half = f" ± {row['half_width']:.2g}" if len(row["by_seed"]) > 1 else ""
        seconds = row["seconds_to_half_way"]
        table.add_row(
            runs.display_name(row["solver"]),
            Text(f"{row['exploitability']:.4g}{half}", style="bold"),
            comparison.bracket(row["non_anticipative"]),
            number(row["of_reference"], digits=3),
            "never" if seconds is None else f"{seconds:.2g} s",
            comparison.speed_up(row),
        )
    return table
