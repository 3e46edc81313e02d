"""Files of a run folder: written whole or not at all, strictly valid JSON, arrays without pickle."""

import contextlib
import io
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from structmfg._json import to_json
from structmfg._reading import check_no_link
from structmfg._reading import read_arrays as read_arrays
from structmfg._reading import read_json as read_json

_LEADING_AWAY = r"^\.+$|[\x00-\x1f\x7f/\\%\ud800-\udfff]"  # of a file name


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: to a temporary one beside it, then renamed. `ValueError` where that is not possible.

    A link in either's place is replaced, not followed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise ValueError(f"cannot write {path}: {error.strerror or error}") from error


def write_json(path: Path, value: Any) -> None:
    """One JSON value, indented."""
    write_bytes(path, (to_json(value, indent=2) + "\n").encode())


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """A compressed .npz. `ValueError` on arrays of objects, which only pickle could hold."""
    buffer = io.BytesIO()
    # Not np.savez: its own parameters would clash with some names.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def file_name(text: str) -> str:
    """A text as part of a path: what would lead elsewhere is spelled out, as %2F; different texts stay different."""
    return re.sub(
        r"^\.+$|[\x00-\x1f\x7f/\\%\ud800-\udfff]", lambda found: "".join(f"%{ord(c):02X}" for c in found[0]), text
    )


def subfolder(folder: Path, *names: str) -> Path:
    """A folder below another, made where there is none. `ValueError` where a link is, which may lead anywhere."""
    for name in names:
        folder = folder / name
        check_no_link(folder)
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise ValueError(f"cannot write to folder {folder}: {error.strerror or error}") from error
    return folder


def new_folder(out: str | Path | None, name: str) -> Path:
    """A new, empty folder: `out`, or runs/`name` with a number appended where that exists.

    Raises `ValueError` if `out` holds anything already, or the folder cannot be made.
    """
    path = Path("runs", file_name(name)) if out is None else Path(out)
    try:
        if out is not None:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise ValueError(f"output folder {path} is not empty; a run is never overwritten: choose another")
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        return _numbered(path)
    except OSError as error:
        raise ValueError(f"cannot write to output folder {path}: {error.strerror or error}") from error


def _numbered(path: Path) -> Path:
    number, candidate = 1, path
    while True:
        try:
            candidate.mkdir()
            return candidate
        except FileExistsError:
            number += 1
            candidate = path.with_name(f"{path.name}-{number}")


def drop_folder(folder: Path, *, keep: bool = False) -> None:
    """Remove a folder in which nothing but settings was written; with `keep`, only the settings."""
    if all(path.name == "settings.json" for path in folder.iterdir()):
        (folder / "settings.json").unlink(missing_ok=True)
        if not keep:
            folder.rmdir()
