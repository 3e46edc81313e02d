"""`structmfg solve --devices` and `--distributed`: the mesh, and what the processes do that are not the first.

The first process does all that one process alone does. The others get the settings of the run from it, train and
evaluate in step with it, in a temporary folder, and print no results.
"""

import contextlib
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from structmfg import parallel
from structmfg.cli.arguments import Arguments

_FILES = ("settings.json", "seeds.json")  # of a run's folder, that say what is solved
_told: list[Path] = []  # the folders of which the others know
_OWN = ("early", "fields", "given", "out", "json", "quiet")  # what may differ between processes


def start(arguments: Arguments) -> jax.sharding.Mesh | None:
    """Join the other processes of the run, and make the mesh that was asked for; None for one device.

    Raises:
        ValueError: `--devices` is not a number of devices, or there are not so many.
    """
    if arguments.distributed:
        parallel.join()
    mesh = _mesh(arguments)
    with parallel.in_use(mesh):
        asked = {name: repr(value) for name, value in vars(arguments).items() if name not in _OWN}
        parallel.check_same("the command", asked)
    return mesh


def _mesh(arguments: Arguments) -> jax.sharding.Mesh | None:
    if arguments.devices is None:
        return parallel.make_mesh(paths=jax.device_count()) if arguments.distributed else None
    shape = re.fullmatch(r"([1-9][0-9]{0,5})(?:x([1-9][0-9]{0,5}))?", arguments.devices)
    if shape is None:
        raise ValueError(
            f"--devices must be a number for noise paths, such as 8, or one for paths and one for states, such as 4x2, "
            f"but is {arguments.devices[:40]!r}"
        )
    return parallel.make_mesh(paths=int(shape[1]), states=int(shape[2] or 1))


@contextlib.contextmanager
def leading(mesh: jax.sharding.Mesh | None) -> Iterator[None]:
    """What the first process does. If it never calls `tell`, the others are told that nothing is to do, or why."""
    _told.clear()
    try:
        yield
    except BaseException as error:
        if not _told:
            with contextlib.suppress(ValueError):
                _send(ValueError(f"the first process ended before the solve: {error}"), mesh)
        raise
    if not _told:
        _send({}, mesh)


def tell(folder: Path, mesh: jax.sharding.Mesh | None) -> None:
    """Send the others the settings of the run in a folder, from which they take part in the solve."""
    _told.append(folder)
    paths = [path for name in _FILES for path in folder.rglob(name)]
    _send({str(path.relative_to(folder)): path.read_text() for path in paths}, mesh)


def _send(files: dict[str, str] | ValueError | None, mesh: jax.sharding.Mesh | None) -> dict[str, str]:
    """The files that the first process sends, in all processes; an error is raised in all."""

    def read() -> dict[str, str]:
        if isinstance(files, ValueError):
            raise files
        return files or {}

    with parallel.in_use(mesh):
        return parallel.from_first(read, lambda files: json.dumps(files).encode(), json.loads)


@contextlib.contextmanager
def following(arguments: Arguments) -> Iterator[Arguments | None]:
    """The arguments with which another process takes part, in a temporary folder; None where nothing is left to do."""
    files = _send(None, arguments.mesh)
    if not files:
        yield None
        return
    with tempfile.TemporaryDirectory() as name:
        for path, text in files.items():
            (Path(name) / path).parent.mkdir(exist_ok=True)
            (Path(name) / path).write_text(text)
        own: dict[str, Any] = {**vars(arguments), "resume": name, "out": None, "quiet": True, "json": False}
        yield Arguments(**own)
