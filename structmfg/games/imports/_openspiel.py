"""`from_openspiel`: mean field games of OpenSpiel's by their names, or a game that was made with its library."""

import dataclasses
import importlib
from typing import Any, Literal

from structmfg._checks import brief, check_integer, check_name, plain_fields
from structmfg._import import import_module
from structmfg.games._base import Game
from structmfg.games._registry import GAMES, make, register
from structmfg.games.imports._game import ImportedGame
from structmfg.games.imports._nodes import GameError, asked, first_seen
from structmfg.games.imports._tables import tables_of
from structmfg.games.imports._trace import UntraceableError
from structmfg.games.imports._walk import Walk, walk

OPENSPIEL_PREFIX = "openspiel:"
MAX_STATES = 20_000
Rewards = Literal["exact", "as_valued"]
_PLAIN = (bool, int, float, str)
_OWN = ("rewards", "max_states", "setting")


class OpenSpielGame(ImportedGame):
    """A mean field game of OpenSpiel's; see `from_openspiel`."""

    def __init__(self, game: Any, *, rewards: Rewards = "exact", max_states: int = MAX_STATES) -> None:
        self._import(game, rewards, max_states)

    def _import(self, game: Any, rewards: Rewards, max_states: int) -> None:
        check_name("rewards", rewards, ("exact", "as_valued"))
        check_integer("max_states", max_states, at_least=2)
        _check_kind(game)
        name = OPENSPIEL_PREFIX + game.get_type().short_name
        try:
            root = asked(game, "new_initial_state")
            found = walk(root, max_states=max_states, stands_for=first_seen(root) if rewards == "as_valued" else {})
            if rewards == "as_valued" and found.depends_on_mean_field:
                found = walk(root, max_states=max_states, stands_for={})
                _check_same_rewards(name, found)
        except (UntraceableError, GameError) as error:
            raise ValueError(f"{name} cannot be imported: {error}") from error
        self._adopt(name, found._replace(game=game), tables_of(found))


class NamedOpenSpielGame(OpenSpielGame):
    """A game of OpenSpiel's that is made by its name; its parameters are fields."""

    openspiel_name = ""

    def __post_init__(self) -> None:
        plain_fields(self)
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        own = {name: given.pop(name) for name in _OWN}
        parameters = {name.removeprefix("game_") if name.startswith("game_") else name: v for name, v in given.items()}
        self._import(_loaded(self.openspiel_name, parameters, own["setting"]), own["rewards"], own["max_states"])


def from_openspiel(
    game: Any, /, *, rewards: Rewards = "exact", max_states: int = MAX_STATES, **parameters: Any
) -> OpenSpielGame:
    """Import a mean field game of OpenSpiel's, with one population.

    Its nodes are walked through once, and its rewards and moves become arrays and formulas of the mean field, so that
    the game runs inside `jit` without a call of OpenSpiel's. What was found is held against the game itself at several
    mean fields.

    Args:
        game: A name such as "mfg_crowd_modelling_2d" or "python_mfg_dynamic_routing"; for a game of your own
            "module:short_name" or "path/to/file.py:short_name", where importing the module or the file registers the
            game; or a game that was made already.
        rewards: With "exact" a reward is paid where it arises, on the way from a state by an action to the next state.
            OpenSpiel's values are kept by the name of a node, so that a node that was reached by another action counts
            as the one that was seen first; "as_valued" has these rewards, and so the same values and exploitability.
        max_states: How many states there may be at one time.
        **parameters: The game's own parameters. `setting` names one of OpenSpiel's settings, such as
            "dynamic_routing_braess", which the other parameters change.

    Returns:
        The game. One that was named can be loaded again from a run folder, where it is "openspiel:NAME".

    Raises:
        ValueError: OpenSpiel is not installed, there is no such game or parameter, or the game is of a kind that cannot
            be imported: the message says which.
    """
    if not isinstance(game, str):
        if parameters:
            raise ValueError(f"{', '.join(parameters)} cannot be set: the game was made already")
        return OpenSpielGame(game, rewards=rewards, max_states=max_states)
    game = game.removeprefix(OPENSPIEL_PREFIX)
    kind = openspiel_class(game)
    known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    given = {name if name in known else f"game_{name}": value for name, value in parameters.items()}
    if len(given) < len(parameters):
        twice = next(name for name in parameters if f"game_{name}" in parameters)
        raise ValueError(f"{twice} and game_{twice} are one parameter: give one of them")
    for name in given:
        check_name(f"parameter of {game}", name.removeprefix("game_") if name not in known else name, known)
    made = make(OPENSPIEL_PREFIX + game, rewards=rewards, max_states=max_states, **given)
    assert isinstance(made, OpenSpielGame)
    return made


