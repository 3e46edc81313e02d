"""Solvers: policy evaluation, structural policy gradients, exploitability; resolvents, stationary distributions.

Without common noise: stationary equilibria of economies.
"""

from structmfg.solvers._evaluation import Form, Trajectory, policy_gradient, policy_values, rollout
from structmfg.solvers._exploitability import (
    Estimate,
    Kind,
    PathEvaluation,
    best_response_gains,
    evaluate_paths,
    exploitability,
)
from structmfg.solvers._household import SavingSolution, optimal_saving
from structmfg.solvers._linear import LINEAR_RESULTS, LinearSolution
from structmfg.solvers._presets import SOLVERS, Preset, preset
from structmfg.solvers._resolvent import ResolventMethod, resolvent
from structmfg.solvers._rspg import RSPG, SPG, Metrics, StructuralPolicyGradient, TrainingState
from structmfg.solvers._solution import RESULTS, Checkpoint, Solution
from structmfg.solvers._solve import Progress, solve
from structmfg.solvers._stationary import StationaryMethod, stationary
from structmfg.solvers._stationary_equilibrium import (
    EQUILIBRIUM_RESULTS,
    StationaryEquilibrium,
    stationary_equilibrium,
)

__all__ = [
    "EQUILIBRIUM_RESULTS",
    "LINEAR_RESULTS",
    "RESULTS",
    "RSPG",
    "SOLVERS",
    "SPG",
    "Checkpoint",
    "Estimate",
    "Form",
    "Kind",
    "LinearSolution",
    "Metrics",
    "PathEvaluation",
    "Preset",
    "Progress",
    "ResolventMethod",
    "SavingSolution",
    "Solution",
    "StationaryEquilibrium",
    "StationaryMethod",
    "StructuralPolicyGradient",
    "TrainingState",
    "Trajectory",
    "best_response_gains",
    "evaluate_paths",
    "exploitability",
    "optimal_saving",
    "policy_gradient",
    "policy_values",
    "preset",
    "resolvent",
    "rollout",
    "solve",
    "stationary",
    "stationary_equilibrium",
]
