"""Structural policy gradients: RSPG, SPG, tables, and windows of long horizons.

What is imported under its own name, `x as x`, serves other rooms of the package and may change.
"""
# ruff: isort: skip_file

from structmfg.solvers.gradient._fictitious import DeepFictitiousPlay, FictitiousState
from structmfg.solvers.gradient._rspg import RSPG, SPG, StructuralPolicyGradient, TabularSPG, TrainingState
from structmfg.solvers.gradient._structural import MAX_PAIRS_SIDE_BY_SIDE as MAX_PAIRS_SIDE_BY_SIDE, StructuralSolver
from structmfg.solvers.gradient._windowed import WindowedRSPG, WindowedState

__all__ = [
    "RSPG",
    "SPG",
    "DeepFictitiousPlay",
    "FictitiousState",
    "StructuralPolicyGradient",
    "StructuralSolver",
    "TabularSPG",
    "TrainingState",
    "WindowedRSPG",
    "WindowedState",
]
