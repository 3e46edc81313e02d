"""Games, one file each, and `make`, which builds one by name; economies, of `KrusellSmith` with common noise."""

import dataclasses
from typing import Any

from structmfg._checks import check_name
from structmfg.games._aiyagari import Aiyagari, AiyagariCalibration
from structmfg.games._base import AggregateState, Game, Noise, NoisePaths, as_game, check_game
from structmfg.games._beach_bar import BeachBar, BeachNoise
from structmfg.games._beach_bar_crowded import BeachBarCrowded
from structmfg.games._carmona_fouque_sun import CarmonaFouqueSun
from structmfg.games._chain import MAX_SCENARIOS, NoiseChain, rouwenhorst, tauchen
from structmfg.games._crowd_modelling import CrowdModelling
from structmfg.games._economy import Economy, Household, Income
from structmfg.games._huggett import Huggett
from structmfg.games._krusell_smith import KrusellSmith
from structmfg.games._left_right import LeftRight
from structmfg.games._linear_quadratic import LinearQuadratic
from structmfg.games._macro import Macro
from structmfg.games._noise import Sampling, innovations, noise_path, noise_paths
from structmfg.games._population import PopulationGame, PopulationState, Seen
from structmfg.games._tree import NoiseTree, histories, noise_tree, tree_of

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
    """The game of this name. `ValueError` on an unknown name or parameter (with the nearest ones), or a bad value."""
    check_name("game", name, GAMES)
    allowed = [field.name for field in dataclasses.fields(GAMES[name])]  # type: ignore[arg-type]
    for parameter in parameters:
        check_name(f"parameter of {name}", parameter, allowed)
    return GAMES[name](**parameters)


__all__ = [
    "GAMES",
    "MAX_SCENARIOS",
    "AggregateState",
    "Aiyagari",
    "AiyagariCalibration",
    "BeachBar",
    "BeachBarCrowded",
    "BeachNoise",
    "CarmonaFouqueSun",
    "CrowdModelling",
    "Economy",
    "Game",
    "Household",
    "Huggett",
    "Income",
    "KrusellSmith",
    "LeftRight",
    "LinearQuadratic",
    "Macro",
    "Noise",
    "NoiseChain",
    "NoisePaths",
    "NoiseTree",
    "PopulationGame",
    "PopulationState",
    "Sampling",
    "Seen",
    "as_game",
    "check_game",
    "histories",
    "innovations",
    "make",
    "noise_path",
    "noise_paths",
    "noise_tree",
    "rouwenhorst",
    "tauchen",
    "tree_of",
]
