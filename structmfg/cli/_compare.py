"""`structmfg compare`: several solvers on one clock, over seeds."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any, get_args

import jax
from rich.console import Console
from rich.table import Table
from rich.text import Text

from structmfg import runs
from structmfg._checks import check_name
from structmfg._files import drop_folder, new_folder
from structmfg.benchmarks import comparison
from structmfg.benchmarks.comparison import FILE, speed_up
from structmfg.cli._output import console, print_json
from structmfg.cli._progress import Display, Interrupt
from structmfg.games import make
from structmfg.solvers.loop import Progress


def compare(arguments: argparse.Namespace) -> int:
    """Exit code 0, or 1 where numbers of a run did not stay finite."""
    check_name("precision", arguments.precision, get_args(runs.Precision))
    game = make(arguments.game, **arguments.game_parameters)
    out = console(arguments)
    with jax.enable_x64(arguments.precision == "float64"), Interrupt() as interrupt:
        given = arguments.out is not None and Path(arguments.out).exists()
        folder, fresh = _folder(arguments)
        try:
            with Display(quiet=arguments.quiet, max_seconds=arguments.max_seconds) as display:

                def follow(solver: str, seed: int, progress: Progress) -> None:
                    display.training(progress, f"{runs.spoken(solver)}, seed {seed}")
                    interrupt.check(progress)

                found = comparison.compare(
                    game,
                    folder,
                    solvers=[name.strip() for name in arguments.solvers.split(",") if name.strip()],
                    seeds=arguments.seeds,
                    max_seconds=arguments.max_seconds,
                    log=lambda line: _tell(out, display, line),
                    callback=follow,
                )
        except KeyboardInterrupt:
            done = len(list(folder.glob("runs/*/learning_curve.json")))
            message = f"interrupted with {done} runs done; the same command with --out {folder} goes on from there"
            raise KeyboardInterrupt(message) from None
        except ValueError:
            if fresh and not (folder / FILE).exists():
                drop_folder(folder, keep=given)
            raise
    result = found.result
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
    broken = [run for runs in found.runs.values() for run in runs if run.result in ("nonfinite", "invalid")]
    if broken:
        print(f"structmfg: not finite: {', '.join(f'{run.solver} seed {run.seed}' for run in broken)}", file=sys.stderr)
    return 1 if broken else 0


def _folder(arguments: argparse.Namespace) -> tuple[Path, bool]:
    """The folder, and whether it is new; an existing one is gone on with if it holds a comparison."""
    if arguments.out is not None and os.path.lexists(Path(arguments.out, FILE)):
        return Path(arguments.out), False
    return new_folder(arguments.out, f"compare-{arguments.game}"), True


def _tell(out: Console, display: Display, line: str) -> None:
    display.stage(line)
    out.print(line, soft_wrap=True)


def _table(result: dict[str, Any]) -> Table:
    """The rows for people."""
    against = runs.spoken(result["reference"])
    columns = ("solver", "exploitability", f"of {against}'s", "to half-way", f"{against} sooner by")
    table = Table(*columns, box=None, padding=(0, 3, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    for row in result["rows"]:
        half = f" ± {row['half_width']:.2g}" if len(row["by_seed"]) > 1 else ""
        seconds = row["seconds_to_half_way"]
        table.add_row(
            runs.spoken(row["solver"]),
            Text(f"{row['exploitability']:.4g}{half}", style="bold"),
            "–" if row["of_reference"] is None else f"{row['of_reference']:.3g}",
            "never" if seconds is None else f"{seconds:.2g} s",
            speed_up(row),
        )
    return table
