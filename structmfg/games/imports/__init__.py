"""Games of other libraries, read into this package: OpenSpiel, MFGLib, Bench-MFG."""

from structmfg.games.imports._benchmfg import BenchMFGGame, from_benchmfg
from structmfg.games.imports._game import ImportedGame
from structmfg.games.imports._mfglib import MFGLibGame, from_mfglib
from structmfg.games.imports._nodes import name_of as openspiel_name_of
from structmfg.games.imports._openspiel import OPENSPIEL_PREFIX, OpenSpielGame, from_openspiel, openspiel_class

__all__ = [
    "OPENSPIEL_PREFIX",
    "BenchMFGGame",
    "ImportedGame",
    "MFGLibGame",
    "OpenSpielGame",
    "from_benchmfg",
    "from_mfglib",
    "from_openspiel",
    "openspiel_class",
    "openspiel_name_of",
]
