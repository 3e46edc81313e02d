"""Read and write the files of a run: JSON without NaN, arrays without pickle, nothing written by halves.

Anybody may have written the files that are read here. Nothing in them is run, no symbolic link is followed, and no
memory is allocated because a file says so. Every fault is a `ValueError` that names the file and the fault.
"""

import contextlib
import json
import math
import os
import re
import reprlib
import stat
import types
import typing
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
import safetensors.numpy

_MAX_JSON_BYTES = 2**24
_MAX_DEPTH, _MAX_TEXT, _MAX_DIGITS = 32, 2**13, 20  # of JSON: nesting, characters of a text, digits of a whole number
_MAX_HEADER_BYTES = 2**20  # of the header of a file of arrays, which takes some 100 bytes for each
_MAX_AXES = 32
_CHECKSUM = "crc32"
# The types of numbers that are read, by the names that safetensors gives them.
_DTYPES = {"BOOL": np.dtype(bool), "F16": np.dtype("f2"), "F32": np.dtype("f4"), "F64": np.dtype("f8")}
_DTYPES |= {f"{kind.upper()}{8 * size}": np.dtype(f"{kind}{size}") for kind in "iu" for size in (1, 2, 4, 8)}


class ArrayHeader(NamedTuple):
    """Shape and type that a file gives for an array, known before the array is read."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class ArrayFile(NamedTuple):
    """An open file of arrays: what it says of each of them by name, and a function that reads them all."""

    headers: dict[str, ArrayHeader]
    read: Callable[[], dict[str, np.ndarray]]


@contextlib.contextmanager
def file_error_context(path: Path, fault: str) -> Iterator[None]:
    """Turn every error within into a `ValueError` that reads "PATH FAULT: ERROR"."""
    try:
        yield
    except Exception as error:  # parsers, safetensors and constructors raise many kinds on damaged content
        raise ValueError(f"{path} {fault}: {error or type(error).__name__}") from error


# Writing.


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Strictly valid JSON: numbers that are not finite become null."""
    return json.dumps(_plain(value), allow_nan=False, indent=indent)


def _plain(value: Any) -> Any:
    """The value with Python's own numbers, and None for every number that is not finite."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file as a whole or not at all: first to a temporary file in its folder, which is then renamed.

    A symbolic link at either name is replaced, not followed.

    Raises:
        ValueError: The file cannot be written.
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
    """Write one JSON value, indented."""
    write_bytes(path, (to_json(value, indent=2) + "\n").encode())


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays of numbers as a safetensors file, with a checksum.

    Raises:
        ValueError: One is of something else than numbers, or they are so many that the file could not be read.
    """
    write_bytes(path, pack_arrays(arrays))


def pack_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The content of the file of `write_arrays`, whose errors it raises; `unpack_arrays` gives the arrays again."""
    # In C order: safetensors writes the memory of an array as it lies there.
    ordered = {name: np.asarray(arrays[name], order="C") for name in sorted(arrays)}
    for name, array in ordered.items():
        if array.dtype not in _DTYPES.values():
            raise ValueError(
                f"{name} has dtype {array.dtype}: only real numbers of at most 64 bits are saved, as nothing is pickled"
            )
    data = safetensors.numpy.save(ordered, metadata={_CHECKSUM: _checksum(ordered)})
    if (size := int.from_bytes(data[:8], "little")) > _MAX_HEADER_BYTES:
        raise ValueError(
            f"{len(ordered)} arrays need a header of {size} bytes, of at most {_MAX_HEADER_BYTES} that are read"
        )
    return bytes(data)


def unpack_arrays(data: bytes) -> dict[str, np.ndarray]:
    """The arrays that `pack_arrays` of this package was given."""
    return dict(safetensors.numpy.load(data))


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """The CRC-32 of all arrays in the order of their names, in hexadecimal digits."""
    value = 0
    for name in sorted(arrays):
        value = zlib.crc32(np.ascontiguousarray(arrays[name]).data, value)
    return f"{value:08x}"


# Reading.


def open_plain_file(path: Path, max_bytes: int) -> BinaryIO:
    """Open a plain file of at most so many bytes: no symbolic link, and no pipe or device, which may have no end."""
    check_no_link(path)
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise ValueError(f"{path} is not a plain file")
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from error
    status = os.fstat(file.fileno())
    if stat.S_ISREG(status.st_mode) and status.st_size <= max_bytes:
        return file
    file.close()
    raise ValueError(f"{path} has {status.st_size} bytes, of at most {max_bytes} that are read")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object with finite numbers and no name twice. `ValueError` where the file does not hold one."""
    with open_plain_file(path, _MAX_JSON_BYTES) as file, file_error_context(path, "is not a readable JSON file"):
        return parse_object(file.read())


