"""Settings by name: what `structmfg solve GAME` uses, and the published algorithm as a yardstick."""

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, get_args

from structmfg._checks import check_integer, check_kind, check_name
from structmfg.games import BeachBar, BeachBarCrowded, Game, LinearQuadratic, Macro
from structmfg.policies import BinnedPolicy, BinnedSettings, NetworkSettings, binned, network_policy
from structmfg.solvers._base import AnySolver, TrainingSolver, TreeSolver
from structmfg.solvers.exact import (
    ExactEquilibrium,
    FictitiousPlay,
    FixedPoint,
    MunchausenMirrorDescent,
    OnlineMirrorDescent,
    PolicyIteration,
    PriorDescent,
)
from structmfg.solvers.gradient import RSPG, SPG, TabularSPG, WindowedRSPG
from structmfg.solvers.sampled import IPPO, RIPPO, MunchausenOMD

SOLVERS: dict[str, type[TrainingSolver] | type[TreeSolver]] = {
    "rspg": RSPG,
    "rspg_gae": WindowedRSPG,
    "spg": SPG,
    "tabular_spg": TabularSPG,
    "ippo": IPPO,
    "rippo": RIPPO,
    "m_omd": MunchausenOMD,
    "exact": ExactEquilibrium,
    "fictitious_play": FictitiousPlay,
    "fixed_point": FixedPoint,
    "mirror_descent": OnlineMirrorDescent,
    "munchausen": MunchausenMirrorDescent,
    "policy_iteration": PolicyIteration,
    "prior_descent": PriorDescent,
}

PresetName = Literal["default", "paper"]

# The algorithm as published: one network over states and history, no clock, independent paths, no entropy bonus.
_PAPER_NETWORK: dict[str, Any] = {"architecture": "joint", "clock": False}
_PAPER: dict[str, Any] = {
    "num_paths": 8,
    "sampling": "iid",
    "learning_rate": 1e-3,
    "schedule": "linear",
    "final_rate": 0.1,
    "clip": 1.0,
    "temperature": 0.0,
    "max_steps": 200,
}

# What suits a game: its network, by the name of the solver or for all of them, and the solver's hyper-parameters.
_NETWORKS: dict[type[Game], dict[str, Any]] = {
    LinearQuadratic: {"frequencies": 8},
    BeachBar: {"frequencies": 16},
    BeachBarCrowded: {"frequencies": 16},
    Macro: {"head": "ordered", "frequencies": 4},
}
_STRUCTURAL: dict[type[Game], dict[str, Any]] = {
    LinearQuadratic: {
        "num_paths": 2,
        "learning_rate": 1e-2,
        "temperature": 100.0,
        "final_temperature": 0.05,
        "max_steps": 4000,
    },
    BeachBar: {
        "num_paths": 16,
        "learning_rate": 5e-3,
        "temperature": 20.0,
        "final_temperature": 0.01,
        "max_steps": 1000,
    },
    Macro: {
        "num_paths": 2,
        "learning_rate": 2e-2,
        "temperature": 0.03,
        "final_temperature": 1e-4,
        "gradient_discount": 0.98,
        "max_steps": 400,
    },
}
_STRUCTURAL[BeachBarCrowded] = _STRUCTURAL[BeachBar]
_WINDOWED: dict[type[Game], dict[str, Any]] = {
    LinearQuadratic: _STRUCTURAL[LinearQuadratic],
    BeachBar: _STRUCTURAL[BeachBar],
    BeachBarCrowded: _STRUCTURAL[BeachBarCrowded],
    Macro: {**_STRUCTURAL[Macro], "trace": 0.95, "max_steps": 1200},
}
# Every entry of a table learns by itself, at a rate of its own; what the normalised observations range over.
_TABLES: dict[type[Game], dict[str, Any]] = {
    LinearQuadratic: {**_STRUCTURAL[LinearQuadratic], "bins": 64, "learning_rate": 0.1},
    BeachBar: {
        **_STRUCTURAL[BeachBar],
        "bins": (1, 2, 51),
        "lowest": (0.0, 0.0, 0.25),
        "highest": (1.0, 1.0, 0.75),
        "learning_rate": 0.1,
    },
    Macro: {
        **_STRUCTURAL[Macro],
        "bins": (1, 4),
        "lowest": (0.05, 0.4),
        "highest": (0.4, 2.0),
        "learning_rate": 0.3,
        "max_steps": 1000,
    },
}
_TABLES[BeachBarCrowded] = _TABLES[BeachBar]
_PROXIMAL: dict[type[Game], dict[str, Any]] = {
    LinearQuadratic: {"entropy": 1e-3, "max_steps": 400},
    BeachBar: {"max_steps": 500},
    Macro: {"entropy": 1e-3, "rollout": 128, "max_steps": 300},
}
_PROXIMAL[BeachBarCrowded] = _PROXIMAL[BeachBar]
_OFTEN: dict[str, Any] = {  # shorter iterations than published, so that there are more of them
    "num_gradients": 50,
    "steps_per_gradient": 4,
    "together": 16,
    "alpha": 0.95,
    "final_exploration": 0.02,
    "learning_rate": 3e-3,
}
_MUNCHAUSEN: dict[type[Game], dict[str, Any]] = {
    LinearQuadratic: {**_OFTEN, "tau": 5.0, "max_steps": 400},
    BeachBar: {**_OFTEN, "tau": 5.0, "max_steps": 200},
    Macro: {**_OFTEN, "head": "categorical", "tau": 0.05, "together": 64, "steps_per_gradient": 2, "max_steps": 200},
}
_MUNCHAUSEN[BeachBarCrowded] = _MUNCHAUSEN[BeachBar]
# Other games: runs of a length that ends in minutes.
_UNTUNED: dict[str, dict[str, Any]] = {
    "ippo": {"max_steps": 400},
    "rippo": {"max_steps": 400},
    "m_omd": {**_OFTEN, "tau": 1.0, "max_steps": 200},
}
_BY_SOLVER: dict[str, dict[type[Game], dict[str, Any]]] = {
    "rspg": _STRUCTURAL,
    "rspg_gae": _WINDOWED,
    "spg": _STRUCTURAL,
    "tabular_spg": _TABLES,
    "ippo": _PROXIMAL,
    "rippo": _PROXIMAL,
    "m_omd": _MUNCHAUSEN,
}

