"""Settings beside each other: those of a run that differ from the defaults, and those in which runs differ."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from structmfg._files import to_json
from structmfg.games import GAMES, make
from structmfg.runs._parameters import in_words
from structmfg.runs._settings import Settings
from structmfg.solvers import SOLVERS, preset

_NOT_SET = object()  # by a run that has no such setting


class Differing(NamedTuple):
    """A setting with the values that it has in several places, as texts or numbers; None where it is not there."""

    group: str
    name: str
    values: tuple[Any, ...]


def setting_groups(settings: Settings) -> dict[str, Mapping[str, Any]]:
    """The settings of game, solver and network or table of a run."""
    limits = {"max_steps": settings.max_steps, "max_seconds": settings.max_seconds}
    trained = {"Table" if settings.trains_table else "Network": settings.network} if settings.network else {}
    return {"Game": settings.game_parameters, "Solver": settings.hyper_parameters | limits, **trained}


def default_settings(settings: Settings) -> Settings | None:
    """The settings of a solve of this game by this solver without any options; None where a name is unknown."""
    if settings.game not in GAMES or settings.solver not in SOLVERS:
        return None
    try:
        game = make(settings.game)
        solver, max_steps = preset(settings.build_game(), settings.solver)
    except ValueError:  # one of the user's own, which cannot be made without settings
        return None
    return Settings.of(
        game, solver, name=settings.solver, preset="default", overrides={}, max_steps=max_steps, max_seconds=None,
        seed=0,
    )  # fmt: skip


def from_defaults(settings: Settings) -> list[Differing]:
    """The settings of game, solver and network that differ from the defaults, each with its value and the default."""
    default = default_settings(settings)
    return [] if default is None else differing([setting_groups(settings), setting_groups(default)])


def differing(places: Sequence[Mapping[str, Mapping[str, Any]]]) -> list[Differing]:
    """The settings by group that are not the same in all places."""
    names: dict[str, dict[str, None]] = {}
    for groups in places:
        for group, values in groups.items():
            names.setdefault(group, {}).update(dict.fromkeys(values))
    found = []
    for group, name in ((group, name) for group, of_group in names.items() for name in of_group):
        given = [groups.get(group, {}).get(name, _NOT_SET) for groups in places]
        if len({None if value is _NOT_SET else to_json(value) for value in given}) > 1:
            found.append(Differing(group, name, tuple(_in_words(value) for value in given)))
    return found


def _in_words(value: Any) -> Any:
    """A value as tables show it; that of a setting that is not there as None."""
    if value is _NOT_SET:
        return None
    if value is None:
        return "none"
    value = in_words(value)
    if not isinstance(value, list | tuple):
        return value
    return ", ".join(f"{entry:g}" if isinstance(entry, float) else str(entry) for entry in value)
