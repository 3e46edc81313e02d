"""Runs every solver on every game, and reads what the runs have reached."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from structmfg._checks import check_name, check_positive
from structmfg._files import write_bytes, write_json
from structmfg.benchmarks._machine import machine
from structmfg.benchmarks.every_game._entry import Entry, check_suits
from structmfg.benchmarks.every_game._imported import beside, file_of, library_of, solvers_of
from structmfg.benchmarks.every_game._report import render
from structmfg.benchmarks.imports import LIBRARIES
from structmfg.games import GAMES, make
from structmfg.solvers import SOLVERS

_OVERHEAD = 600.0  # seconds beyond the clock: imports, compilation, evaluation, reference values
_OVERHEAD_OF_PAIR = 120.0  # the same of each further pair in one process
FORMAT = 1


def entries(games: Sequence[str] = (), solvers: Sequence[str] = ()) -> Iterator[Entry]:
    """Every pair of a game and a solver, by default of all; the status of those that do not suit is "not for it".

    Imported games stand beside that of the same kind, with the solvers of their own library as well. Whether a solver
    suits one of them is found out when it is run.

    Raises:
        ValueError: If a game or a solver is unknown.
    """
    known = [name for game in GAMES for name in (game, *beside(game))]
    for game in games:
        check_name("game", game, known)
    for solver in solvers:
        check_name("solver", solver, SOLVERS)
    for game in games or known:
        if library := library_of(game):
            for solver in (*(solvers or SOLVERS), *solvers_of(library)):
                yield Entry(game, solver, "planned")
            continue
        made = make(game)
        for solver in solvers or SOLVERS:
            try:
                check_suits(made, solver)
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

    One process runs the solvers of a game, so that reference values are measured and the report is written once. The
    pairs that it leaves undone, because a solver fails or ends the process, then run in processes of their own.

    Args:
        folder: A folder; pairs that are done there are read instead of run.
        games: Names of games; by default all, and imported games of libraries that are installed.
        solvers: Names of solvers; all by default. On imported games those of their library run in any case.
        max_seconds: The seconds of training of each pair, without compilation.
        log: Called with a line before the process of a game and after every pair.

    Returns:
        What result.json holds: the settings, the machine, the versions of other libraries (None where one is not
        installed), and an entry for each pair.

    Raises:
        ValueError: If a name is unknown, the seconds are not above zero, or the folder holds runs of other seconds.
    """
    check_positive("max_seconds", max_seconds)
    found: list[Entry] = []
    result: dict[str, Any] = {}
    planned = list(entries(games, solvers))
    for place, entry in enumerate(planned):
        if place == 0 or planned[place - 1].game != entry.game:
            _run_together(folder, [each for each in planned if each.game == entry.game], max_seconds, log)
        found.append(entry if entry.status != "planned" else _measured(folder, entry, max_seconds))
        log(_line(found[-1]))
        if place + 1 == len(planned) or planned[place + 1].game != entry.game:
            result = {
                "format": FORMAT,
                "max_seconds": max_seconds,
                "machine": machine(),
                "peers": {library.name: library.version() for library in LIBRARIES.values()},
                "entries": [each._asdict() for each in found],
                "table": tabulate(found),
            }
            write_json(folder / "result.json", result)
            write_bytes(folder / "report.html", render(result).encode())
    return result


def tabulate(found: Sequence[Entry]) -> list[dict[str, Any]]:
    """A row for each game: what the uniform policy loses, the excess by solver, and who has the least of it.

    `best` is a solver of this package, and `best_peer` one of the library that the game is imported from.
    """
    rows = []
    for game in dict.fromkeys(each.game for each in found):
        own = [each for each in found if each.game == game]
        known = {each.solver: each.excess for each in own if each.excess is not None}
        uniform = next((each.uniform for each in own if each.uniform is not None), None)
        best, best_peer = (
            min((solver for solver in known if (solver in SOLVERS) is ours), key=known.__getitem__, default=None)
            for ours in (True, False)
        )
        rows.append({"game": game, "uniform": uniform, "best": best, "best_peer": best_peer, "excess": known})
    return rows


def _run_together(folder: Path, planned: Sequence[Entry], max_seconds: float, log: Callable[[str], None]) -> None:
    """Run the solvers of a game that have not been run in one process."""
    game = planned[0].game
    missing = [each.solver for each in planned if each.status == "planned" and _read(folder, each, max_seconds) is None]
    if len(missing) > 1:
        log(f"{game}: running {', '.join(missing)}")
        with contextlib.suppress(subprocess.TimeoutExpired):
            seconds = _OVERHEAD + len(missing) * (max_seconds + _OVERHEAD_OF_PAIR)
            _run(_command(folder, game, missing, max_seconds), seconds)


def _command(folder: Path, game: str, solvers: Sequence[str], max_seconds: float) -> list[str]:
    """The command that runs solvers on a game and writes the files of `_place`."""
    if library_of(game):
        return ["structmfg.benchmarks.every_game._worker", game, f"{max_seconds:g}", str(folder), *solvers]
    return [
        *("structmfg", "compare", game, "--solvers", ",".join(solvers), "--seeds", "1"),
        *("--max-seconds", f"{max_seconds:g}", "--out", str(folder / game), "--quiet"),
    ]


def _place(folder: Path, entry: Entry) -> Path:
    """The file that says what a pair reached."""
    if library_of(entry.game):
        return file_of(folder, entry.game, entry.solver)
    return folder / entry.game / "result.json"


def _run(command: Sequence[str], timeout: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, timeout=timeout)


def _measured(folder: Path, entry: Entry, max_seconds: float) -> Entry:
    """The entry with what its run has left; where there was none, it is run in a process of its own."""
    known = _read(folder, entry, max_seconds)
    if known is not None:
        return known
    try:
        ended = _run(_command(folder, entry.game, [entry.solver], max_seconds), max_seconds + _OVERHEAD)
    except subprocess.TimeoutExpired:
        return entry._replace(status="failed", reason=f"not done {_OVERHEAD:g} s after its clock had run out")
    known = _read(folder, entry, max_seconds)
    if known is None:
        lines = (ended.stderr or ended.stdout).strip().splitlines() or [f"exit code {ended.returncode}"]
        return entry._replace(status="failed", reason=lines[-1])
    return known


def _read(folder: Path, entry: Entry, max_seconds: float) -> Entry | None:
    """What the file of a pair says: result.json of a comparison, or that of `_worker`; None where it says nothing.

    Raises:
        ValueError: If the seconds of training were others.
    """
    place = _place(folder, entry)
    try:
        result = json.loads(place.read_text())
    except (OSError, ValueError):
        return None
    if result["max_seconds"] != max_seconds:
        raise ValueError(
            f"{place.parent} holds runs of {result['max_seconds']:g} s of training, but max_seconds is "
            f"{max_seconds:g}: choose another folder"
        )
    if "entry" in result:
        return Entry(**result["entry"])
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
