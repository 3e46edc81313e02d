"""The games that come with the package, one file each, in a folder for each subject."""

from structmfg.games.models.contagion import Epidemic
from structmfg.games.models.crowds import BeachBar, BeachBarCrowded, BeachNoise, CrowdModelling, LeftRight, PredatorPrey
from structmfg.games.models.economics import (
    CarmonaFouqueSun,
    HuggettShocks,
    KrusellSmithCalibration,
    KrusellSmithGame,
    Macro,
    TradeCrowding,
)
from structmfg.games.models.textbook import LinearQuadratic
from structmfg.games.models.traffic import Demand, Link, Network, Routing

__all__ = [
    "BeachBar",
    "BeachBarCrowded",
    "BeachNoise",
    "CarmonaFouqueSun",
    "CrowdModelling",
    "Demand",
    "Epidemic",
    "HuggettShocks",
    "KrusellSmithCalibration",
    "KrusellSmithGame",
    "LeftRight",
    "LinearQuadratic",
    "Link",
    "Macro",
    "Network",
    "PredatorPrey",
    "Routing",
    "TradeCrowding",
]
