"""Imported games: solvers of this package beside the other library's own solvers.

Run it by its folder's name, with `-m`; `structmfg bench --games all` takes games and solvers from here.
"""

from structmfg.benchmarks.imports._libraries import LIBRARIES, PeerLibrary, Trained

__all__ = ["LIBRARIES", "PeerLibrary", "Trained"]
