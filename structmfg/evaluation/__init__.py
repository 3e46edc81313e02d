"""Evaluation: rollouts, values, policy gradients, best responses and exploitability, along paths and on noise trees.

What is imported under its own name, `x as x`, serves other rooms of the package and may change.
"""
# ruff: isort: skip_file

from structmfg.evaluation._along_paths import (
    calls_over_cores as calls_over_cores,
    clairvoyant_gains as clairvoyant_gains,
    clairvoyant_gains_on_tree as clairvoyant_gains_on_tree,
)
from structmfg.evaluation._best_response import (
    BestResponse,
    Estimate,
    GainsOverTime,
    PathEvaluation,
    means_by_population as means_by_population,
)
from structmfg.evaluation.bounds import (
    ExploitabilityBounds,
    exploitability_bounds,
    is_informative as is_informative,
)
from structmfg.evaluation._declared import check_declared as check_declared, market_residuals
from structmfg.evaluation._exploitability import (
    Kind,
    action_values,
    best_response,
    best_response_gains,
    best_response_on_tree as best_response_on_tree,
    best_values as best_values,
    clairvoyant_response as clairvoyant_response,
    compiled_unroll as compiled_unroll,
    evaluate_paths,
    exploitability,
    exploitability_tree as exploitability_tree,
    in_default as in_default,
    in_double as in_double,
)
from structmfg.evaluation._excess import Excess, check_excess as check_excess, measured_excess
from structmfg.evaluation._information_sets import has_perfect_recall as has_perfect_recall, public_sets as public_sets
from structmfg.evaluation._inspection import (
    ROW_TOLERANCE as ROW_TOLERANCE,
    check_game_along as check_game_along,
    check_observations as check_observations,
    describe_nonfinite as describe_nonfinite,
    sampled_steps as sampled_steps,
    steps_on_tree as steps_on_tree,
)
from structmfg.evaluation._paths import (
    FORBIDDEN_LOGIT as FORBIDDEN_LOGIT,
    Backward,
    Form,
    Position as Position,
    Trajectory,
    allowed_logits as allowed_logits,
    gradient_along as gradient_along,
    initial_position as initial_position,
    policy_gradient,
    policy_values,
    rollout,
    rollout_from as rollout_from,
    steps as steps,
)
from structmfg.evaluation._stationary import (
    RESIDUAL as RESIDUAL,
    StationaryCertificate,
    StationaryProblem,
    settled as settled,
    stationary_response,
)
from structmfg.evaluation._tree_problem import Certificate, Information, TreeProblem, greedy, groups as groups, soft
from structmfg.evaluation._tree_sweeps import Flow, Table, unroll_on_tree as unroll_on_tree

__all__ = [
    "Backward",
    "BestResponse",
    "Certificate",
    "Estimate",
    "Excess",
    "ExploitabilityBounds",
    "Flow",
    "Form",
    "GainsOverTime",
    "Information",
    "Kind",
    "PathEvaluation",
    "StationaryCertificate",
    "StationaryProblem",
    "Table",
    "Trajectory",
    "TreeProblem",
    "action_values",
    "best_response",
    "best_response_gains",
    "evaluate_paths",
    "exploitability",
    "exploitability_bounds",
    "greedy",
    "market_residuals",
    "means_by_population",
    "measured_excess",
    "policy_gradient",
    "policy_values",
    "rollout",
    "soft",
    "stationary_response",
]
