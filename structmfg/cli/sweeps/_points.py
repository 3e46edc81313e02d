"""What is swept, and the runs that this makes, each with a folder of its own."""

import copy
import hashlib
import itertools
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from structmfg._checks import check_name
from structmfg._files import file_name, new_folder, read_json, write_json
from structmfg.cli._job import short_name
from structmfg.cli.arguments import SOLVE, Arguments
from structmfg.cli.arguments.config import MAX_RUNS, read_assignments, read_values

_FILE = "sweep.json"
_MAX_NAME = 100  # bytes of the name of a run's folder
_OF_RUN = ("seed", "iterations", "max_seconds")
_SETTINGS = ["game", "game_parameters", "solver", "preset", "overrides", "policy", "optimiser"]
_SETTINGS += ["iterations", "max_seconds", "seed", "precision"]


class Axis(NamedTuple):
    """What is swept: a key of the table "run", "game" or "solver", and its values."""

    table: str
    key: str
    values: list[Any]

    @property
    def name(self) -> str:
        """The axis as it was typed."""
        return self.key if self.table == "run" else f"{self.table}.{self.key}"


class Point(NamedTuple):
    """One run of a sweep: its value on every axis, its arguments and its folder."""

    values: dict[str, Any]
    arguments: Arguments
    folder: Path


def read_axes(arguments: Arguments) -> list[Axis]:
    """The axes of `--sweep`.

    Raises:
        ValueError: A key or a value is wrong, or the combinations are more than are run.
    """
    if arguments.seeds is not None:
        raise ValueError("--sweep seed=0..4 takes the place of --seeds: leave out --seeds")
    standard = {option.name: option for option in SOLVE}
    options = {"run": {name: standard[name] for name in _OF_RUN}, **arguments.fields}
    axes = []
    layer = read_assignments(arguments.sweep, "--sweep")
    layer.check_places(options["run"], arguments.fields)
    for table, keys in layer.tables.items():
        for key, text in keys.items():
            check_name(f"key of [{table}]", key, options[table])
            fixed = {"run": arguments.given, "game": arguments.game_parameters, "solver": arguments.overrides}
            if key in fixed[table]:
                raise ValueError(f"{key} is swept, and given as well: leave out one of the two")
            axes.append(Axis(table, key, read_values(options[table][key], text)))
    count = math.prod(len(axis.values) for axis in axes)
    if count > MAX_RUNS:
        raise ValueError(f"--sweep asks for {count} runs, of at most {MAX_RUNS}")
    return axes


def open_folder(arguments: Arguments, axes: Sequence[Axis]) -> Path:
    """The folder of the sweep: a new one, or that of the same sweep, to go on with it.

    Raises:
        ValueError: The folder has something else, or another sweep.
    """
    asked = {name: getattr(arguments, name) for name in _SETTINGS} | {axis.name: axis.values for axis in axes}
    asked = {name: list(value) if isinstance(value, tuple) else value for name, value in asked.items()}
    out = arguments.out
    if out is not None and (Path(out) / _FILE).is_file():
        if read_json(Path(out) / _FILE).get("asked") != asked:
            raise ValueError(f"{out} holds another sweep: choose another folder, or give the command as it was")
        return Path(out)
    folder = new_folder(out, f"{short_name(arguments.game)}-{short_name(arguments.solver)}-sweep")
    write_json(folder / _FILE, {"asked": asked})
    return folder


def points(arguments: Arguments, axes: Sequence[Axis], folder: Path) -> Iterator[Point]:
    """The runs of a sweep, the last axis fastest."""
    for values in itertools.product(*(axis.values for axis in axes)):
        chosen = copy.copy(arguments)
        chosen.game_parameters, chosen.overrides = {**arguments.game_parameters}, {**arguments.overrides}
        for axis, value in zip(axes, values, strict=True):
            if axis.table == "run":
                setattr(chosen, axis.key, value)
            else:
                (chosen.game_parameters if axis.table == "game" else chosen.overrides)[axis.key] = value
        names = ",".join(f"{axis.key}={value}" for axis, value in zip(axes, values, strict=True))
        chosen.out, chosen.sweep = str(folder / _short(file_name(names))), ()
        yield Point({axis.name: value for axis, value in zip(axes, values, strict=True)}, chosen, Path(chosen.out))


def _short(name: str) -> str:
    """The name of a folder; of a long one the start, with a digest of the whole, as systems take 255 bytes at most."""
    if len(os.fsencode(name)) <= _MAX_NAME:
        return name
    start = os.fsencode(name)[: _MAX_NAME - 13].decode(errors="ignore")
    return f"{start}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}"
