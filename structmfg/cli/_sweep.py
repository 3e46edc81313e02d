"""`structmfg solve --sweep`: a run for every combination of values, in one folder, with one table and one figure."""

import contextlib
import copy
import csv
import hashlib
import io
import itertools
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

from structmfg import parallel, solvers
from structmfg._checks import check_name, check_positive, check_seed
from structmfg._files import drop_folder, file_name, new_folder, read_json, write_bytes, write_json
from structmfg._import import fault_of_user
from structmfg._pages import COLOURS, STYLE, Picture, page, picture
from structmfg._text import printable
from structmfg.cli._early import Terminated
from structmfg.cli._job import load_runs, prepare_worker, short_name, to_worker, user_functions
from structmfg.cli._output import console, number, print_json
from structmfg.cli._progress import Interrupt
from structmfg.cli._solve import check_times, exit_code, run_or_load
from structmfg.cli.arguments import SOLVE, Arguments, Option, members, read_value
from structmfg.cli.arguments.config import read_assignments
from structmfg.games import make
from structmfg.runs import display_name, save_figures

_FILE = "sweep.json"
_MAX_RUNS = 256
_MAX_NAME = 100  # bytes of the name of a run's folder
_OF_RUN = ("seed", "iterations", "max_seconds")
_SETTINGS = ["game", "game_parameters", "solver", "preset", "overrides", "policy", "optimiser"]
_SETTINGS += ["iterations", "max_seconds", "seed", "precision"]


class Axis(NamedTuple):
    """What is swept: a key of the table "run", "game" or "solver", and its values."""

    table: str
    key: str
    values: list[Any]

    @property
    def name(self) -> str:
        """The axis as it was typed."""
        return self.key if self.table == "run" else f"{self.table}.{self.key}"


class Point(NamedTuple):
    """One run of a sweep: its value on every axis, its arguments and its folder."""

    values: dict[str, Any]
    arguments: Arguments
    folder: Path


def sweep(arguments: Arguments) -> int:
    """Run every point of a sweep that has not ended, and write what they have in common.

    Returns:
        Exit code 0, or 1 where a run failed, or 2 where its input was bad; the other runs are made all the same.
    """
    check_times(arguments)
    axes = read_axes(arguments)
    if arguments.scheduler is not None:
        parallel.check_scheduler(arguments.scheduler)
    _check_points(arguments, axes)
    out = console(arguments)
    with parallel.open_executor(arguments.scheduler) as executor:
        folder = open_folder(arguments, axes)
        hint = f"the same command with --out {folder} goes on from there"
        try:
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
    signals = contextlib.nullcontext() if executor is None else Interrupt(at_once=True)  # a run has its own
    with signals:
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
            _write_table(folder / "table.csv", axes, ordered)
            out.print(f"{len(rows)} of {len(planned)} done: {name}: {_in_short(result)}", soft_wrap=True)
    failed = {planned[place].folder.name: failures[place] for place in sorted(failures)}
    return [rows[place] for place in sorted(rows)], failed


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


def _in_short(result: Mapping[str, Any]) -> str:
    """What a run reached, in a line."""
    gains = {kind: value for kind, value in result["exploitability"].items() if value is not None}
    numbers = [f"return {number(result['return'])}", *(f"{kind} {number(value)}" for kind, value in gains.items())]
    return f"{result['result']} in {result['train_seconds']:.1f} s, {', '.join(numbers)}"


