"""Games; `make`, which builds one by name; common noise as paths, chains and trees; and populations.

A game of your own is a subclass of `Game`: see `examples/own_game.py`, and `examples/own_figure.py` for its figures.
"""

import importlib
import warnings
from typing import Any

from structmfg.games._aggregate import (
    AggregateState,
    Noise,
    NoisePaths,
    Population,
    check_block_masses,
    check_blocks_closed,
    kept_in_blocks,
)
from structmfg.games._base import FORBIDDEN_REWARD, Game
from structmfg.games._kinds import NoiselessGame
from structmfg.games._market import market_tolerance
from structmfg.games._noise_chain import MAX_SCENARIOS, NoiseChain, rouwenhorst, tauchen
from structmfg.games._noise_paths import Sampling, innovations, noise_path, noise_paths
from structmfg.games._noise_tree import NoiseTree, history_indices, noise_tree, tree_of
from structmfg.games._population import Observation, PopulationGame, PopulationState, sample_next_states
from structmfg.games._registry import GAMES, game_name, make, parameter_fields, register
from structmfg.games._sampling import (
    count_agents,
    draw_actions,
    draw_categorical,
    normal_quadrature,
)
from structmfg.games._sampling import (
    inside_unit_interval as inside_unit_interval,
)
from structmfg.games._shapes import check_kernel
from structmfg.games._validate import (
    aggregate_functions,
    aggregates_are_mean_field,
    as_game,
    check_definition,
    check_game,
    check_game_at_start,
    check_noise_is_distinguishable,
    check_stationary,
    checked_state_axes,
    truncated,
)
from structmfg.games._vector import as_vector, from_vector, num_entries
from structmfg.games.arrays import ArrayGame, from_arrays
from structmfg.games.imports import (
    OPENSPIEL_PREFIX,
    ImportedGame,
    MFGLibGame,
    OpenSpielGame,
    from_benchmfg,
    from_mfglib,
    from_openspiel,
    openspiel_class,
    openspiel_name_of,
)
from structmfg.games.models import (
    BankRun,
    BeachBar,
    BeachBarCrowded,
    BeachNoise,
    Botnet,
    BuildingEvacuation,
    CarmonaFouqueSun,
    CrowdModelling,
    CrowdModelling2d,
    Demand,
    ElectricityStorage,
    Epidemic,
    EquilibriumPrice,
    Garnet,
    HuggettShocks,
    KrusellSmithCalibration,
    KrusellSmithGame,
    LeftRight,
    LinearQuadratic,
    Link,
    Macro,
    Network,
    PredatorPrey,
    Routing,
    SusceptibleInfected,
    TradeCrowding,
)
from structmfg.games.stationary import FourRooms, LasryLionsChain, RockPaperScissors, SISEpidemic, TwoBeachBars

__all__ = [
    "FORBIDDEN_REWARD",
    "GAMES",
    "MAX_SCENARIOS",
    "OPENSPIEL_PREFIX",
    "AggregateState",
    "ArrayGame",
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
    "FourRooms",
    "Game",
    "Garnet",
    "HuggettShocks",
    "ImportedGame",
    "KrusellSmithCalibration",
    "KrusellSmithGame",
    "LasryLionsChain",
    "LeftRight",
    "LinearQuadratic",
    "Link",
    "MFGLibGame",
    "Macro",
    "Network",
    "Noise",
    "NoiseChain",
    "NoisePaths",
    "NoiseTree",
    "NoiselessGame",
    "Observation",
    "OpenSpielGame",
    "Population",
    "PopulationGame",
    "PopulationState",
    "PredatorPrey",
    "RockPaperScissors",
    "Routing",
    "SISEpidemic",
    "Sampling",
    "SusceptibleInfected",
    "TradeCrowding",
    "TwoBeachBars",
    "aggregate_functions",
    "aggregates_are_mean_field",
    "as_game",
    "as_vector",
    "check_block_masses",
    "check_blocks_closed",
    "check_definition",
    "check_game",
    "check_game_at_start",
    "check_kernel",
    "check_noise_is_distinguishable",
    "check_stationary",
    "checked_state_axes",
    "count_agents",
    "draw_actions",
    "draw_categorical",
    "from_arrays",
    "from_benchmfg",
    "from_mfglib",
    "from_openspiel",
    "from_vector",
    "game_name",
    "history_indices",
    "innovations",
    "kept_in_blocks",
    "make",
    "market_tolerance",
    "noise_path",
    "noise_paths",
    "noise_tree",
    "normal_quadrature",
    "num_entries",
    "openspiel_class",
    "openspiel_name_of",
    "parameter_fields",
    "register",
    "rouwenhorst",
    "sample_next_states",
    "tauchen",
    "tree_of",
    "truncated",
]

_MOVED_TO_ECONOMIES = ("Aiyagari", "AiyagariCalibration", "Economy", "Household", "Huggett", "Income", "KrusellSmith")


def __getattr__(name: str) -> Any:
    """The economies under the names that they had here once, with a `DeprecationWarning`."""
    if name in _MOVED_TO_ECONOMIES:
        warnings.warn(
            f"structmfg.games.{name} has moved to structmfg.economies.{name}", DeprecationWarning, stacklevel=2
        )
        return getattr(importlib.import_module("structmfg.economies"), name)
    raise AttributeError(f"module 'structmfg.games' has no attribute {name!r}")
