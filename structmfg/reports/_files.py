"""Files of a run folder: written whole or not at all, strictly valid JSON, arrays without pickle."""

import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from structmfg._json import to_json


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: to a temporary one beside it, then renamed. `ValueError` where that is not possible."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
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


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. `ValueError` where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a readable JSON file: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold a JSON object, but holds a {type(value).__name__}")
    return value


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz. `ValueError` where it is not one."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # numpy and zipfile raise many kinds on a damaged file
        raise ValueError(f"{path} is not a readable .npz file of plain arrays: {error}") from error


def new_folder(out: str | Path | None, name: str) -> Path:
    """A new, empty folder: `out`, or runs/`name` with a number appended where that exists.

    Raises `ValueError` if `out` holds anything already, or the folder cannot be made.
    """
    path = Path("runs", name) if out is None else Path(out)
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
