"""Exact solvers on noise trees: annealed and accelerated equilibria, classical iterations, floors."""

from structmfg.solvers.exact._classical import (
    FictitiousPlay,
    FixedPoint,
    MunchausenMirrorDescent,
    OnlineMirrorDescent,
    PolicyIteration,
    PriorDescent,
)
from structmfg.solvers.exact._equilibrium import ExactEquilibrium, Floor, floor

__all__ = [
    "ExactEquilibrium",
    "FictitiousPlay",
    "FixedPoint",
    "Floor",
    "MunchausenMirrorDescent",
    "OnlineMirrorDescent",
    "PolicyIteration",
    "PriorDescent",
    "floor",
]
