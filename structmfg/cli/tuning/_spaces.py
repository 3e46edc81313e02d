"""Where settings are searched: by the name of a field, around the value that the preset has for the game."""

import dataclasses
import math
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from structmfg._checks import check_name
from structmfg.cli.arguments import Option, members, read_value
from structmfg.cli.arguments.fields import solver_class
from structmfg.solvers import policy_settings


class Range(NamedTuple):
    """Numbers from `low` to `high`, both included; `log` where factors count and not differences."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def has(self, value: Any) -> bool:
        """Whether the value lies in the range."""
        return type(value) in (int, float) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}" + (", by factors" if self.log else "")


class Choices(NamedTuple):
    """A few values, without an order."""

    values: tuple[Any, ...]

    def has(self, value: Any) -> bool:
        """Whether the value is one of them."""
        return value in self.values

    def __str__(self) -> str:
        return ", ".join("none" if value is None else str(value).lower() for value in self.values)


Space = Range | Choices


class _Around(NamedTuple):
    """A rule: from the preset's value over `factor` to that times `factor`, within bounds."""

    factor: float
    low: float = 0.0
    high: float = math.inf
    whole: bool = False


_RATE, _COUNT = _Around(10.0), _Around(4.0, low=1, whole=True)
_SHARE = Range(0.0, 1.0)
# By the name of a field, as it means the same for every solver. A rule around zero, or around none, is none.
_SPACES: dict[str, Space | _Around] = {
    # steps
    "learning_rate": _RATE,
    "final_rate": Range(0.0, 0.5),
    "schedule": Choices(("cosine", "linear")),
    "adam_b2": Choices((0.9, 0.98, 0.99, 0.999)),
    "clip": _RATE,
    "clip_ratio": _Around(3.0, high=1.0),
    "critic_rate": _RATE,
    "scale_rate": _Around(4.0, high=1.0),
    "damping": Range(0.05, 1.0),
    "rate": Range(0.1, 0.9),
    "weight": Choices((None, 0.03, 0.1, 0.3)),
    "stiffness": _RATE,
    "adaptive": Choices((False, True)),
    "optimality": _RATE,
    "complementarity": _RATE,
    "parameterisation": Choices(("projection", "softmax")),
    "value_weight": _Around(4.0),
    "alpha": Range(0.5, 1.0),
    # temperatures and what else keeps policies from being sure too soon
    "temperature": _RATE,
    "final_temperature": _RATE,
    "annealing": Range(0.3, 1.0),
    "entropy": _RATE,
    "tau": _RATE,
    "exploration": _SHARE,
    "final_exploration": _SHARE,
    "exploring": Range(0.1, 1.0),
    "perturbation": _RATE,
    "policy_exponent": Choices((None, 0.5)),
    "gradient_discount": Range(0.9, 1.0),
    "gae_lambda": Range(0.8, 1.0),
    # how much goes into a step
    "num_paths": _COUNT,
    "num_populations": _COUNT,
    "num_agents": _COUNT,
    "agents_per_observation": _COUNT,
    "rollout": _COUNT,
    "num_epochs": _COUNT,
    "num_minibatches": _COUNT,
    "num_gradients": _COUNT,
    "steps_per_gradient": _COUNT,
    "batch_size": _COUNT,
    "replay_start": _COUNT,
    "response_steps": _COUNT,
    "average_steps": _COUNT,
    "inner": _COUNT,
    "responses": _COUNT,
    "cycle": _Around(4.0, low=2, whole=True),
    "memory": _Around(2.0, low=2, whole=True),
    "window": _COUNT,
    # networks and tables
    "hidden": _Around(2.0, low=4, whole=True),
    "width": _Around(2.0, low=4, whole=True),
    "depth": Range(1, 3, whole=True),
    "rank": _Around(2.0, low=2, whole=True),
    "frequencies": _Around(2.0, low=1, whole=True),
    "skip": Choices((False, True)),
}
# What is no question of what suits a game: what is solved and how exactly, the form of the computation, and what a user
# decides (such as the head for ordered actions, and the range of a table).
FIXED = frozenset(
    {"policy", "sampling", "form", "optimiser", "deterministic", "until_excess", "tolerance", "information", "method"}
    | {"accuracy", "projection_steps", "recurrent", "architecture", "head", "clock", "bins", "lowest", "highest"}
    | {"replay_size"}
)


