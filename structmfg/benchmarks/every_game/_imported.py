"""Games of other libraries in the table, and their solvers, by name."""

import re
from pathlib import Path

from structmfg.benchmarks.imports import LIBRARIES, PeerLibrary


def beside(game: str) -> list[str]:
    """The names LIBRARY:NAME of imported games of the same kind, of libraries that are installed."""
    return [
        f"{prefix}:{name}"
        for prefix, library in LIBRARIES.items()
        if library.version() is not None
        for name in library.games.get(game, ())
    ]


def library_of(game: str) -> PeerLibrary | None:
    """The library of an imported game; None of a game of this package."""
    prefix, colon, _ = game.partition(":")
    return LIBRARIES.get(prefix) if colon else None


def solvers_of(library: PeerLibrary) -> list[str]:
    """The library's own solvers, as the table names them."""
    return [f"{library.name}: {solver}" for solver in library.solvers]


def file_of(folder: Path, game: str, solver: str) -> Path:
    """The file for what a solver reaches on an imported game, in the folder of all runs."""
    return folder / game.replace(":", "-") / f"{re.sub('[^a-z0-9_]+', '-', solver.lower())}.json"
