"""Solvers: policy evaluation, structural policy gradients, exploitability."""

from structmfg.solvers._evaluation import Form, Trajectory, policy_gradient, policy_values, rollout
from structmfg.solvers._exploitability import (
    Estimate,
    Kind,
    PathEvaluation,
    best_response_gains,
    evaluate_paths,
    exploitability,
)
from structmfg.solvers._presets import SOLVERS, Preset, preset
from structmfg.solvers._rspg import RSPG, SPG, Metrics, StructuralPolicyGradient, TrainingState
from structmfg.solvers._solution import RESULTS, Checkpoint, Solution
from structmfg.solvers._solve import Progress, solve

__all__ = [
    "RESULTS",
    "RSPG",
    "SOLVERS",
    "SPG",
    "Checkpoint",
    "Estimate",
    "Form",
    "Kind",
    "Metrics",
    "PathEvaluation",
    "Preset",
    "Progress",
    "Solution",
    "StructuralPolicyGradient",
    "TrainingState",
    "Trajectory",
    "best_response_gains",
    "evaluate_paths",
    "exploitability",
    "policy_gradient",
    "policy_values",
    "preset",
    "rollout",
    "solve",
]
