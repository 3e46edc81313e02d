"""Textbook games, with closed forms or of any size."""

from structmfg.games.models.textbook._garnet import Garnet
from structmfg.games.models.textbook._linear_quadratic import LinearQuadratic

__all__ = ["Garnet", "LinearQuadratic"]
