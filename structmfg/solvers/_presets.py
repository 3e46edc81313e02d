"""Settings by name: what `structmfg solve GAME` uses, and the published algorithm as a yardstick."""

from typing import Any, Literal, NamedTuple, get_args

from structmfg._checks import check_name
from structmfg.games import BeachBar, Game, LinearQuadratic, Macro
from structmfg.policies import NetworkSettings, network_policy
from structmfg.solvers._rspg import RSPG, SPG, StructuralPolicyGradient

SOLVERS: dict[str, type[StructuralPolicyGradient]] = {"rspg": RSPG, "spg": SPG}

PresetName = Literal["default", "paper"]

# The algorithm as published: one network over states and history, no clock, independent paths, no entropy bonus.
_PAPER: dict[str, Any] = {
    "architecture": "joint",
    "clock": False,
    "num_paths": 8,
    "sampling": "iid",
    "learning_rate": 1e-3,
    "schedule": "linear",
    "final_rate": 0.1,
    "clip": 1.0,
    "temperature": 0.0,
    "max_steps": 200,
}

_DEFAULTS: dict[type[Game], dict[str, Any]] = {
    LinearQuadratic: {
        "frequencies": 8,
        "num_paths": 2,
        "learning_rate": 1e-2,
        "temperature": 100.0,
        "final_temperature": 0.05,
        "max_steps": 4000,
    },
    BeachBar: {
        "frequencies": 16,
        "num_paths": 16,
        "learning_rate": 5e-3,
        "temperature": 20.0,
        "final_temperature": 0.01,
        "max_steps": 1000,
    },
    Macro: {
        "head": "ordered",
        "frequencies": 4,
        "num_paths": 2,
        "learning_rate": 2e-2,
        "temperature": 0.03,
        "final_temperature": 1e-4,
        "gradient_discount": 0.98,
        "max_steps": 400,
    },
}


class Preset(NamedTuple):
    """A solver, and how many updates it is meant to make."""

    solver: StructuralPolicyGradient
    max_steps: int


def preset(game: Game, solver: str = "rspg", name: PresetName = "default", **overrides: Any) -> Preset:
    """A solver by name ("rspg", "spg") with the settings that suit the game, or with those of the paper.

    `overrides` are fields of the solver or of `policies.NetworkSettings`, or `max_steps`. Raises `ValueError` on an
    unknown name or setting.
    """
    check_name("solver", solver, SOLVERS)
    check_name("preset", name, get_args(PresetName))
    settings = _PAPER if name == "paper" else _DEFAULTS.get(type(game), {"max_steps": 2000})
    of_solver = [field for field in SOLVERS[solver].__dataclass_fields__ if field != "policy"]
    of_policy = [field for field in NetworkSettings._fields if field != "recurrent"]
    for setting in overrides:
        check_name("setting", setting, [*of_solver, *of_policy, "max_steps"])
    settings = {**settings, **overrides}
    if settings.get("temperature") == 0 and "final_temperature" not in overrides:
        settings["final_temperature"] = 0.0
    policy = network_policy(
        game, recurrent=solver == "rspg", **{key: settings[key] for key in of_policy if key in settings}
    )
    chosen = SOLVERS[solver](policy, **{key: settings[key] for key in of_solver if key in settings})
    return Preset(chosen, settings["max_steps"])
