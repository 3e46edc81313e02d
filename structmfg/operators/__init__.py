"""Transition kernels and operators, explicit (BCOO) and matrix-free. This package knows no game."""

from structmfg.operators._base import (
    ControlledOperator,
    Successors,
    TransitionKernel,
    TransitionOperator,
    TransposedOperator,
)
from structmfg.operators._composite import (
    FactoredKernel,
    KroneckerOperator,
    LiftedKernel,
    MixtureKernel,
    PatchedKernel,
    kron,
)
from structmfg.operators._cost import Cost, cost
from structmfg.operators._explicit import ExplicitKernel, ExplicitOperator
from structmfg.operators._kernels import DenseKernel, SuccessorKernel
from structmfg.operators._lattice import LatticeKernel, LatticeNoise
from structmfg.operators._lottery import ArbitraryGrid, GeometricGrid, Grid, LotteryKernel

__all__ = [
    "ArbitraryGrid",
    "ControlledOperator",
    "Cost",
    "DenseKernel",
    "ExplicitKernel",
    "ExplicitOperator",
    "FactoredKernel",
    "GeometricGrid",
    "Grid",
    "KroneckerOperator",
    "LatticeKernel",
    "LatticeNoise",
    "LiftedKernel",
    "LotteryKernel",
    "MixtureKernel",
    "PatchedKernel",
    "SuccessorKernel",
    "Successors",
    "TransitionKernel",
    "TransitionOperator",
    "TransposedOperator",
    "cost",
    "kron",
]
