"""Solvers: policy evaluation, structural policy gradients, best responses and exploitability.

From samples: IPPO, RIPPO and Munchausen mirror descent, on games as finite populations play them. `players`: a policy
in the game of N players.

On noise trees: exact equilibria, the classical iterations, floors; the master equation on a simplex. Linear:
resolvents, stationary distributions, hitting times and absorption. Economies: stationary equilibria without common
noise, forecasting rules with it.
"""

from structmfg.solvers._absorption import absorption, hitting_times, total_rewards
from structmfg.solvers._classical import (
    FictitiousPlay,
    FixedPoint,
    MunchausenMirrorDescent,
    OnlineMirrorDescent,
    PolicyIteration,
    PriorDescent,
)
from structmfg.solvers._equilibrium import ExactEquilibrium
from structmfg.solvers._evaluation import Form, Trajectory, policy_gradient, policy_values, rollout
from structmfg.solvers._exploitability import (
    BestResponse,
    Estimate,
    Kind,
    PathEvaluation,
    best_response,
    best_response_gains,
    evaluate_paths,
    exploitability,
)
from structmfg.solvers._floor import Floor, floor
from structmfg.solvers._forecasting import FORECASTING_RESULTS, ForecastingEquilibrium, forecasting_equilibrium
from structmfg.solvers._household import SavingSolution, optimal_saving
from structmfg.solvers._linear import LINEAR_RESULTS, LinearSolution
from structmfg.solvers._master import MASTER_RESULTS, MasterSolution, master_equation
from structmfg.solvers._memory import MemoryEstimate, estimate_memory
from structmfg.solvers._munchausen_dqn import MunchausenOMD, MunchausenState
from structmfg.solvers._players import Deviator, PlayersEvaluation, gain_rate, players
from structmfg.solvers._ppo import IPPO, RIPPO, PPOState, ProximalPolicyOptimisation
from structmfg.solvers._presets import SOLVERS, Preset, preset
from structmfg.solvers._problem import Information
from structmfg.solvers._resolvent import ResolventMethod, resolvent
from structmfg.solvers._rspg import RSPG, SPG, StructuralPolicyGradient, TabularSPG, TrainingState
from structmfg.solvers._simplex import Barycentric, barycentric, simplex_grid
from structmfg.solvers._snapshots import Snapshots
from structmfg.solvers._solution import RESULTS, Checkpoint, Solution
from structmfg.solvers._solve import Progress, solve, solve_seeds
from structmfg.solvers._stationary import StationaryMethod, stationary
from structmfg.solvers._stationary_equilibrium import (
    EQUILIBRIUM_RESULTS,
    StationaryEquilibrium,
    stationary_equilibrium,
)
from structmfg.solvers._structural import StructuralSolver
from structmfg.solvers._training import Metrics, TrainingSolver
from structmfg.solvers._tree_solver import TreeSolver
from structmfg.solvers._windowed import WindowedRSPG, WindowedState

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
    "MunchausenState",
    "OnlineMirrorDescent",
    "PPOState",
    "PathEvaluation",
    "PlayersEvaluation",
    "PolicyIteration",
    "Preset",
    "PriorDescent",
    "Progress",
    "ProximalPolicyOptimisation",
    "ResolventMethod",
    "SavingSolution",
    "Snapshots",
    "Solution",
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
    "policy_values",
    "preset",
    "resolvent",
    "rollout",
    "simplex_grid",
    "solve",
    "solve_seeds",
    "stationary",
    "stationary_equilibrium",
    "total_rewards",
]
