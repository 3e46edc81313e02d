"""Contagion: infections of people and of computers."""

from structmfg.games.models.contagion._botnet import Botnet
from structmfg.games.models.contagion._epidemic import Epidemic
from structmfg.games.models.contagion._susceptible_infected import SusceptibleInfected

__all__ = ["Botnet", "Epidemic", "SusceptibleInfected"]
