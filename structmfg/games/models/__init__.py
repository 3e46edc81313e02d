"""The games that come with the package, one file each."""

from structmfg.games.models._beach_bar import BeachBar, BeachBarCrowded, BeachNoise
from structmfg.games.models._carmona_fouque_sun import CarmonaFouqueSun
from structmfg.games.models._crowd_modelling import CrowdModelling
from structmfg.games.models._epidemic import Epidemic
from structmfg.games.models._huggett_shocks import HuggettShocks
from structmfg.games.models._krusell_smith import KrusellSmithCalibration, KrusellSmithGame
from structmfg.games.models._left_right import LeftRight
from structmfg.games.models._linear_quadratic import LinearQuadratic
from structmfg.games.models._macro import Macro
from structmfg.games.models._predator_prey import PredatorPrey
from structmfg.games.models._trade_crowding import TradeCrowding

__all__ = [
    "BeachBar",
    "BeachBarCrowded",
    "BeachNoise",
    "CarmonaFouqueSun",
    "CrowdModelling",
    "Epidemic",
    "HuggettShocks",
    "KrusellSmithCalibration",
    "KrusellSmithGame",
    "LeftRight",
    "LinearQuadratic",
    "Macro",
    "PredatorPrey",
    "TradeCrowding",
]