# Solvers on noise trees: the tolerance is in units of the return; zero is to make all steps.
_TREE_DEFAULTS: dict[str, dict[str, Any]] = {"exact": {"tolerance": 1e-4, "max_steps": 2000}}


class Preset(NamedTuple):
    """A solver, and the number of steps that it is meant to make."""

    solver: AnySolver
    max_steps: int


def preset(game: Game, solver: str = "rspg", name: PresetName = "default", **overrides: Any) -> Preset:
    """A solver by name ("rspg", "exact", ...) with the settings that suit the game, or with those of the paper.

    Args:
        game: The game.
        solver: One of the names in `SOLVERS`.
        name: "default", or "paper" for the published algorithm.
        **overrides: Fields of the solver; of solvers that train a network, those of `policies.NetworkSettings` too, of
            tables those of `policies.BinnedSettings`; or `max_steps`.

    Returns:
        The solver, with a policy that is bound to the game where it trains one, and the number of steps.

    Raises:
        ValueError: A name or a setting is unknown, or the solver has no preset "paper".
    """
    check_kind("game", game, Game)
    check_name("solver", solver, SOLVERS)
    check_name("preset", name, get_args(PresetName))
    kind = SOLVERS[solver]
    if issubclass(kind, TreeSolver):
        if name != "default":
            raise ValueError(f"preset {name!r} is for rspg and spg; {solver} has only the default one")
        settings = {**_TREE_DEFAULTS.get(solver, {"max_steps": 500}), **overrides}
        settings["max_steps"] = check_integer("max_steps", settings["max_steps"], at_least=1)
        chosen = _chosen(solver, settings, [field.name for field in dataclasses.fields(kind)], overrides)
        return Preset(kind(**chosen), settings["max_steps"])
    tabular = issubclass(kind.trains, BinnedPolicy)
    fields = BinnedSettings._fields if tabular else NetworkSettings._fields
    of_policy = [field for field in fields if field != "recurrent"]
    settings = {**_suited(game, solver, name), **overrides}
    settings["max_steps"] = check_integer("max_steps", settings["max_steps"], at_least=1)
    if settings.get("temperature") == 0 and "final_temperature" not in overrides:
        settings["final_temperature"] = 0.0
    of_solver = [field.name for field in dataclasses.fields(kind) if field.name != "policy"]
    chosen = _chosen(solver, settings, of_solver, overrides, also=of_policy)
    shape = {field: settings[field] for field in of_policy if field in settings}
    policy = binned(game, **shape) if tabular else network_policy(game, recurrent=kind.recurrent, **shape)
    return Preset(kind(policy, **chosen), settings["max_steps"])


def _suited(game: Game, solver: str, name: PresetName) -> dict[str, Any]:
    """The settings of a preset for a solver that trains a network."""
    if name == "paper":
        if solver not in ("rspg", "spg"):
            raise ValueError(f"preset {name!r} is for rspg and spg; {solver} has only the default one")
        return {**_PAPER_NETWORK, **_PAPER}
    suited = _BY_SOLVER[solver].get(type(game), _UNTUNED.get(solver, {}))
    return {"max_steps": 2000, **_NETWORKS.get(type(game), {}), **suited}


def _chosen(
    solver: str, settings: dict[str, Any], fields: list[str], overrides: Iterable[str], also: Iterable[str] = ()
) -> dict[str, Any]:
    """The settings that are fields of the solver."""
    for setting in overrides:
        check_name(f"setting of {solver}", setting, [*fields, *also, "max_steps"])
    return {field: settings[field] for field in fields if field in settings}
