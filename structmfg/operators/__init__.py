"""Transition kernels and operators, explicit (BCOO, BCSR) and matrix-free. This package knows no game."""

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
from structmfg.operators._explicit import CompressedOperator, ExplicitKernel, ExplicitOperator
from structmfg.operators._kernels import DenseKernel, SuccessorKernel
from structmfg.operators._lattice import LatticeKernel, LatticeNoise
from structmfg.operators._lottery import ArbitraryGrid, GeometricGrid, Grid, LotteryKernel
from structmfg.operators._product import ProductOperator, power, product

__all__ = [
    "ArbitraryGrid",
    "CompressedOperator",
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
    "ProductOperator",
    "SuccessorKernel",
    "Successors",
    "TransitionKernel",
    "TransitionOperator",
    "TransposedOperator",
    "cost",
    "kron",
    "power",
    "product",
]
