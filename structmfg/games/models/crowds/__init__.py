"""Crowds: agents who walk, and like or avoid each other's company."""

from structmfg.games.models.crowds._beach_bar import BeachBar, BeachBarCrowded, BeachNoise
from structmfg.games.models.crowds._building_evacuation import BuildingEvacuation
from structmfg.games.models.crowds._crowd_modelling import CrowdModelling
from structmfg.games.models.crowds._crowd_modelling_2d import CrowdModelling2d
from structmfg.games.models.crowds._left_right import LeftRight
from structmfg.games.models.crowds._predator_prey import PredatorPrey

__all__ = [
    "BeachBar",
    "BeachBarCrowded",
    "BeachNoise",
    "BuildingEvacuation",
    "CrowdModelling",
    "CrowdModelling2d",
    "LeftRight",
    "PredatorPrey",
]
