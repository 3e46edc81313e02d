"""Make the runs of a sweep, one after the other or on several workers."""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from rich.console import Console

from structmfg import parallel, solvers
from structmfg._checks import check_positive, check_seed
from structmfg._files import drop_folder
from structmfg._import import fault_of_user
from structmfg._text import printable
from structmfg.cli._early import Terminated
from structmfg.cli._job import load_runs, prepare_worker, short_name, to_worker, user_functions
from structmfg.cli._output import console, print_json
from structmfg.cli._processes import start
from structmfg.cli._progress import Interrupt
from structmfg.cli._solve import check_times, exit_code, run_or_load
from structmfg.cli.arguments import Arguments
from structmfg.cli.sweeps._points import Axis, open_folder, points, read_axes
from structmfg.cli.sweeps._summary import in_short, summarise, table, write_table
from structmfg.games import make
from structmfg.runs import display_name


def sweep(arguments: Arguments) -> int:
    """Run every point of a sweep that has not ended, and write what they have in common.

    Returns:
        Exit code 0, or 1 where a run failed, or 2 where its input was bad; the other runs are made all the same.
    """
    check_times(arguments)
    if arguments.distributed:
        raise ValueError("the runs of a sweep share nothing: spread them by --scheduler, not --distributed")
    axes = read_axes(arguments)
    if arguments.scheduler is None:
        start(arguments)  # raises where there are not so many devices
    else:
        parallel.check_scheduler(arguments.scheduler)
    _check_points(arguments, axes)
    out = console(arguments)
    hint = "nothing has begun"
    try:
        with parallel.open_executor(arguments.scheduler) as executor:
            folder = open_folder(arguments, axes)
            hint = f"the same command with --out {folder} goes on from there"
            rows, failures = _run_all(arguments, axes, folder, executor)
    except Terminated:
        raise Terminated(f"terminated; {hint}") from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; {hint}") from None
    failed = {name: printable(" ".join(str(error).split()))[:1000] for name, error in failures.items()}
    result = summarise(folder, axes, rows, failed, title=_title(arguments))
    if rows:
        out.print(table(axes, rows))
    out.print(f"report: {result['report']}", soft_wrap=True)
    if arguments.json:
        print_json(result)
    for name, message in failed.items():
        print(f"structmfg: {name}: {message}; {hint}", file=sys.stderr)
    bad = [2 if isinstance(error, ValueError) else 1 for error in failures.values()]
    return max([exit_code([row["result"] for row in rows]), *bad])


def _title(arguments: Arguments) -> str:
    return f"{short_name(arguments.game)}, {display_name(short_name(arguments.solver))}"


def _check_points(arguments: Arguments, axes: Sequence[Axis]) -> None:
    """Raise `ValueError` before there is a folder where a game or a solver of the sweep cannot be made."""
    policy, functions = user_functions(arguments)
    for point in points(arguments, axes, Path()):
        chosen, game = point.arguments, make(arguments.game, **point.arguments.game_parameters)
        solvers.preset(game, chosen.solver, chosen.preset, policy=policy, **functions, **chosen.overrides)
        check_seed(chosen.seed)
        if chosen.max_seconds is not None:
            check_positive("max_seconds", chosen.max_seconds)


def _run_all(
    arguments: Arguments, axes: Sequence[Axis], folder: Path, executor: Executor | None
) -> tuple[list[dict[str, Any]], dict[str, Exception]]:
    """The rows of the runs in the order of the points, and the error of each run that failed, by its folder.

    The rows so far are in table.csv.
    """
    out = console(arguments)
    planned = list(points(arguments, axes, folder))
    rows: dict[int, dict[str, Any]] = {}
    failures: dict[int, Exception] = {}
    tasks = [(to_worker(point.arguments),) for point in planned]
    with _signals(out, executor):
        for place, outcome in parallel.outcomes(executor, _run_point, tasks):
            point = planned[place]
            name = point.folder.name
            if executor is None:
                out.print(f"run {place + 1} of {len(planned)}: {name}", soft_wrap=True)
            try:
                result = outcome()
            except Exception as error:
                if executor is None and not isinstance(error, ValueError | RuntimeError):
                    raise
                failures[place] = error
                out.print(f"{name}: failed", soft_wrap=True)
                continue
            rows[place] = {"values": point.values, "result": result, "folder": name}
            ordered = [rows[place] for place in sorted(rows)]
            write_table(folder / "table.csv", axes, ordered)
            out.print(f"{len(rows)} of {len(planned)} done: {name}: {in_short(result)}", soft_wrap=True)
    failed = {planned[place].folder.name: failures[place] for place in sorted(failures)}
    return [rows[place] for place in sorted(rows)], failed


@contextlib.contextmanager
def _signals(out: Console, executor: Executor | None) -> Iterator[None]:
    """Raise on Ctrl-C and SIGTERM while workers make the runs, and say that they need time; a run here does its own."""
    if executor is None:
        yield
        return
    try:
        with Interrupt(at_once=True):
            yield
    except KeyboardInterrupt:
        out.print("ending: the runs save what they have, which may take half a minute")
        raise


def _run_point(values: dict[str, Any]) -> dict[str, Any]:
    """Make one run of a sweep, or go on with it, or read it where it has ended: what its result.json holds.

    Raises:
        ValueError: The input was bad.
        RuntimeError: Something else went wrong.
        KeyboardInterrupt: It was interrupted.
    """
    arguments = prepare_worker(values)
    folder = Path(arguments.out)
    begun = (folder / "settings.json").is_file()
    if folder.is_dir() and not begun:  # a process was killed that had just made it
        drop_folder(folder)
    arguments.resume = str(folder) if begun else None
    arguments.mesh = start(arguments)
    try:
        _, (result,), _ = run_or_load(arguments, load_runs(folder) if begun else None)
    except (ValueError, RuntimeError) as error:
        kind = ValueError if isinstance(error, ValueError) else RuntimeError  # not all are made of one text
        raise kind(fault_of_user(error) or str(error)) from error
    except Exception as error:
        if (fault := fault_of_user(error)) is None or os.environ.get("STRUCTMFG_TRACEBACK"):
            raise
        raise ValueError(fault) from error
    if result["result"] == "interrupted":
        raise KeyboardInterrupt
    return result
