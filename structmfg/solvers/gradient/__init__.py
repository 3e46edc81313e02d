"""Structural policy gradients: RSPG, SPG, tables, and windows of long horizons."""

from structmfg.solvers.gradient._rspg import RSPG, SPG, StructuralPolicyGradient, TabularSPG, TrainingState
from structmfg.solvers.gradient._structural import MAX_PAIRS_SIDE_BY_SIDE, StructuralSolver
from structmfg.solvers.gradient._windowed import WindowedRSPG, WindowedState

__all__ = [
    "MAX_PAIRS_SIDE_BY_SIDE",
    "RSPG",
    "SPG",
    "StructuralPolicyGradient",
    "StructuralSolver",
    "TabularSPG",
    "TrainingState",
    "WindowedRSPG",
    "WindowedState",
]
