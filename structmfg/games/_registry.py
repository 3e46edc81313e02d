"""The games that have a name, and `make`, which builds one of them by its name."""

import dataclasses
from typing import Any

from structmfg._checks import check_name
from structmfg.games._base import Game
from structmfg.games._beach_bar import BeachBar, BeachBarCrowded
from structmfg.games._carmona_fouque_sun import CarmonaFouqueSun
from structmfg.games._crowd_modelling import CrowdModelling
from structmfg.games._left_right import LeftRight
from structmfg.games._linear_quadratic import LinearQuadratic
from structmfg.games._macro import Macro

GAMES: dict[str, type[Game]] = {
    "beach_bar": BeachBar,
    "beach_bar_crowded": BeachBarCrowded,
    "carmona_fouque_sun": CarmonaFouqueSun,
    "crowd_modelling": CrowdModelling,
    "left_right": LeftRight,
    "linear_quadratic": LinearQuadratic,
    "macro": Macro,
}


def make(name: str, **parameters: Any) -> Game:
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
    allowed = [field.name for field in dataclasses.fields(GAMES[name])]  # type: ignore[arg-type]
    for parameter in parameters:
        check_name(f"parameter of {name}", parameter, allowed)
    return GAMES[name](**parameters)


def game_name(game: Game) -> str:
    """The name under which `make` builds this kind of game, or else the name of its class."""
    return next((name for name, kind in GAMES.items() if type(game) is kind), type(game).__name__)
