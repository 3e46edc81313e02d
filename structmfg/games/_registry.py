"""The games that have a name, and `make`, which builds one of them by its name."""

import dataclasses
from typing import Any, TypeVar

from structmfg._checks import check_name
from structmfg.games._base import Game
from structmfg.games.models import (
    BankRun,
    BeachBar,
    BeachBarCrowded,
    Botnet,
    BuildingEvacuation,
    CarmonaFouqueSun,
    CrowdModelling,
    CrowdModelling2d,
    ElectricityStorage,
    Epidemic,
    EquilibriumPrice,
    Garnet,
    HuggettShocks,
    KrusellSmithGame,
    LeftRight,
    LinearQuadratic,
    Macro,
    PredatorPrey,
    Routing,
    SusceptibleInfected,
    TradeCrowding,
)
from structmfg.games.stationary import FourRooms, LasryLionsChain, RockPaperScissors, SISEpidemic, TwoBeachBars

GAMES: dict[str, type[Game]] = {
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
_BUILT_IN = frozenset(GAMES)
_Kind = TypeVar("_Kind", bound=type[Game])


def register(kind: _Kind, name: str | None = None) -> _Kind:
    """Give a game of your own a name, under which `make` and run folders find it in this process.

    Args:
        kind: The class of the game. Its dataclass fields, if it has some, are its parameters.
        name: The name; by default "module:Class".

    Returns:
        The class, so that this can decorate it.

    Raises:
        ValueError: `kind` is no class of games, or the name is that of a game of the package.
    """
    if not (isinstance(kind, type) and issubclass(kind, Game)):
        raise ValueError(f"kind must be a subclass of structmfg.Game, but is {kind!r:.80}")
    name = f"{kind.__module__}:{kind.__qualname__}" if name is None else name
    if name in _BUILT_IN and GAMES[name] is not kind:
        raise ValueError(f"{name!r} is the name of a game of the package")
    GAMES[name] = kind
    return kind


def parameter_fields(kind: type[Game]) -> list[dataclasses.Field[Any]]:
    """The fields with which a game of this class is made: those of a dataclass, or none."""
    return [field for field in dataclasses.fields(kind) if field.init] if dataclasses.is_dataclass(kind) else []


def make(name: str, /, **parameters: Any) -> Game:
    """Build a game by its name.

    Args:
        name: One of `GAMES`, for instance "beach_bar".
        **parameters: The fields of the game's class that differ from their defaults.

    Returns:
        The game.

    Raises:
        ValueError: If the name or a parameter is unknown (the message has the nearest ones), or a value is bad.
    """
    check_name("game", name, GAMES)
    allowed = [field.name for field in parameter_fields(GAMES[name])]
    for parameter in parameters:
        check_name(f"parameter of {name}", parameter, allowed)
    if GAMES[name].__module__.partition(".")[0] == "structmfg":  # its messages say what is wrong
        return GAMES[name](**parameters)
    try:
        return GAMES[name](**parameters)
    except Exception as error:  # whatever a user's class raises
        raise ValueError(f"{name} cannot be made: {type(error).__name__}: {error}") from error


def game_name(game: Game) -> str:
    """The name under which `make` builds this kind of game, or else the name of its class."""
    return next((name for name, kind in GAMES.items() if type(game) is kind), type(game).__name__)