def _write_table(path: Path, axes: Sequence[Axis], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows so far as comma-separated values."""
    kinds = sorted({kind for row in rows for kind in row["result"]["exploitability"]})
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["folder", *(axis.name for axis in axes), "result", "return", *kinds, "train_seconds"])
    for row in rows:
        result = row["result"]
        gains = [result["exploitability"].get(kind) for kind in kinds]
        swept = [row["values"][axis.name] for axis in axes]
        writer.writerow([row["folder"], *swept, result["result"], result["return"], *gains, result["train_seconds"]])
    write_bytes(path, lines.getvalue().encode())


def read_axes(arguments: Arguments) -> list[Axis]:
    """The axes of `--sweep`.

    Raises:
        ValueError: A key or a value is wrong, or the combinations are more than are run.
    """
    if arguments.seeds is not None:
        raise ValueError("--sweep seed=0..4 takes the place of --seeds: leave out --seeds")
    standard = {option.name: option for option in SOLVE}
    options = {"run": {name: standard[name] for name in _OF_RUN}, **arguments.fields}
    axes = []
    layer = read_assignments(arguments.sweep, "--sweep")
    layer.check_places(options["run"], arguments.fields)
    for table, keys in layer.tables.items():
        for key, text in keys.items():
            check_name(f"key of [{table}]", key, options[table])
            fixed = {"run": arguments.given, "game": arguments.game_parameters, "solver": arguments.overrides}
            if key in fixed[table]:
                raise ValueError(f"{key} is swept, and given as well: leave out one of the two")
            axes.append(Axis(table, key, _values(options[table][key], text)))
    count = math.prod(len(axis.values) for axis in axes)
    if count > _MAX_RUNS:
        raise ValueError(f"--sweep asks for {count} runs, of at most {_MAX_RUNS}")
    return axes


def _values(option: Option, text: str) -> list[Any]:
    """The values of an axis: a list such as 0.5,1,2, or a range of whole numbers such as 0..4."""
    if span := re.fullmatch(r"(-?\d{1,9})\.\.(-?\d{1,9})", text):
        first, last = int(span[1]), int(span[2])
        if last - first >= _MAX_RUNS:
            raise ValueError(f"--sweep asks for {last - first + 1} values of {option.name}, of at most {_MAX_RUNS}")
        words = [str(value) for value in range(first, last + 1)]
    else:
        words = [word for word in text.split(",") if word]
    values = [read_value(option.name, option.kind, word) for word in words]
    if not values:
        raise ValueError(f"--sweep {option.name} needs values, such as 0.5,1,2 or 0..4, but was given {text[:200]!r}")
    if len(values) != len(set(values)):
        raise ValueError(f"--sweep {option.name} has a value twice: {text[:200]!r}")
    return [float(v) if type(v) is int and int not in members(option.kind) else v for v in values]


def open_folder(arguments: Arguments, axes: Sequence[Axis]) -> Path:
    """The folder of the sweep: a new one, or that of the same sweep, to go on with it.

    Raises:
        ValueError: The folder has something else, or another sweep.
    """
    asked = {name: getattr(arguments, name) for name in _SETTINGS} | {axis.name: axis.values for axis in axes}
    asked = {name: list(value) if isinstance(value, tuple) else value for name, value in asked.items()}
    out = arguments.out
    if out is not None and (Path(out) / _FILE).is_file():
        if read_json(Path(out) / _FILE).get("asked") != asked:
            raise ValueError(f"{out} holds another sweep: choose another folder, or give the command as it was")
        return Path(out)
    folder = new_folder(out, f"{short_name(arguments.game)}-{short_name(arguments.solver)}-sweep")
    write_json(folder / _FILE, {"asked": asked})
    return folder


def points(arguments: Arguments, axes: Sequence[Axis], folder: Path) -> Iterator[Point]:
    """The runs of a sweep, the last axis fastest."""
    for values in itertools.product(*(axis.values for axis in axes)):
        chosen = copy.copy(arguments)
        chosen.game_parameters, chosen.overrides = {**arguments.game_parameters}, {**arguments.overrides}
        for axis, value in zip(axes, values, strict=True):
            if axis.table == "run":
                setattr(chosen, axis.key, value)
            else:
                (chosen.game_parameters if axis.table == "game" else chosen.overrides)[axis.key] = value
        names = ",".join(f"{axis.key}={value}" for axis, value in zip(axes, values, strict=True))
        chosen.out, chosen.sweep = str(folder / _short(file_name(names))), ()
        yield Point({axis.name: value for axis, value in zip(axes, values, strict=True)}, chosen, Path(chosen.out))


def _short(name: str) -> str:
    """The name of a folder; of a long one the start, with a digest of the whole, as systems take 255 bytes at most."""
    if len(os.fsencode(name)) <= _MAX_NAME:
        return name
    start = os.fsencode(name)[: _MAX_NAME - 13].decode(errors="ignore")
    return f"{start}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}"


def summarise(
    folder: Path, axes: Sequence[Axis], rows: Sequence[dict[str, Any]], failed: Mapping[str, str], *, title: str
) -> dict[str, Any]:
    """Write result.json, the figure and report.html of a sweep; what result.json holds.

    Args:
        folder: The folder of the sweep.
        axes: What was swept.
        rows: For every run that has ended, its `values` by axis and its `result`.
        failed: The message of every run that failed, by its folder.
        title: The game and the solver.
    """
    kinds = _kinds(rows)
    result = {
        "axes": {axis.name: axis.values for axis in axes},
        "runs": [{"values": row["values"], **row["result"]} for row in rows],
        "failed": dict(failed),
        "out": str(folder),
        "report": str(folder / "report.html"),
    }
    pictures = [_draw(axes, rows, kinds, title)] if kinds else []
    save_figures(folder, pictures)
    names = [axis.name for axis in axes]
    report = page(
        "structmfg.cli", "sweep.html", pictures, title=title, names=names, kinds=kinds, rows=rows, failed=failed
    )
    write_bytes(folder / "report.html", report.encode())
    write_json(folder / "result.json", result)
    return result


def _kinds(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The kinds of exploitability that every run has."""
    measured = [{kind for kind, value in row["result"]["exploitability"].items() if value is not None} for row in rows]
    return sorted(set.intersection(*measured)) if measured else []


def table(axes: Sequence[Axis], rows: Sequence[dict[str, Any]]) -> Table:
    """A table with a row for every run."""
    kinds = _kinds(rows)
    drawn = Table(*(axis.name for axis in axes), "return", *kinds, "seconds", "result", box=None, padding=(0, 3, 0, 0))
    for column in drawn.columns[:-1]:
        column.justify = "right"
    for row in rows:
        result = row["result"]
        measured = (Text(number(result["exploitability"][kind]), style="bold") for kind in kinds)
        swept = (str(row["values"][axis.name]) for axis in axes)
        seconds = f"{result['train_seconds']:.1f}"
        drawn.add_row(*swept, number(result["return"]), *measured, seconds, result["result"])
    return drawn


def _draw(axes: Sequence[Axis], rows: Sequence[dict[str, Any]], kinds: Sequence[str], title: str) -> Picture:
    """Exploitability over the first axis but the seed, a line for each combination of the others, means over seeds."""
    first = next((axis for axis in axes if axis.name != "seed"), axes[0])
    others = [axis for axis in axes if axis is not first and axis.name != "seed"]
    numeric = all(isinstance(value, int | float) for value in first.values)
    x = np.array(first.values, float) if numeric else np.arange(len(first.values))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.6 * len(kinds), 3.4), layout="constrained")
        panels = figure.subplots(1, len(kinds), squeeze=False)[0]
        for axes_of_kind, kind in zip(panels, kinds, strict=True):
            for i, combination in enumerate(itertools.product(*(axis.values for axis in others))):
                wanted = dict(zip((axis.name for axis in others), combination, strict=True))
                samples = [_samples(rows, kind, {**wanted, first.name: value}) for value in first.values]
                means = [np.mean(sample) if sample else np.nan for sample in samples]
                label = ", ".join(f"{name}={value}" for name, value in wanted.items()) or None
                style = ("-", "--", ":", "-.")[i % 4]
                colour = COLOURS[i % len(COLOURS)]
                axes_of_kind.plot(x, means, style, marker="o", color=colour, label=label)
                for place, sample in zip(x, samples, strict=True):
                    axes_of_kind.plot([place] * len(sample), sample, "_", color=colour, alpha=0.7)
            axes_of_kind.set_title(kind)
            axes_of_kind.set_xlabel(first.name)
            axes_of_kind.grid(color="#e3e6ea", linewidth=0.8)
            if not numeric:
                axes_of_kind.set_xticks(x, [str(value) for value in first.values])
        panels[0].set_ylabel("exploitability (units of the return)")
        if others:
            panels[0].legend()
        caption = f"{title}: exploitability over {first.name}. Dots are means over seeds, dashes are single runs."
        return picture("sweep", caption, figure)


def _samples(rows: Sequence[Mapping[str, Any]], kind: str, wanted: Mapping[str, Any]) -> list[float]:
    """The exploitability of all runs with these values, whatever their seed."""
    return [
        row["result"]["exploitability"][kind]
        for row in rows
        if all(row["values"][name] == value for name, value in wanted.items())
    ]
