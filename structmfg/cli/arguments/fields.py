"""The options that games and solvers have: their fields, with what their docstrings say of each."""

import dataclasses
import sys
import typing
from collections.abc import Callable, Iterator
from typing import Any

import docstring_parser

from structmfg._checks import check_name
from structmfg._import import import_object
from structmfg._text import display_name
from structmfg.cli.arguments._app import OptionGroup
from structmfg.cli.arguments._options import OPTIONS, OUTPUT, Option, is_readable
from structmfg.cli.economy.registry import ECONOMIES, named_economy
from structmfg.games import GAMES, OPENSPIEL_PREFIX, Game, make, openspiel_class, parameter_fields, register
from structmfg.policies import NetworkSettings
from structmfg.solvers import SOLVERS, TrainingSolver, TreeSolver, policy_settings, preset
from structmfg.solvers import default_solver as default_solver_of
from structmfg.solvers import register as register_solver

_MFGLIB_PREFIX = "mfglib:"  # of names in the table of all games
AnySolverClass = type[TrainingSolver] | type[TreeSolver]


def game_class(name: str) -> type[Game]:
    """The class of a game of the package, of OpenSpiel's, or of the user's own, which is imported and gets this name.

    Raises:
        ValueError: There is no such game, it cannot be imported, or it is no class of games.
    """
    if name.startswith(OPENSPIEL_PREFIX):
        return openspiel_class(name.removeprefix(OPENSPIEL_PREFIX))
    if name not in GAMES and ":" in name:
        if name.startswith(_MFGLIB_PREFIX):
            raise ValueError(f"{name} is for `bench --games all` alone: import it in Python, by games.from_mfglib")
        try:
            kind = import_object(name, "a game of your own")
        except ValueError as error:
            raise ValueError(f"{error}{_openspiel_hint(name)}") from error
        if isinstance(kind, Game):
            kind = type(kind)  # only `verify` takes a game that is made already
        if not (isinstance(kind, type) and issubclass(kind, Game)):
            message = f"{name} must be a subclass of structmfg.Game, but is {kind!r:.80}"
            raise ValueError(f"{message}{_openspiel_hint(name)}")
        register(kind, name)
    check_name("game", name, GAMES)
    return GAMES[name]


def _openspiel_hint(name: str) -> str:
    """What to write instead where importing a module has brought OpenSpiel with it."""
    place = name.rpartition(":")[0]
    hint = f"; a game that it registers with OpenSpiel is {OPENSPIEL_PREFIX}{place}:SHORT_NAME"
    return hint if "pyspiel" in sys.modules else ""


def solver_class(name: str) -> AnySolverClass:
    """The class of a solver of the package, or one of the user's own, which is imported and gets this name.

    Raises:
        ValueError: There is no such solver, it cannot be imported, or it is no class of solvers.
    """
    if name not in SOLVERS and ":" in name:
        kind = import_object(name, "a solver of your own")
        if not (isinstance(kind, type) and issubclass(kind, TrainingSolver | TreeSolver)):
            raise ValueError(f"{name} must be a subclass of TrainingSolver or TreeSolver, but is {kind!r:.80}")
        register_solver(kind, name)
    check_name("solver", name, SOLVERS)
    return SOLVERS[name]


def import_own(arguments: Any) -> dict[str, Any]:
    """Import the games, solvers and functions that the arguments name; what there is one of, for `runs.name_own`.

    A run may have been made from another folder, where the same class had another name.
    """
    single: dict[str, Any] = {}
    uses: dict[str, Callable[[str], Any]] = {"game": game_class, "solver": solver_class}
    uses |= dict.fromkeys(("policy", "optimiser"), import_object)
    for option, use in uses.items():
        names = getattr(arguments, option, None) or ()
        for name in [names] if isinstance(names, str) else names:
            found = use(name)
            if isinstance(names, str) and ":" in name:
                single[option] = found
    return single


def game_group(name: str, command: str) -> OptionGroup:
    """The parameters of a game as options; --game.NAME where the command has an option of that name itself."""
    own = ":" in name and not name.startswith(OPENSPIEL_PREFIX)
    kind = game_class(name)
    if command != "verify" and own and isinstance(import_object(name), Game):
        raise ValueError(f"{name} must be a class of games, but is one of them: a run could not make it again")
    taken = {option.name for option in [*OPTIONS[command], *OUTPUT]} | {"help", "version"}
    return OptionGroup(f"Parameters of {name}", "", list(_game_options(kind, taken)))


def _game_options(kind: type[Game], taken: set[str]) -> Iterator[Option]:
    hints, texts = _hints(kind), field_texts(kind)
    for field in parameter_fields(kind):
        if field.name == "name":
            raise ValueError(f"{kind.__name__} must not have a field called name, which stands for the game itself")
        kind_of_field = hints[field.name] if is_readable(hints[field.name]) else Any  # only a file can hold it
        flag = f"--game.{field.name.replace('_', '-')}" if field.name in taken else ""
        default = None if field.default is dataclasses.MISSING else field.default
        yield Option(
            field.name, kind_of_field, texts.get(field.name, ""), default, shown(default), section="game", flag=flag
        )


