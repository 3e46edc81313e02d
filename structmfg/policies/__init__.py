"""Policies pi(a | s, o_{0:t}): tables, and memoryless and recurrent networks."""

from structmfg.policies._base import Hidden, Policy
from structmfg.policies._network import NetworkPolicy, NetworkSettings, memoryless, network_policy, recurrent
from structmfg.policies._tabular import TabularPolicy, as_policy, tabular, uniform

__all__ = [
    "Hidden",
    "NetworkPolicy",
    "NetworkSettings",
    "Policy",
    "TabularPolicy",
    "as_policy",
    "memoryless",
    "network_policy",
    "recurrent",
    "tabular",
    "uniform",
]
