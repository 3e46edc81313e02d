"""Settings by name: what `structmfg solve GAME` uses, and the published algorithm as a yardstick."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple, TypeVar, get_args

from structmfg._checks import check_integer, check_kind, check_name
from structmfg.games import (
    BankRun,
    BeachBar,
    BeachBarCrowded,
    Botnet,
    BuildingEvacuation,
    CrowdModelling,
    CrowdModelling2d,
    ElectricityStorage,
    Epidemic,
    EquilibriumPrice,
    Game,
    Garnet,
    HuggettShocks,
    KrusellSmithGame,
    LinearQuadratic,
    Macro,
    Routing,
    SusceptibleInfected,
)
from structmfg.policies import (
    BinnedPolicy,
    BinnedSettings,
    NetworkPolicy,
    NetworkSettings,
    ParametricPolicy,
    binned,
    network_policy,
)
from structmfg.solvers._base import AnySolver, TrainingSolver, TreeSolver, check_horizon
from structmfg.solvers._former_names import check_present_names
from structmfg.solvers._scale import entropy_bonus
from structmfg.solvers.exact import (
    AcceleratedMirrorDescent,
    ExactEquilibrium,
    FictitiousPlay,
    FixedPoint,
    MunchausenMirrorDescent,
    OccupationInclusion,
    OccupationMeasureOptimisation,
    OnlineMirrorDescent,
    PolicyIteration,
    PriorDescent,
)
from structmfg.solvers.gradient import RSPG, SPG, DeepFictitiousPlay, TabularSPG, WindowedRSPG
from structmfg.solvers.infinite_horizon import StationaryMeanFieldEquilibrium
from structmfg.solvers.sampled import IPPO, RIPPO, MunchausenOMD

SOLVERS: dict[str, type[TrainingSolver] | type[TreeSolver]] = {
    "rspg": RSPG,
    "rspg_gae": WindowedRSPG,
    "spg": SPG,
    "tabular_spg": TabularSPG,
    "deep_fictitious_play": DeepFictitiousPlay,
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
    "accelerated_mirror_descent": AcceleratedMirrorDescent,
    "occupation_inclusion": OccupationInclusion,
    "mf_omo": OccupationMeasureOptimisation,
    "stationary": StationaryMeanFieldEquilibrium,
}
_BUILT_IN = frozenset(SOLVERS)
_Kind = TypeVar("_Kind", bound=type[TrainingSolver] | type[TreeSolver])

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
    CrowdModelling2d: {"frequencies": 8},
    Macro: {"head": "ordered", "frequencies": 4},
    HuggettShocks: {"head": "ordered", "frequencies": 4},
    KrusellSmithGame: {"head": "ordered", "frequencies": 4},
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
_STRUCTURAL[HuggettShocks] = {
    "num_paths": 2,
    "learning_rate": 1e-2,
    "temperature": 0.03,
    "final_temperature": 1e-4,
    "gradient_discount": 0.99,
    "max_steps": 40,
}
_STRUCTURAL[KrusellSmithGame] = {**_STRUCTURAL[HuggettShocks], "max_steps": 250}
_STRUCTURAL[BeachBarCrowded] = _STRUCTURAL[BeachBar]
_STRUCTURAL[Epidemic] = {
    "num_paths": 16,
    "learning_rate": 5e-3,
    "temperature": 0.2,
    "final_temperature": 1e-3,
    "max_steps": 1000,
}
_STRUCTURAL[Routing] = {"temperature": 0.3, "final_temperature": 1e-3, "max_steps": 800}
_STRUCTURAL |= dict.fromkeys((Garnet, SusceptibleInfected, BankRun), _STRUCTURAL[Routing])
_STRUCTURAL[Botnet] = {**_STRUCTURAL[Routing], "num_paths": 16, "learning_rate": 5e-3}
_CROWD = {**_STRUCTURAL[Routing], "learning_rate": 5e-3, "final_temperature": 1e-4, "max_steps": 4000}
_STRUCTURAL |= dict.fromkeys((CrowdModelling, CrowdModelling2d), _CROWD)
_STRUCTURAL[BuildingEvacuation] = {
    "learning_rate": 1e-2,
    "temperature": 0.05,
    "final_temperature": 1e-5,
    "max_steps": 800,
}
_STRUCTURAL[ElectricityStorage] = {**_STRUCTURAL[Routing], "num_paths": 8, "learning_rate": 1e-2, "max_steps": 300}
_STRUCTURAL[EquilibriumPrice] = {**_STRUCTURAL[Routing], "learning_rate": 1e-2, "temperature": 3.0, "max_steps": 600}
# RSPG has more: the entropy bonus ends far below the gaps between action values, as a policy loses about its weight at
# every step; and policies of `skip` with `policy_exponent` switch from one step to the next.
_QUICK: dict[str, Any] = {"policy_exponent": 0.5, "adam_b2": 0.98, "skip": True}
_RECURRENT: dict[type[Game], dict[str, Any]] = {
    **_STRUCTURAL,
    LinearQuadratic: {**_STRUCTURAL[LinearQuadratic], "final_temperature": 1e-3},
    BeachBar: {**_STRUCTURAL[BeachBar], **_QUICK, "frequencies": 32, "final_temperature": 1e-3},
    Macro: {**_STRUCTURAL[Macro], **_QUICK, "final_temperature": 1e-5, "max_steps": 370},
}
_WINDOWED: dict[type[Game], dict[str, Any]] = {
    LinearQuadratic: _STRUCTURAL[LinearQuadratic],
    BeachBar: _STRUCTURAL[BeachBar],
    BeachBarCrowded: _STRUCTURAL[BeachBarCrowded],
    Macro: {**_STRUCTURAL[Macro], "gae_lambda": 0.95, "max_steps": 1200},
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
    "agents_per_observation": 16,
    "alpha": 0.95,
    "final_exploration": 0.02,
    "learning_rate": 3e-3,
}
_MUNCHAUSEN: dict[type[Game], dict[str, Any]] = {
    LinearQuadratic: {**_OFTEN, "tau": 5.0, "max_steps": 400},
    BeachBar: {**_OFTEN, "tau": 5.0, "max_steps": 200},
    Macro: {
        **_OFTEN,
        "head": "categorical",
        "tau": 0.05,
        "agents_per_observation": 64,
        "steps_per_gradient": 2,
        "max_steps": 200,
    },
}
_MUNCHAUSEN[BeachBarCrowded] = _MUNCHAUSEN[BeachBar]
# Other games: an entropy bonus of the scale of their action values, and runs of a length that ends in minutes.
_OF_GRADIENTS = ("rspg", "rspg_gae", "spg", "tabular_spg")
_UNTUNED: dict[str, dict[str, Any]] = {
    "ippo": {"max_steps": 400},
    "rippo": {"max_steps": 400},
    "m_omd": {**_OFTEN, "tau": 1.0, "max_steps": 200},
}
_BY_SOLVER: dict[str, dict[type[Game], dict[str, Any]]] = {
    "rspg": _RECURRENT,
    "rspg_gae": _WINDOWED,
    "spg": _STRUCTURAL,
    "tabular_spg": _TABLES,
    "ippo": _PROXIMAL,
    "rippo": _PROXIMAL,
    "m_omd": _MUNCHAUSEN,
}

# Solvers on noise trees: the tolerance is in units of the return; zero is to make all steps.
_TREE_DEFAULTS: dict[str, dict[str, Any]] = {
    "exact": {"tolerance": 1e-4, "max_steps": 2000},
    "stationary": {"max_steps": 200},
}
_EXACT: dict[type[Game], dict[str, Any]] = {
    BeachBarCrowded: {"tolerance": 4e-4},  # a millionth of what the uniform policy loses
}

# Games for which training is not the first choice. The gradient weighs a state by its mass, and where agents dislike a
# crowd, it is in the states of little mass that they would gain.
_DEFAULT_SOLVERS: dict[type[Game], str] = {BeachBarCrowded: "exact"}


def register(kind: _Kind, name: str | None = None) -> _Kind:
    """Give a solver of your own a name, under which `preset` and run folders find it in this process.

    Args:
        kind: A subclass of `TrainingSolver` or `TreeSolver`. Its fields are its settings.
        name: The name; by default "module:Class".

    Returns:
        The class, so that this can decorate it.

    Raises:
        ValueError: `kind` is no such class, or the name is that of a solver of the package.
    """
    if not (isinstance(kind, type) and issubclass(kind, TrainingSolver | TreeSolver)):
        raise ValueError(f"kind must be a subclass of TrainingSolver or TreeSolver, but is {kind!r:.80}")
    name = f"{kind.__module__}:{kind.__qualname__}" if name is None else name
    if name in _BUILT_IN and SOLVERS[name] is not kind:
        raise ValueError(f"{name!r} is the name of a solver of the package")
    SOLVERS[name] = kind
    return kind


def policy_settings(kind: type[TrainingSolver] | type[TreeSolver]) -> type[Any] | None:
    """The settings of the policy that solvers of this class train: of a network, of a table, or none."""
    if issubclass(kind, TrainingSolver):
        if issubclass(kind.trains, BinnedPolicy):
            return BinnedSettings
        if issubclass(kind.trains, NetworkPolicy):
            return NetworkSettings
    return None


def default_solver(game: Game) -> str:
    """The name of the solver that `preset` takes for a game: "stationary" without a horizon, mostly "rspg" with one."""
    return "stationary" if game.horizon is None else _DEFAULT_SOLVERS.get(type(game), "rspg")


class Preset(NamedTuple):
    """A solver, and the number of steps that it is meant to make."""

    solver: AnySolver
    max_steps: int


def preset(
    game: Game,
    solver: str | None = None,
    name: PresetName = "default",
    *,
    policy: Callable[[Game], ParametricPolicy] | None = None,
    **overrides: Any,
) -> Preset:
    """A solver by name ("rspg", "exact", ...) with the settings that suit the game, or with those of the paper.

    Args:
        game: The game.
        solver: One of the names in `SOLVERS`; by default that of `default_solver`.
        name: "default", or "paper" for the published algorithm.
        policy: A function that makes the policy to train, given the game, in place of the solver's own network or
            table: for instance one that calls `policies.from_functions`.
        **overrides: Fields of the solver; of solvers that train a network, those of `policies.NetworkSettings` too, of
            tables those of `policies.BinnedSettings`; or `max_steps`.

    Returns:
        The solver, with a policy that is bound to the game where it trains one, and the number of steps.

    Raises:
        ValueError: A name or a setting is unknown, the solver has no preset "paper", or trains no such policy.
    """
    check_kind("game", game, Game)
    solver = default_solver(game) if solver is None else solver
    check_name("solver", solver, SOLVERS)
    check_name("preset", name, get_args(PresetName))
    kind = SOLVERS[solver]
    check_horizon(game, solver, kind)
    check_present_names(kind, overrides)
    if name == "paper" and solver not in ("rspg", "spg"):
        raise ValueError(
            f"preset {name!r} is for rspg and spg; the solver here, {solver}, has only the default one: name another "
            "solver, or leave the preset out"
        )
    if issubclass(kind, TreeSolver):
        if policy is not None:
            raise ValueError(f"{solver} trains no policy, so it takes none")
        suited = _EXACT.get(type(game), {}) if solver == "exact" else {}
        settings = {**_TREE_DEFAULTS.get(solver, {"max_steps": 500}), **suited, **overrides}
    else:
        settings = {**_suited(game, solver, name, overrides), **overrides}
        if settings.get("temperature") == 0 and "final_temperature" not in overrides:
            settings["final_temperature"] = 0.0
    settings["max_steps"] = check_integer("max_steps", settings["max_steps"], at_least=1)
    of_solver = [field.name for field in dataclasses.fields(kind) if field.name != "policy"]
    shape = None if policy else policy_settings(kind)
    of_policy = [field for field in getattr(shape, "_fields", ()) if field != "recurrent"]
    chosen = _chosen(solver, settings, of_solver, overrides, also=of_policy)
    if issubclass(kind, TreeSolver):
        return Preset(kind(**chosen), settings["max_steps"])
    sizes = {field: settings[field] for field in of_policy if field in settings}
    return Preset(kind(_policy(game, solver, kind, policy, sizes), **chosen), settings["max_steps"])


def _policy(
    game: Game,
    solver: str,
    kind: type[TrainingSolver],
    build: Callable[[Game], ParametricPolicy] | None,
    sizes: dict[str, Any],
) -> ParametricPolicy:
    """The policy to train: that of the user's function, or the network or table of these sizes."""
    if build is not None:
        try:
            return build(game)
        except Exception as error:  # whatever a user's function raises
            raise ValueError(f"policy raised {type(error).__name__}: {error}") from error
    shape = policy_settings(kind)
    if shape is BinnedSettings:
        return binned(game, **sizes)
    if shape is NetworkSettings:
        return network_policy(game, recurrent=kind.recurrent is not False, **sizes)
    raise ValueError(f"{solver} trains a {kind.trains.kind_name}: give it policy, a function that makes one of a game")


def _suited(game: Game, solver: str, name: PresetName, overrides: dict[str, Any]) -> dict[str, Any]:
    """The settings of a preset for a solver that trains a policy, and those that depend on what the user overrides."""
    if name == "paper":
        return {**_PAPER_NETWORK, **_PAPER}
    suited = _BY_SOLVER.get(solver, {}).get(type(game))
    if suited is None:
        suited = _UNTUNED.get(solver, {})
        if solver in _OF_GRADIENTS:
            suited = {**suited, **entropy_bonus(game, overrides)}
    return {"max_steps": 2000, **_NETWORKS.get(type(game), {}), **suited}


def _chosen(
    solver: str, settings: dict[str, Any], fields: list[str], overrides: Iterable[str], also: Iterable[str] = ()
) -> dict[str, Any]:
    """The settings that are fields of the solver."""
    for setting in overrides:
        check_name(f"setting of {solver}", setting, [*fields, *also, "max_steps"])
    return {field: settings[field] for field in fields if field in settings}
