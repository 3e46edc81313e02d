"""Runs every solver on every game, and reads what the runs have reached."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from structmfg._checks import check_name, check_positive
from structmfg._files import write_bytes, write_json
from structmfg.benchmarks._machine import machine
from structmfg.benchmarks.every_game._report import render
from structmfg.games import GAMES, make, noise_tree
from structmfg.solvers import SOLVERS, StationarySolver, TreeSolver, preset

_OVERHEAD = 600.0  # seconds beyond the clock: imports, compilation, evaluation, reference values
FORMAT = 1


class Entry(NamedTuple):
    """What one solver reached on one game.

    Attributes:
        game, solver: Their names.
        status: "ok"; "not for it", where the solver refuses the game; "failed".
        excess: What a deviation without foresight gains over the policy, at most, in units of the return; None where
            it is not known.
        uniform: The clairvoyant exploitability of the uniform policy.
        result: How the solve ended.
        train_seconds, compile_seconds: Of the solve.
        steps: The number of updates.
        reason: Why there are no numbers.
    """

    game: str
    solver: str
    status: str
    excess: float | None = None
    uniform: float | None = None
    result: str = ""
    train_seconds: float | None = None
    compile_seconds: float | None = None
    steps: int | None = None
    reason: str = ""


def entries(games: Sequence[str] = (), solvers: Sequence[str] = ()) -> Iterator[Entry]:
    """Every pair of a game and a solver, by default of all; the status of those that do not suit is "not for it".

    Raises:
        ValueError: If a game or a solver is unknown.
    """
    for game in games:
        check_name("game", game, GAMES)
    for solver in solvers:
        check_name("solver", solver, SOLVERS)
    for game in games or GAMES:
        made = make(game)
        for solver in solvers or SOLVERS:
            try:
                chosen = preset(made, solver).solver
                if isinstance(chosen, TreeSolver) and not isinstance(chosen, StationarySolver):
                    noise_tree(made)
            except ValueError as error:
                yield Entry(game, solver, "not for it", reason=str(error))
            else:
                yield Entry(game, solver, "planned")


def run_all(
    folder: Path,
    *,
    games: Sequence[str] = (),
    solvers: Sequence[str] = (),
    max_seconds: float = 10.0,
    log: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Run every pair, and write result.json and report.html after each game.

    Args:
        folder: A folder; pairs that are done there are read instead of run.
        games: Names of games; all by default.
        solvers: Names of solvers; all by default.
        max_seconds: The seconds of training of each pair, without compilation.
        log: Called with a line after every pair.

    Returns:
        What result.json holds: the settings, the machine, and an entry for each pair.

    Raises:
        ValueError: If a name is unknown, the seconds are not above zero, or the folder holds runs of other seconds.
    """
    check_positive("max_seconds", max_seconds)
    found: list[Entry] = []
    result: dict[str, Any] = {}
    planned = list(entries(games, solvers))
    for place, entry in enumerate(planned):
        found.append(entry if entry.status != "planned" else _measured(folder, entry, max_seconds))
        log(_line(found[-1]))
        if place + 1 == len(planned) or planned[place + 1].game != entry.game:
            result = {
                "format": FORMAT,
                "max_seconds": max_seconds,
                "machine": machine(),
                "entries": [each._asdict() for each in found],
                "table": tabulate(found),
            }
            write_json(folder / "result.json", result)
            write_bytes(folder / "report.html", render(result).encode())
    return result


def tabulate(found: Sequence[Entry]) -> list[dict[str, Any]]:
    """A row for each game: what the uniform policy loses, the least excess, and the excess by solver."""
    rows = []
    for game in dict.fromkeys(each.game for each in found):
        own = [each for each in found if each.game == game]
        known = {each.solver: each.excess for each in own if each.excess is not None}
        uniform = next((each.uniform for each in own if each.uniform is not None), None)
        best = min(known, key=lambda solver: known[solver]) if known else None
        rows.append({"game": game, "uniform": uniform, "best": best, "excess": known})
    return rows


def _measured(folder: Path, entry: Entry, max_seconds: float) -> Entry:
    """The entry with what a comparison of this one solver has found, in a process of its own."""
    place = folder / entry.game
    known = _read(place, entry, max_seconds)
    if known is not None:
        return known
    command = ["compare", entry.game, "--solvers", entry.solver, "--seeds", "1", "--max-seconds", f"{max_seconds:g}"]
    command += ["--out", str(place), "--quiet"]
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "structmfg", *command],
            capture_output=True,
            text=True,
            timeout=max_seconds + _OVERHEAD,
        )
    except subprocess.TimeoutExpired:
        return entry._replace(status="failed", reason=f"not done {_OVERHEAD:g} s after its clock had run out")
    known = _read(place, entry, max_seconds)
    if known is None:
        lines = (ended.stderr or ended.stdout).strip().splitlines() or [f"exit code {ended.returncode}"]
        return entry._replace(status="failed", reason=lines[-1])
    return known


def _read(place: Path, entry: Entry, max_seconds: float) -> Entry | None:
    """What result.json of a comparison says of a solver; None where it says nothing.

    Raises:
        ValueError: If the comparison gave other seconds of training.
    """
    try:
        result = json.loads((place / "result.json").read_text())
    except (OSError, ValueError):
        return None
    if result["max_seconds"] != max_seconds:
        raise ValueError(
            f"{place} holds runs of {result['max_seconds']:g} s of training, but max_seconds is {max_seconds:g}: "
            "choose another folder"
        )
    row = next((row for row in result["rows"] if row["solver"] == entry.solver), None)
    run = next((run for run in result["runs"] if run["solver"] == entry.solver), None)
    if row is None or run is None:
        return None
    bounds = row["non_anticipative"]
    return entry._replace(
        status="ok",
        excess=None if bounds is None else bounds[1],
        uniform=result["anchors"]["uniform"]["clairvoyant"],
        result=run["result"],
        train_seconds=run["train_seconds"],
        compile_seconds=run["compile_seconds"],
        steps=run["steps"],
        reason="" if bounds else "its exploitability without foresight is not known",
    )


def _line(entry: Entry) -> str:
    if entry.status != "ok":
        return f"{entry.game}, {entry.solver}: {entry.status}: {entry.reason}"
    excess = "unknown" if entry.excess is None else f"{entry.excess:.4g}"
    return f"{entry.game}, {entry.solver}: excess {excess} after {entry.train_seconds:.1f} s, {entry.result}"
