"""The TOML file that a run folder holds: `structmfg solve --config run.toml` makes the same run again."""

from typing import Any

import tomli_w

from structmfg.runs._parameters import restored
from structmfg.runs._settings import Settings

_SCALARS = (bool, int, float, str)


def as_toml(settings: Settings) -> str:
    """The settings of a solve as TOML, with the tables [run], [game] and [solver].

    A value that TOML cannot hold, such as an array in a game of one's own, is named in a comment.
    """
    network = dict(settings.network or {})
    network.pop("recurrent", None)
    if "function" in network:
        network["policy"] = network.pop("function")
    tables: dict[str, dict[str, Any]] = {
        "run": {
            "seed": settings.seed,
            "iterations": settings.max_steps,
            "max_seconds": settings.max_seconds,
            "precision": settings.precision,
        },
        "game": {"name": settings.game} | {key: restored(value) for key, value in settings.game_parameters.items()},
        "solver": {"name": settings.solver, "preset": settings.preset, **settings.hyper_parameters, **network},
    }
    for table in ("game", "solver"):  # TOML has no null; the command line reads this text as None
        unset = [name for name, value in tables[table].items() if value is None and name != "optimiser"]
        tables[table] |= dict.fromkeys(unset, "none")
    lines = [
        f"# Made by structmfg {settings.versions['structmfg']}; again by: structmfg solve --config FILE, with this file"
    ]
    lines += [
        f"# {table}.{key} is left out: it is no number, text or list of some"
        for table, values in tables.items()
        for key, value in values.items()
        if value is not None and not _fits(value)
    ]
    kept = {table: {key: value for key, value in values.items() if _fits(value)} for table, values in tables.items()}
    return "\n".join([*lines, "", tomli_w.dumps(kept)])


def _fits(value: Any) -> bool:
    """Whether TOML can hold the value."""
    return isinstance(value, _SCALARS) or (
        isinstance(value, list | tuple) and all(isinstance(item, _SCALARS) for item in value)
    )
