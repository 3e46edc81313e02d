"""Compressed .npz files of numbers and texts, for other programs; whoever wrote one, reading it runs nothing."""

import io
import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from structmfg._files import file_error_context, machine_memory, open_plain_file, write_bytes

_MAX_BYTES = 2**30  # of a file
_MAX_HEADER_CHARACTERS = 10_000


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays of numbers and texts as a compressed .npz. `ValueError` on other arrays, as nothing is pickled."""
    if pickled := [name for name, array in arrays.items() if array.dtype.hasobject]:
        raise ValueError(f"only numbers and texts are saved, as nothing is pickled, but not {', '.join(pickled)}")
    buffer, keywords = io.BytesIO(), dict[str, Any](arrays)
    np.savez_compressed(buffer, **keywords)
    write_bytes(path, buffer.getvalue())


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz file by name.

    Raises:
        ValueError: The file is damaged, too large or a link, or holds something else than numbers and texts.
    """
    with open_plain_file(path, _MAX_BYTES) as file, file_error_context(path, "is not a readable .npz file"):
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                if (size := sum(member.file_size for member in members)) > machine_memory() // 4:
                    raise ValueError(f"its arrays take {size} bytes")
                arrays = {}
                for member in members:
                    stream = io.BytesIO(archive.read(member))
                    arrays[member.filename.removesuffix(".npy")] = _read_array(stream, member.file_size)
                return arrays
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, RuntimeError) as error:
            raise ValueError(str(error)) from error


def _read_array(stream: io.BytesIO, size: int) -> np.ndarray:
    """One array from `size` bytes; its header must not ask for more memory than these."""
    version = npy.read_magic(stream)
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read_header is None:
        raise ValueError(f"an array is in version {version} of the format")
    shape, fortran, dtype = read_header(stream, max_header_size=_MAX_HEADER_CHARACTERS)
    if dtype.hasobject:
        raise ValueError("an array holds objects of Python")
    if (needed := math.prod(shape) * dtype.itemsize) > size:
        raise ValueError(f"an array of shape {shape} needs {needed} bytes, but there are {size}")
    data = stream.read(needed)
    if len(data) < needed:
        raise ValueError("an array is cut short")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C").copy()