@contextlib.contextmanager
def open_arrays(path: Path, *, max_bytes: int | None = None) -> Iterator[ArrayFile]:
    """Open a file that `write_arrays` wrote, for a `with` block.

    Args:
        path: The file.
        max_bytes: The largest file that is read; by default a quarter of the machine's memory.

    Raises:
        ValueError: The file is not such a file, or it was damaged.
    """
    fault = "is not a readable safetensors file"
    with open_plain_file(path, machine_memory() // 4 if max_bytes is None else max_bytes) as file:
        with file_error_context(path, fault):
            length = file.read(8)
            size = int.from_bytes(length, "little")
            if size > _MAX_HEADER_BYTES:
                raise ValueError(f"a header of {size} bytes, of at most {_MAX_HEADER_BYTES}")
            text = file.read(size)
            headers, checksum = _parse_header(text)
            data_size = os.fstat(file.fileno()).st_size - 8 - size
            if data_size != sum(math.prod(header.shape) * header.dtype.itemsize for header in headers.values()):
                raise ValueError(f"the shapes of its arrays do not make up the {data_size} bytes after its header")

        def read() -> dict[str, np.ndarray]:
            with file_error_context(path, fault):
                arrays = safetensors.numpy.load(length + text + file.read(data_size))
                if _checksum(arrays) != checksum:
                    raise ValueError("its checksum does not fit its arrays")
                return arrays

        yield ArrayFile(headers, read)


def machine_memory() -> int:
    """Bytes of memory that this machine has in all."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _parse_header(text: bytes) -> tuple[dict[str, ArrayHeader], Any]:
    """The headers of the arrays by name, and the checksum. `ValueError` on what `write_arrays` does not write."""
    entries = parse_object(text)
    checksum = entries.pop("__metadata__", {}).get(_CHECKSUM)
    kinds = {"dtype": str, "shape": list[int], "data_offsets": list[int]}
    headers = {}
    for name, entry in entries.items():
        label = f"array {name[:80]!r}"
        check_types({label: entry}, {label: dict[str, Any]})
        check_types(entry, kinds, required=kinds, label=f"{label}: ")
        shape, dtype = entry["shape"], entry["dtype"]
        if dtype not in _DTYPES:
            raise ValueError(f"{label} has dtype {dtype[:40]!r}, which is none of {', '.join(_DTYPES)}")
        if min(shape, default=0) < 0 or len(shape) > _MAX_AXES:
            raise ValueError(f"{label} has shape {str(shape)[:80]}")
        headers[name] = ArrayHeader(tuple(shape), _DTYPES[dtype])
    return headers, checksum


def parse_object(data: bytes) -> dict[str, Any]:
    """A JSON object with finite numbers and no name twice. An exception of some kind where the bytes are not one."""
    value = json.loads(
        data.decode("utf-8"),
        object_pairs_hook=_object_of_pairs,
        parse_int=_whole_number,
        parse_float=_finite_number,
        parse_constant=_finite_number,
    )
    _check_extent(value, _MAX_DEPTH)
    if not isinstance(value, dict):
        raise ValueError(f"it must hold a JSON object, but holds a {type(value).__name__}")
    return value


def _object_of_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    repeated = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if repeated:
        raise ValueError(f"{repeated[0][:40]!r} stands there twice")
    return dict(pairs)


def _whole_number(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"a whole number of {len(text)} digits")
    return int(text)


def _finite_number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is not a finite number")
    return value


def _check_extent(value: Any, depth: int) -> None:
    """Raise `ValueError` on deep nesting and on long texts, as parts of the value may be printed in messages."""
    if depth == 0:
        raise ValueError(f"nested more than {_MAX_DEPTH} deep")
    items = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    if isinstance(value, str) and len(value) > _MAX_TEXT:
        raise ValueError(f"a text of more than {_MAX_TEXT} characters")
    for item in items:
        _check_extent(item, depth - 1)


# Types of values from JSON.

_TYPE_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "null"}


def check_types(
    values: Mapping[str, Any], kinds: Mapping[str, Any], *, required: Iterable[str] = (), label: str = ""
) -> None:
    """Raise `ValueError` if a required name is missing, or a value is not of the type that `kinds` has for its name.

    A whole number is a number, too; true and false are not. `label` stands before the name in the message.
    """
    missing = [name for name in required if name not in values]
    if missing:
        raise ValueError(f"{label}it lacks {', '.join(missing)}")
    for name, value in values.items():
        if name in kinds and not _has_type(value, kinds[name]):
            raise ValueError(f"{label}{name} must be {_type_name(kinds[name])}, but is {reprlib.repr(value)}")


def _has_type(value: Any, kind: Any) -> bool:
    origin, members = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return isinstance(value, str | None) and value in members
    if origin in (typing.Union, types.UnionType):
        return any(_has_type(value, member) for member in members)
    if origin in (tuple, list):
        return isinstance(value, list) and all(_has_type(item, members[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(_has_type(item, members[1]) for item in value.values())
    if kind in (tuple, list):
        return isinstance(value, list)
    return kind is Any or type(value) is kind or (kind is float and type(value) is int)


def _type_name(kind: Any) -> str:
    origin, members = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(map(str, members))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_type_name, members))
    if origin in (tuple, list):
        return f"a list, each {_type_name(members[0])}"
    if origin is dict:
        return "an object" if members[1] is Any else f"an object, each value {_type_name(members[1])}"
    return _TYPE_NAMES.get(kind, str(kind))


# Folders.


def check_no_link(path: Path) -> None:
    """Raise `ValueError` on a symbolic link, which may lead anywhere."""
    if path.is_symlink():
        raise ValueError(f"{path} is a symbolic link, which is not followed: put what it points to in its place")


def file_name(text: str) -> str:
    """The text as part of a path: characters that lead elsewhere are written as %2F. Two texts never become one."""
    outside = r"^\.+$|[\x00-\x1f\x7f/\\%\ud800-\udfff]"
    return re.sub(outside, lambda match: "".join(f"%{ord(character):02X}" for character in match[0]), text)


def subfolder(folder: Path, *names: str) -> Path:
    """A folder below another, made where there is none. `ValueError` where a symbolic link is in its place."""
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

    Raises:
        ValueError: `out` is not empty, or the folder cannot be made.
    """
    path = Path("runs", file_name(name)) if out is None else Path(out)
    try:
        if out is not None:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise ValueError(f"output folder {path} is not empty; a run is never overwritten: choose another")
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        return _new_numbered_folder(path)
    except OSError as error:
        raise ValueError(f"cannot write to output folder {path}: {error.strerror or error}") from error


def _new_numbered_folder(path: Path) -> Path:
    number, candidate = 1, path
    while True:
        try:
            candidate.mkdir()
            return candidate
        except FileExistsError:
            number += 1
            candidate = path.with_name(f"{path.name}-{number}")


def drop_folder(folder: Path, *, keep: bool = False) -> None:
    """Remove a folder in which nothing but settings was written, be it in part; with `keep`, only the settings."""
    written = list(folder.iterdir())
    if all(re.fullmatch(r"(settings\.json|run\.toml)|\.(settings\.json|run\.toml)\.\d+\.tmp", p.name) for p in written):
        for path in written:
            path.unlink(missing_ok=True)
        if not keep:
            folder.rmdir()


@contextlib.contextmanager
def output_folder(out: str | Path | None, name: str) -> Iterator[Path]:
    """The folder of `new_folder`, removed again if an error ends the block before anything was written into it."""
    existed = out is not None and Path(out).exists()
    folder = new_folder(out, name)
    try:
        yield folder
    except BaseException:
        drop_folder(folder, keep=existed)
        raise
