"""Contagion: infections of people and of computers."""

from structmfg.games.models.contagion._epidemic import Epidemic

__all__ = ["Epidemic"]
