"""Games, one file each, and `make`, which builds one by name; economies without common noise."""

import dataclasses
from typing import Any

from structmfg._checks import check_name
from structmfg.games._aiyagari import Aiyagari, AiyagariCalibration
from structmfg.games._base import AggregateState, Game, Noise, NoisePaths, check_game
from structmfg.games._beach_bar import BeachBar, BeachNoise
from structmfg.games._chain import MAX_SCENARIOS, NoiseChain, rouwenhorst, tauchen
from structmfg.games._economy import Economy, Household, Income
from structmfg.games._huggett import Huggett
from structmfg.games._linear_quadratic import LinearQuadratic
from structmfg.games._macro import Macro
from structmfg.games._noise import Sampling, innovations, noise_path, noise_paths

GAMES: dict[str, type[Game]] = {
    "beach_bar": BeachBar,
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
    "BeachNoise",
    "Economy",
    "Game",
    "Household",
    "Huggett",
    "Income",
    "LinearQuadratic",
    "Macro",
    "Noise",
    "NoiseChain",
    "NoisePaths",
    "Sampling",
    "check_game",
    "innovations",
    "make",
    "noise_path",
    "noise_paths",
    "rouwenhorst",
    "tauchen",
]
