"""structmfg: sparse linear-algebra solvers for mean field games with common noise and partial observation."""

import importlib
from typing import TYPE_CHECKING, Any

from structmfg._version import __version__

if TYPE_CHECKING:
    from structmfg import economies, evaluation, games, linear, operators, parallel, policies, solvers, verification
    from structmfg.games import AggregateState, Game, NoisePaths
    from structmfg.runs import load, report, save

__all__ = [
    "AggregateState",
    "Game",
    "NoisePaths",
    "__version__",
    "economies",
    "evaluation",
    "games",
    "linear",
    "load",
    "operators",
    "parallel",
    "policies",
    "report",
    "reports",
    "runs",
    "save",
    "solvers",
    "verification",
]


def __getattr__(name: str) -> Any:
    """Import a room of the package when it is first used, which keeps `import structmfg` quick.

    The command line, too, first makes the folder of a run, which must be there should the command be killed.
    """
    if name in ("load", "report", "save"):
        return getattr(importlib.import_module("structmfg.runs"), name)
    if name in ("AggregateState", "Game", "NoisePaths"):
        return getattr(importlib.import_module("structmfg.games"), name)
    if name in __all__:
        return importlib.import_module(f"structmfg.{name}")
    raise AttributeError(f"module 'structmfg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
