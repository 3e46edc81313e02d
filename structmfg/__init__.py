"""structmfg: sparse linear-algebra solvers for mean field games with common noise and partial observation."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from structmfg import games, operators, policies, solvers, verification
    from structmfg.games import AggregateState, Game, NoisePaths

__version__ = "0.1.0"
__all__ = ["AggregateState", "Game", "NoisePaths", "games", "operators", "policies", "solvers", "verification"]
_OF_GAMES = ("AggregateState", "Game", "NoisePaths")


def __getattr__(name: str) -> Any:
    """All is imported when it is first asked for: together it takes seconds, and the command line has something first.

    That is the folder of a run, which must be there should the command be killed.
    """
    if name in _OF_GAMES:
        return getattr(importlib.import_module("structmfg.games"), name)
    if name in __all__:
        return importlib.import_module(f"structmfg.{name}")
    raise AttributeError(f"module 'structmfg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
