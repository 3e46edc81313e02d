"""Transition kernels and operators, explicit (BCOO, BCSR) and matrix-free. Nothing here imports a game."""

from structmfg.operators._base import delegate as delegate
from structmfg.operators._base import without_ends as without_ends
from structmfg.operators._composite import DirectSumKernel, MixtureKernel, PatchedKernel, direct_sum
from structmfg.operators._cost import Cost, cost
from structmfg.operators._from_scipy import from_scipy
from structmfg.operators._kernel import ControlledOperator, ExplicitKernel, FactoredKernel, TransitionKernel
from structmfg.operators._kronecker import KroneckerOperator, LiftedKernel, LiftedOperator, kron
from structmfg.operators._lattice import LatticeKernel, LatticeNoise
from structmfg.operators._lattice2d import LatticeKernel2d
from structmfg.operators._lottery import ArbitraryGrid, GeometricGrid, Grid, LotteryKernel
from structmfg.operators._operator import (
    CompressedOperator,
    ExplicitOperator,
    PowerOperator,
    ProductOperator,
    TransitionOperator,
    TransposedOperator,
)
from structmfg.operators._product import power, product
from structmfg.operators._sparse import Successors
from structmfg.operators._unstructured import DenseKernel, SuccessorKernel

__all__ = [
    "ArbitraryGrid",
    "CompressedOperator",
    "ControlledOperator",
    "Cost",
    "DenseKernel",
    "DirectSumKernel",
    "ExplicitKernel",
    "ExplicitOperator",
    "FactoredKernel",
    "GeometricGrid",
    "Grid",
    "KroneckerOperator",
    "LatticeKernel",
    "LatticeKernel2d",
    "LatticeNoise",
    "LiftedKernel",
    "LiftedOperator",
    "LotteryKernel",
    "MixtureKernel",
    "PatchedKernel",
    "PowerOperator",
    "ProductOperator",
    "SuccessorKernel",
    "Successors",
    "TransitionKernel",
    "TransitionOperator",
    "TransposedOperator",
    "cost",
    "direct_sum",
    "from_scipy",
    "kron",
    "power",
    "product",
]
