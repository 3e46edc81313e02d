"""structmfg: sparse linear-algebra solvers for mean field games with common noise and partial observation."""

from structmfg import games, operators, policies, solvers, verification
from structmfg.games import AggregateState, Game, NoisePaths

__version__ = "0.1.0"
__all__ = ["AggregateState", "Game", "NoisePaths", "games", "operators", "policies", "solvers", "verification"]
