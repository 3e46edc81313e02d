"""The master equation on a grid of the simplex."""

from structmfg.solvers.master._master import MasterSolution, master_equation
from structmfg.solvers.master._simplex import Barycentric, barycentric, simplex_grid

__all__ = [
    "Barycentric",
    "MasterSolution",
    "barycentric",
    "master_equation",
    "simplex_grid",
]
