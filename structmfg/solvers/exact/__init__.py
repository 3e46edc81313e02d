"""Exact solvers on noise trees: annealed and accelerated equilibria, classical iterations, floors."""

from structmfg.solvers.exact._classical import (
    FictitiousPlay,
    FixedPoint,
    MunchausenMirrorDescent,
    OnlineMirrorDescent,
    PolicyIteration,
    PriorDescent,
)
from structmfg.solvers.exact._equilibrium import AcceleratedMirrorDescent, ExactEquilibrium, Floor, floor
from structmfg.solvers.exact._inclusion import OccupationInclusion
from structmfg.solvers.exact._occupation_optimisation import OccupationMeasureOptimisation

__all__ = [
    "AcceleratedMirrorDescent",
    "ExactEquilibrium",
    "FictitiousPlay",
    "FixedPoint",
    "Floor",
    "MunchausenMirrorDescent",
    "OccupationInclusion",
    "OccupationMeasureOptimisation",
    "OnlineMirrorDescent",
    "PolicyIteration",
    "PriorDescent",
    "floor",
]
