"""The games that come with the package, one file each, in a folder for each subject."""

from structmfg.games.models.contagion import Botnet, Epidemic, SusceptibleInfected
from structmfg.games.models.crowds import (
    BeachBar,
    BeachBarCrowded,
    BeachNoise,
    BuildingEvacuation,
    CrowdModelling,
    CrowdModelling2d,
    LeftRight,
    PredatorPrey,
)
from structmfg.games.models.economics import (
    BankRun,
    CarmonaFouqueSun,
    ElectricityStorage,
    EquilibriumPrice,
    HuggettShocks,
    KrusellSmithCalibration,
    KrusellSmithGame,
    Macro,
    TradeCrowding,
)
from structmfg.games.models.textbook import Garnet, LinearQuadratic
from structmfg.games.models.traffic import Demand, Link, Network, Routing

__all__ = [
    "BankRun",
    "BeachBar",
    "BeachBarCrowded",
    "BeachNoise",
    "Botnet",
    "BuildingEvacuation",
    "CarmonaFouqueSun",
    "CrowdModelling",
    "CrowdModelling2d",
    "Demand",
    "ElectricityStorage",
    "Epidemic",
    "EquilibriumPrice",
    "Garnet",
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
    "SusceptibleInfected",
    "TradeCrowding",
]
