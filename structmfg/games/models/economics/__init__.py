"""Economics and finance: agents who save, trade, produce or store."""

from structmfg.games.models.economics._bank_run import BankRun
from structmfg.games.models.economics._carmona_fouque_sun import CarmonaFouqueSun
from structmfg.games.models.economics._electricity_storage import ElectricityStorage
from structmfg.games.models.economics._equilibrium_price import EquilibriumPrice
from structmfg.games.models.economics._huggett_shocks import HuggettShocks
from structmfg.games.models.economics._krusell_smith import KrusellSmithCalibration, KrusellSmithGame
from structmfg.games.models.economics._macro import Macro
from structmfg.games.models.economics._trade_crowding import TradeCrowding

__all__ = [
    "BankRun",
    "CarmonaFouqueSun",
    "ElectricityStorage",
    "EquilibriumPrice",
    "HuggettShocks",
    "KrusellSmithCalibration",
    "KrusellSmithGame",
    "Macro",
    "TradeCrowding",
]
