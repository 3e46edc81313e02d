"""The command `structmfg`: games, solve, evaluate, bench."""

from structmfg.cli._main import main

__all__ = ["main"]
