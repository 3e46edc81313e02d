"""Solvers that learn from samples: PPO and Munchausen mirror descent."""

from structmfg.solvers.sampled._munchausen_dqn import MunchausenOMD
from structmfg.solvers.sampled._population_solver import PopulationSolverState
from structmfg.solvers.sampled._ppo import IPPO, RIPPO, ProximalPolicyOptimisation

__all__ = [
    "IPPO",
    "RIPPO",
    "MunchausenOMD",
    "PopulationSolverState",
    "ProximalPolicyOptimisation",
]
