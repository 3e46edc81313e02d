"""Solvers: policy evaluation, structural policy gradients, exploitability; resolvents, stationary distributions."""

from structmfg.solvers._evaluation import Form, Trajectory, policy_gradient, policy_values, rollout
from structmfg.solvers._exploitability import (
    Estimate,
    Kind,
    PathEvaluation,
    best_response_gains,
    evaluate_paths,
    exploitability,
)
from structmfg.solvers._linear import LINEAR_RESULTS, LinearSolution
from structmfg.solvers._master import MASTER_RESULTS, MasterSolution, master_equation
from structmfg.solvers._presets import SOLVERS, Preset, preset
from structmfg.solvers._resolvent import ResolventMethod, resolvent
from structmfg.solvers._rspg import RSPG, SPG, Metrics, StructuralPolicyGradient, TrainingState
from structmfg.solvers._simplex import Barycentric, barycentric, simplex_grid
from structmfg.solvers._solution import RESULTS, Checkpoint, Solution
from structmfg.solvers._solve import Progress, solve
from structmfg.solvers._stationary import StationaryMethod, stationary

__all__ = [
    "LINEAR_RESULTS",
    "MASTER_RESULTS",
    "RESULTS",
    "RSPG",
    "SOLVERS",
    "SPG",
    "Barycentric",
    "Checkpoint",
    "Estimate",
    "Form",
    "Kind",
    "LinearSolution",
    "MasterSolution",
    "Metrics",
    "PathEvaluation",
    "Preset",
    "Progress",
    "ResolventMethod",
    "Solution",
    "StationaryMethod",
    "StructuralPolicyGradient",
    "TrainingState",
    "Trajectory",
    "barycentric",
    "best_response_gains",
    "evaluate_paths",
    "exploitability",
    "master_equation",
    "policy_gradient",
    "policy_values",
    "preset",
    "resolvent",
    "rollout",
    "simplex_grid",
    "solve",
    "stationary",
]
