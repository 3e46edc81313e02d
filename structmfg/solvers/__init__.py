"""Solvers: policy evaluation, structural policy gradients, best responses and exploitability.

From samples: IPPO, RIPPO and Munchausen mirror descent, on games as finite populations play them. `players`: a policy
in the game of N players.

On noise trees: exact equilibria, the classical iterations, floors; the master equation on a simplex. Linear:
resolvents, stationary distributions, hitting times and absorption. Economies: stationary equilibria without common
noise, forecasting rules with it.
"""

from structmfg._results import RESULTS
from structmfg.economies import (
    ForecastingEquilibrium,
    SavingSolution,
    StationaryEquilibrium,
    forecasting_equilibrium,
    optimal_saving,
    stationary_equilibrium,
)
from structmfg.evaluation import (
    BestResponse,
    Estimate,
    Form,
    Information,
    Kind,
    PathEvaluation,
    Trajectory,
    best_response,
    best_response_gains,
    evaluate_paths,
    exploitability,
    policy_gradient,
    policy_values,
    rollout,
)
from structmfg.linear import (
    LINEAR_RESULTS,
    LinearSolution,
    ResolventMethod,
    StationaryMethod,
    absorption,
    hitting_times,
    resolvent,
    stationary,
    total_rewards,
)
from structmfg.solvers._base import Checkpoint, Metrics, Solution, Solver, TrainingSolver, TreeSolver
from structmfg.solvers._former_names import with_present_names
from structmfg.solvers._presets import SOLVERS, Preset, PresetName, policy_settings, preset, register
from structmfg.solvers.exact import (
    ExactEquilibrium,
    FictitiousPlay,
    FixedPoint,
    Floor,
    MunchausenMirrorDescent,
    OnlineMirrorDescent,
    PolicyIteration,
    PriorDescent,
    floor,
)
from structmfg.solvers.gradient import (
    RSPG,
    SPG,
    StructuralPolicyGradient,
    StructuralSolver,
    TabularSPG,
    TrainingState,
    WindowedRSPG,
    WindowedState,
)
from structmfg.solvers.loop import MemoryEstimate, Progress, Snapshots, estimate_memory, solve, solve_seeds
from structmfg.solvers.master import (
    Barycentric,
    MasterSolution,
    barycentric,
    master_equation,
    simplex_grid,
)
from structmfg.solvers.n_players import Deviator, PlayersEvaluation, gain_rate, players
from structmfg.solvers.sampled import (
    IPPO,
    RIPPO,
    MunchausenOMD,
    PopulationSolverState,
    ProximalPolicyOptimisation,
)

EQUILIBRIUM_RESULTS = FORECASTING_RESULTS = MASTER_RESULTS = RESULTS  # names of before there was one

__all__ = [
    "EQUILIBRIUM_RESULTS",
    "FORECASTING_RESULTS",
    "IPPO",
    "LINEAR_RESULTS",
    "MASTER_RESULTS",
    "RESULTS",
    "RIPPO",
    "RSPG",
    "SOLVERS",
    "SPG",
    "Barycentric",
    "BestResponse",
    "Checkpoint",
    "Deviator",
    "Estimate",
    "ExactEquilibrium",
    "FictitiousPlay",
    "FixedPoint",
    "Floor",
    "ForecastingEquilibrium",
    "Form",
    "Information",
    "Kind",
    "LinearSolution",
    "MasterSolution",
    "MemoryEstimate",
    "Metrics",
    "MunchausenMirrorDescent",
    "MunchausenOMD",
    "OnlineMirrorDescent",
    "PathEvaluation",
    "PlayersEvaluation",
    "PolicyIteration",
    "PopulationSolverState",
    "Preset",
    "PresetName",
    "PriorDescent",
    "Progress",
    "ProximalPolicyOptimisation",
    "ResolventMethod",
    "SavingSolution",
    "Snapshots",
    "Solution",
    "Solver",
    "StationaryEquilibrium",
    "StationaryMethod",
    "StructuralPolicyGradient",
    "StructuralSolver",
    "TabularSPG",
    "TrainingSolver",
    "TrainingState",
    "Trajectory",
    "TreeSolver",
    "WindowedRSPG",
    "WindowedState",
    "absorption",
    "barycentric",
    "best_response",
    "best_response_gains",
    "estimate_memory",
    "evaluate_paths",
    "exploitability",
    "floor",
    "forecasting_equilibrium",
    "gain_rate",
    "hitting_times",
    "master_equation",
    "optimal_saving",
    "players",
    "policy_gradient",
    "policy_settings",
    "policy_values",
    "preset",
    "register",
    "resolvent",
    "rollout",
    "simplex_grid",
    "solve",
    "solve_seeds",
    "stationary",
    "stationary_equilibrium",
    "total_rewards",
    "with_present_names",
]
