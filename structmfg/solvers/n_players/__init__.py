"""Policies in the game of N players: values, deviations, gains."""

from structmfg.solvers.n_players._players import Deviator, PlayersEvaluation, gain_rate, is_fitted, players

__all__ = [
    "Deviator",
    "PlayersEvaluation",
    "gain_rate",
    "is_fitted",
    "players",
]
