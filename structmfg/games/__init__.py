"""Games, one file each, and `make`, which builds one by name."""

import dataclasses
from typing import Any

from structmfg._checks import check_name
from structmfg.games._base import AggregateState, Game, Noise, NoisePaths, as_game, check_game
from structmfg.games._beach_bar import BeachBar, BeachBarCrowded, BeachNoise
from structmfg.games._carmona_fouque_sun import CarmonaFouqueSun
from structmfg.games._crowd_modelling import CrowdModelling
from structmfg.games._left_right import LeftRight
from structmfg.games._linear_quadratic import LinearQuadratic
from structmfg.games._macro import Macro
from structmfg.games._noise_chain import MAX_SCENARIOS, NoiseChain, rouwenhorst, tauchen
from structmfg.games._noise_paths import Sampling, innovations, noise_path, noise_paths
from structmfg.games._noise_tree import NoiseTree, histories, noise_tree, tree_of
from structmfg.games._population import Observation, PopulationGame, PopulationState, count, draw_actions, move
from structmfg.games._sampling import draw
from structmfg.games._validate import check_definition, check_kernel, check_noise_is_told_apart, check_pieces

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
    "BeachBar",
    "BeachBarCrowded",
    "BeachNoise",
    "CarmonaFouqueSun",
    "CrowdModelling",
    "Game",
    "LeftRight",
    "LinearQuadratic",
    "Macro",
    "Noise",
    "NoiseChain",
    "NoisePaths",
    "NoiseTree",
    "Observation",
    "PopulationGame",
    "PopulationState",
    "Sampling",
    "as_game",
    "check_definition",
    "check_game",
    "check_kernel",
    "check_noise_is_told_apart",
    "check_pieces",
    "count",
    "draw",
    "draw_actions",
    "histories",
    "innovations",
    "make",
    "move",
    "noise_path",
    "noise_paths",
    "noise_tree",
    "rouwenhorst",
    "tauchen",
    "tree_of",
]
