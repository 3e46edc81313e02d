"""Games of other libraries, read into this package: OpenSpiel, MFGLib, Bench-MFG."""

from structmfg.games.imports._benchmfg import BenchMFGGame, from_benchmfg
from structmfg.games.imports._mfglib import MFGLibGame, from_mfglib

__all__ = ["BenchMFGGame", "MFGLibGame", "from_benchmfg", "from_mfglib"]
