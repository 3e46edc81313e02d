"""structmfg: sparse linear-algebra solvers for mean field games with common noise and partial observation."""

import importlib
from typing import TYPE_CHECKING, Any

from structmfg import games, operators, policies, solvers
from structmfg.games import AggregateState, Game, NoisePaths

if TYPE_CHECKING:
    from structmfg import verification

__version__ = "0.1.0"
__all__ = ["AggregateState", "Game", "NoisePaths", "games", "operators", "policies", "solvers", "verification"]


def __getattr__(name: str) -> Any:
    """`verification` is imported when it is first asked for: it needs what draws, which takes a while to load."""
    if name == "verification":
        return importlib.import_module("structmfg.verification")
    raise AttributeError(f"module 'structmfg' has no attribute {name!r}")
