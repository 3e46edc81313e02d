"""Linear algebra with transition operators alone: resolvents, stationary distributions, hitting times, absorption."""

from structmfg.linear._absorption import absorption, hitting_times, total_rewards
from structmfg.linear._matrices import Limit, cesaro_limit, solve_resolvent
from structmfg.linear._resolvent import ResolventMethod, resolvent
from structmfg.linear._solution import LINEAR_RESULTS, LinearSolution
from structmfg.linear._stationary import StationaryMethod, stationary

__all__ = [
    "LINEAR_RESULTS",
    "Limit",
    "LinearSolution",
    "ResolventMethod",
    "StationaryMethod",
    "absorption",
    "cesaro_limit",
    "hitting_times",
    "resolvent",
    "solve_resolvent",
    "stationary",
    "total_rewards",
]