def economy_group(name: str) -> OptionGroup:
    """The parameters of an economy as options; --economy.NAME where the command has an option of that name itself."""
    taken = {option.name for option in [*OPTIONS["economy"], *OUTPUT]} | {"help", "version"}
    options = [
        Option(
            key, each.kind, each.text, each.default, shown(each.default), section="game",
            flag=f"--economy.{key.replace('_', '-')}" if key in taken else "",
        )
        for key, each in named_economy(name).parameters.items()
    ]  # fmt: skip
    return OptionGroup(f"Parameters of {name}", "", options)


def default_solver(game: str, horizon: str | None) -> str:
    """The name of the solver for a game by name, with this horizon where one is given.

    Other parameters that are given are not looked at. Where the game cannot be made without them, its class says what
    the horizon is.
    """
    for_ever = getattr(game_class(game), "horizon", 0) is None if horizon is None else horizon == "none"
    try:
        given = {} if horizon is None else {"horizon": None if for_ever else int(horizon)}
        return default_solver_of(make(game, **given))
    except (ValueError, TypeError):
        return "stationary" if for_ever else "rspg"


def solver_groups(name: str, game: str, preset_name: str, taken: set[str]) -> list[OptionGroup]:
    """The settings of a solver, and those of the network or table that it trains, with the defaults for the game.

    Where the game cannot be made without parameters, or the preset is another, the defaults are the solver's own.
    """
    kind = solver_class(name)
    suited = _suited(game, name, preset_name)
    hints, texts = _hints(kind), field_texts(kind)
    taken = taken | {option.name for option in [*OPTIONS["solve"], *OUTPUT]}
    options = []
    for field in dataclasses.fields(kind):
        if field.name == "policy" or not is_readable(hints[field.name]) or field.name == "optimiser":
            continue
        default = suited.get(field.name, field.default)
        flag = f"--solver.{field.name.replace('_', '-')}" if field.name in taken else ""
        text = texts.get(field.name, "")
        options.append(
            Option(field.name, hints[field.name], text, default, shown(default), section="solver", flag=flag)
        )
    groups = [OptionGroup(f"Settings of {name}", "", options)]
    shape = policy_settings(kind)
    if shape is None:
        return groups
    hints, texts, defaults = _hints(shape), field_texts(shape), shape._field_defaults
    of_policy = [
        Option(
            field,
            hints[field],
            texts.get(field, ""),
            default := suited.get(field, defaults[field]),
            shown(default),
            section="solver",
            flag=f"--solver.{field.replace('_', '-')}" if field in taken else "",
        )
        for field in shape._fields
        if field != "recurrent"
    ]
    what = "network" if shape is NetworkSettings else "table"
    return [*groups, OptionGroup(f"The {what} that it trains", "", of_policy)]


def _suited(game: str, solver: str, preset_name: str) -> dict[str, Any]:
    """The settings that the preset has for a game in its default size."""
    try:
        chosen = preset(make(game), solver, preset_name).solver  # type: ignore[arg-type]
    except (ValueError, TypeError):
        return {}
    policy = getattr(getattr(chosen, "policy", None), "settings", None)
    network: dict[str, Any] = getattr(policy, "_asdict", dict)()
    return network | {field.name: getattr(chosen, field.name) for field in dataclasses.fields(chosen)}


def has_setting(option: str) -> list[str]:
    """The games, solvers and economies of the package that have an option of this name, in words."""
    name = option.lstrip("-").removeprefix("no-").replace("-", "_")
    games = [game for game, kind in GAMES.items() if name in (field.name for field in parameter_fields(kind))]
    solvers = [
        solver
        for solver, kind in SOLVERS.items()
        if name in (field.name for field in dataclasses.fields(kind))
        or name in getattr(policy_settings(kind), "_fields", ())
    ]
    economies = [economy for economy, known in ECONOMIES.items() if name in known.parameters]
    owners = {"game": games, "solver": map(display_name, solvers), "economy": economies}
    return [f"the {kind} {owner}" for kind, names in owners.items() for owner in names]


def field_texts(kind: type[Any]) -> dict[str, str]:
    """What the docstrings of a class and of those it derives from say of its fields: the first sentence of each."""
    texts: dict[str, str] = {}
    for ancestor in reversed(kind.__mro__):
        for parameter in docstring_parser.parse(ancestor.__dict__.get("__doc__") or "").params:
            text = " ".join((parameter.description or "").split())
            texts[parameter.arg_name] = text.partition(". ")[0].removesuffix(".")
    return texts


def shown(value: Any) -> str:
    """A default as the help shows it."""
    if value is None or value is dataclasses.MISSING:
        return ""
    if isinstance(value, tuple):
        return ",".join(map(shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def _hints(kind: type[Any]) -> dict[str, Any]:
    """The types of the fields; Any where an annotation cannot be evaluated."""
    try:
        return typing.get_type_hints(kind)
    except Exception:  # a user's annotations may name anything: those that mean nothing are Any
        fields = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
        return {field.name: _evaluated(field.type, kind) for field in fields}


def _evaluated(annotation: Any, kind: type[Any]) -> Any:
    """One annotation, which may be a text, in the module of its class."""
    holder = type("Holder", (), {"__annotations__": {"field": annotation}, "__module__": kind.__module__})
    try:
        return typing.get_type_hints(holder)["field"]
    except Exception:
        return Any
