"""The command `structmfg`: games, solve, evaluate."""

from structmfg.cli._main import main

__all__ = ["main"]
