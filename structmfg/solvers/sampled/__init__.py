"""Solvers that learn from samples: PPO and Munchausen mirror descent."""

from structmfg.solvers.sampled._munchausen_dqn import MunchausenOMD, MunchausenState
from structmfg.solvers.sampled._ppo import IPPO, RIPPO, PPOState, ProximalPolicyOptimisation

__all__ = [
    "IPPO",
    "RIPPO",
    "MunchausenOMD",
    "MunchausenState",
    "PPOState",
    "ProximalPolicyOptimisation",
]
