"""The games in plain NumPy with loops, written from their definitions, with which the package's games are compared.

These files import nothing but NumPy and the standard library, so that they share no code, and no mistake, with what
they check. A model of your own for your own game is any object with the methods of `Model`.
"""

from typing import Any

from structmfg.verification.oracles._contagion import Botnet, SusceptibleInfected
from structmfg.verification.oracles._crowds import BuildingEvacuation, CrowdModelling2d, Garnet
from structmfg.verification.oracles._declared import Epidemic, TradeCrowding
from structmfg.verification.oracles._economists import HuggettShocks, KrusellSmithGame
from structmfg.verification.oracles._faced_population import FacedPopulation, faced_population, known_by, policy_values
from structmfg.verification.oracles._histories import (
    Histories,
    PrivateHistory,
    TooLargeError,
    best_with_history,
    best_without_history,
    follow_histories,
    private_history,
)
from structmfg.verification.oracles._markets import BankRun, ElectricityStorage, EquilibriumPrice
from structmfg.verification.oracles._model import Common, Listed, Model, Rollout, moves, rollout
from structmfg.verification.oracles._paper import BeachBar, LinearQuadratic, Macro
from structmfg.verification.oracles._stationary import (
    FourRooms,
    LasryLionsChain,
    RockPaperScissors,
    SISEpidemic,
    TwoBeachBars,
)
from structmfg.verification.oracles._traffic import Routing
from structmfg.verification.oracles._variants import (
    BeachBarCrowded,
    CarmonaFouqueSun,
    CrowdModelling,
    LeftRight,
    PredatorPrey,
)

MODELS: dict[str, type[Listed]] = {
    "bank_run": BankRun,
    "beach_bar": BeachBar,
    "beach_bar_crowded": BeachBarCrowded,
    "botnet": Botnet,
    "building_evacuation": BuildingEvacuation,
    "carmona_fouque_sun": CarmonaFouqueSun,
    "crowd_modelling": CrowdModelling,
    "crowd_modelling_2d": CrowdModelling2d,
    "electricity_storage": ElectricityStorage,
    "epidemic": Epidemic,
    "equilibrium_price": EquilibriumPrice,
    "four_rooms": FourRooms,
    "garnet": Garnet,
    "huggett_shocks": HuggettShocks,
    "krusell_smith": KrusellSmithGame,
    "lasry_lions": LasryLionsChain,
    "left_right": LeftRight,
    "linear_quadratic": LinearQuadratic,
    "macro": Macro,
    "predator_prey": PredatorPrey,
    "rock_paper_scissors": RockPaperScissors,
    "routing": Routing,
    "sis": SISEpidemic,
    "susceptible_infected": SusceptibleInfected,
    "trade_crowding": TradeCrowding,
    "two_beach_bars": TwoBeachBars,
}


def model(game: Any) -> Model | None:
    """The model of a game of this package, made with its parameters; None for other games, subclasses among them.

    A model's class has the name of its game's class.
    """
    kind = type(game)
    for candidate in MODELS.values():
        if candidate.__name__ == kind.__name__ and kind.__module__.startswith("structmfg.games."):
            return candidate(game)
    return None


__all__ = [
    "MODELS",
    "BankRun",
    "BeachBar",
    "BeachBarCrowded",
    "Botnet",
    "BuildingEvacuation",
    "CarmonaFouqueSun",
    "Common",
    "CrowdModelling",
    "CrowdModelling2d",
    "ElectricityStorage",
    "EquilibriumPrice",
    "FacedPopulation",
    "FourRooms",
    "Garnet",
    "Histories",
    "HuggettShocks",
    "KrusellSmithGame",
    "LasryLionsChain",
    "LeftRight",
    "LinearQuadratic",
    "Listed",
    "Macro",
    "Model",
    "PredatorPrey",
    "PrivateHistory",
    "RockPaperScissors",
    "Rollout",
    "Routing",
    "SISEpidemic",
    "SusceptibleInfected",
    "TooLargeError",
    "TwoBeachBars",
    "best_with_history",
    "best_without_history",
    "faced_population",
    "follow_histories",
    "known_by",
    "model",
    "moves",
    "policy_values",
    "private_history",
    "rollout",
]
