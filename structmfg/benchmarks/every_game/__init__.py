"""`structmfg bench --games all`: every solver on every game with a name, for equal seconds, in one table.

A process runs the solvers of a game, with one seed, and keeps what they reach in a folder of that game. A pair that
fails is run again, alone, and leaves the others as they are. An interrupted run goes on where it was. Where OpenSpiel
or MFGLib is installed, games of theirs are imported, and their own solvers run on them beside those of this package.
"""

from structmfg.benchmarks.every_game._entry import Entry
from structmfg.benchmarks.every_game._report import render
from structmfg.benchmarks.every_game._run import entries, run_all, tabulate

__all__ = ["Entry", "entries", "render", "run_all", "tabulate"]
