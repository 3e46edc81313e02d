"""Policies pi(a | s, o_{0:t}): tables, tables on noise trees and over bins of observations, and networks.

A network of your own, from any library, is a pair of pure functions: see `from_functions` and `examples/own_policy.py`.
"""

from structmfg.policies._base import Hidden, Parametric, ParametricPolicy, Policy
from structmfg.policies._binned import BinnedPolicy, BinnedSettings, binned
from structmfg.policies._from_functions import FunctionPolicy, PolicyFunctions, from_functions
from structmfg.policies._functions import NetworkSettings
from structmfg.policies._network import Critic, Network, NetworkPolicy, critic, memoryless, network_policy, recurrent
from structmfg.policies._tabular import StationaryPolicy, TabularPolicy, as_policy, tabular, uniform
from structmfg.policies._to_openspiel import at_decisions, probabilities_at
from structmfg.policies._tree import TreePolicy, signal_of, tree_policy

__all__ = [
    "BinnedPolicy",
    "BinnedSettings",
    "Critic",
    "FunctionPolicy",
    "Hidden",
    "Network",
    "NetworkPolicy",
    "NetworkSettings",
    "Parametric",
    "ParametricPolicy",
    "Policy",
    "PolicyFunctions",
    "StationaryPolicy",
    "TabularPolicy",
    "TreePolicy",
    "as_policy",
    "at_decisions",
    "binned",
    "critic",
    "from_functions",
    "memoryless",
    "network_policy",
    "probabilities_at",
    "recurrent",
    "signal_of",
    "tabular",
    "tree_policy",
    "uniform",
]