def openspiel_class(name: str) -> type[Game]:
    """The class of the games of a name, whose fields are the game's parameters; it is registered as "openspiel:NAME".

    Raises:
        ValueError: OpenSpiel is not installed, or has no mean field game of that name.
    """
    if (full := OPENSPIEL_PREFIX + name) in GAMES:
        return GAMES[full]
    pyspiel = _pyspiel()
    module, _, short = name.rpartition(":")
    if module:
        import_module(module)  # which registers the game
    check_name("mean field game of OpenSpiel", short, _mean_field_games(pyspiel))
    fields: list[Any] = [
        (
            f"game_{key}" if _is_taken(key) else key,
            type(value),
            value,
        )
        for key, value in _specification(pyspiel, short).items()
    ]
    fields += [("setting", str, ""), ("rewards", Rewards, "exact"), ("max_states", int, MAX_STATES)]
    kind = dataclasses.make_dataclass(
        "NamedOpenSpielGame",
        [(key, kind, dataclasses.field(default=default)) for key, kind, default in fields],
        bases=(NamedOpenSpielGame,),
        namespace={"openspiel_name": short, "__doc__": _DOC, "__module__": __name__},
        frozen=True,
        repr=False,
    )
    return register(kind, full)


_DOC = """A game of OpenSpiel's.

Attributes:
    setting: One of the settings that OpenSpiel names, such as dynamic_routing_braess.
    rewards: How rewards are paid: exact, or as_valued by OpenSpiel.
    max_states: How many states there may be at one time.
"""


def _is_taken(parameter: str) -> bool:
    """Whether a parameter has the name of something else that a game has."""
    annotated = {name for kind in OpenSpielGame.__mro__ for name in getattr(kind, "__annotations__", ())}
    return parameter in (*_OWN, "name") or parameter in annotated or hasattr(NamedOpenSpielGame, parameter)


def _check_same_rewards(name: str, found: Walk) -> None:
    """Raise `ValueError` where rewards at nodes of one name differ; which is seen first depends on the mean field."""
    if not found.rewards_follow_from_names:
        raise ValueError(
            f"the moves of {name} depend on the mean field, and so does which node of a name OpenSpiel's values see "
            "first: as_valued is impossible, say rewards='exact'"
        )


def _pyspiel() -> Any:
    try:
        importlib.import_module("open_spiel.python.mfg.games")  # registers its games
        return importlib.import_module("pyspiel")
    except ImportError as error:
        raise ValueError(
            f"OpenSpiel is not installed ({error}): pip install structmfg[peers], or pip install open_spiel"
        ) from error


def _mean_field_games(pyspiel: Any) -> list[str]:
    kinds = pyspiel.registered_games()
    return sorted(kind.short_name for kind in kinds if kind.dynamics == pyspiel.GameType.Dynamics.MEAN_FIELD)


def _specification(pyspiel: Any, name: str) -> dict[str, Any]:
    """The parameters of a game that are plain values, with their defaults."""
    (kind,) = (each for each in pyspiel.registered_games() if each.short_name == name)
    return {key: value for key, value in kind.parameter_specification.items() if isinstance(value, _PLAIN)}


def _loaded(name: str, parameters: dict[str, Any], setting: str) -> Any:
    """OpenSpiel's game of these parameters."""
    pyspiel = _pyspiel()
    changed = {key: value for key, value in parameters.items() if value != _specification(pyspiel, name)[key]}
    factory = importlib.import_module("open_spiel.python.mfg.games.factory") if setting else None
    if factory:
        check_name("setting", setting, factory.GAME_SETTINGS)
    try:
        return _with_setting(factory, name, setting, changed) if factory else pyspiel.load_game(name, changed)
    except Exception as error:  # whatever a stranger's game does; the library raises pyspiel.SpielError
        raise ValueError(f"OpenSpiel cannot make {name}: {brief(str(error).strip() or error)}") from error


def _with_setting(factory: Any, name: str, setting: str, changed: dict[str, Any]) -> Any:
    """The game of one of OpenSpiel's settings with some parameters changed: only its own factory knows how."""
    own = factory.GAME_SETTINGS[setting]
    factory.GAME_SETTINGS[setting] = {**own, **changed}
    try:
        return factory.create_game_with_setting(name, setting)
    finally:
        factory.GAME_SETTINGS[setting] = own


def _check_kind(game: Any) -> None:
    """Raise `ValueError` unless it is a mean field game with one population."""
    if not hasattr(game, "get_type") or not hasattr(game, "new_initial_state"):
        raise ValueError(f"game must be a name or a game of OpenSpiel's, but is a {type(game).__name__}")
    kind = game.get_type()
    if str(kind.dynamics).rpartition(".")[2] != "MEAN_FIELD":
        raise ValueError(f"{kind.short_name} is no mean field game: its dynamics are {kind.dynamics}")
    if game.num_players() != 1:
        raise ValueError(f"{kind.short_name} has {game.num_players()} populations: only games with one can be imported")