def fields_of(solver: str) -> list[str]:
    """The names of the settings of a solver, and of the network or table that it trains."""
    kind = solver_class(solver)
    own = [field.name for field in dataclasses.fields(kind)]
    return [*own, *getattr(policy_settings(kind), "_fields", ())]


def unknown_fields(solver: str) -> list[str]:
    """The settings of which no range is known, and which are not fixed either."""
    return [field for field in fields_of(solver) if field not in _SPACES and field not in FIXED]


def spaces(solver: str, suited: Mapping[str, Any], fixed: Mapping[str, Any]) -> dict[str, Space]:
    """Where each setting of a solver is searched.

    Args:
        solver: The solver by name.
        suited: The preset's values for the game.
        fixed: What was given, and is not searched.
    """
    found = {}
    for field in fields_of(solver):
        rule = None if field in fixed else _SPACES.get(field)
        if isinstance(rule, _Around):
            rule = _around(suited.get(field), rule)
        if rule is not None and (suited.get(field) is not None or _may_be_none(rule)):
            found[field] = _including(rule, suited.get(field))
    return found


def _may_be_none(rule: Space) -> bool:
    return isinstance(rule, Choices) and None in rule.values


def _including(rule: Space, value: Any) -> Space:
    """The space, and the preset's value, which is the first trial."""
    if rule.has(value):
        return rule
    if isinstance(rule, Choices):
        return Choices((*rule.values, value))
    return rule._replace(low=min(rule.low, value), high=max(rule.high, value))


def _around(value: Any, rule: _Around) -> Range | None:
    if type(value) not in (int, float) or value <= 0:
        return None
    low, high = max(value / rule.factor, rule.low), min(value * rule.factor, rule.high)
    if rule.whole:
        low, high = max(1, math.floor(low)), math.ceil(high)
    return Range(low, high, log=True, whole=rule.whole)


def read_spaces(words: Sequence[str], options: Mapping[str, Option]) -> dict[str, Space]:
    """The ranges of `--search`: learning_rate=1e-4:1e-1:log, num_paths=2:16, schedule=cosine,linear.

    Args:
        words: What was typed.
        options: The settings of the solver by name, with their types.

    Raises:
        ValueError: A word is no range, or its setting is unknown or takes other values.
    """
    found: dict[str, Space] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.replace("-", "_").removeprefix("solver.")
        if not (equals and text):
            raise ValueError(f"--search takes SETTING=LOW:HIGH, LOW:HIGH:log or A,B, but was given {word[:200]!r}")
        check_name("setting of --search", name, options)
        if name in found:
            raise ValueError(f"--search has {name} twice")
        found[name] = _read(options[name], text)
    return found


def _read(option: Option, text: str) -> Space:
    kinds = members(option.kind)
    span = re.fullmatch(r"([^:,]+):([^:,]+?)(:log)?", text)
    if span is None:
        values = tuple(read_value(option.name, option.kind, item) for item in text.split(",") if item)
        for value in values:
            _check_literal(option, value)
        if len(set(values)) < 2:
            raise ValueError(f"--search {option.name} needs two values or more, such as A,B, but has {text[:200]!r}")
        return Choices(values)
    if not {int, float} & set(kinds):
        raise ValueError(f"--search {option.name} takes a list such as A,B: it is no number")
    low, high = (read_value(option.name, option.kind, span[k]) for k in (1, 2))
    log = span[3] is not None
    if not (low is not None and high is not None and math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(
            f"--search {option.name} needs finite numbers LOW:HIGH, the first below, but has {text[:200]!r}"
        )
    if log and low <= 0:
        raise ValueError(f"--search {option.name} goes by factors (log), so LOW must be above 0, but is {low:g}")
    return Range(low, high, log, whole=float not in kinds)


def _check_literal(option: Option, value: Any) -> None:
    names = [name for kind in members(option.kind) for name in typing.get_args(kind) if isinstance(name, str)]
    if names and value is not None:
        check_name(option.name, value, names)
