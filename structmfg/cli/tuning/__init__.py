"""`structmfg tune`: search the settings of a solver that suit a game, on one clock."""

from structmfg.cli.tuning._tune import tune

__all__ = ["tune"]
