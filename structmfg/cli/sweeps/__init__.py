"""`structmfg solve --sweep`: a run for every combination of values, in one folder, with one table and one figure."""

from structmfg.cli.sweeps._points import points, read_axes
from structmfg.cli.sweeps._run import sweep

__all__ = ["points", "read_axes", "sweep"]
