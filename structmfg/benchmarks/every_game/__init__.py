"""`structmfg bench --games all`: every solver on every game with a name, for equal seconds, in one table.

Each pair is a `structmfg compare` of one solver and one seed, in a process of its own, and kept in a folder for each
game. So a pair that fails leaves the others alone, and an interrupted run goes on where it was. Where OpenSpiel or
MFGLib is installed, games of theirs are imported, and their own solvers run on them beside those of this package.
"""

from structmfg.benchmarks.every_game._entry import Entry
from structmfg.benchmarks.every_game._report import render
from structmfg.benchmarks.every_game._run import entries, run_all, tabulate

__all__ = ["Entry", "entries", "render", "run_all", "tabulate"]
