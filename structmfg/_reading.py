"""Files that anybody may have written: nothing in them is run, no link followed, nothing allocated on their word alone.

Every fault is a `ValueError` that names the file and says what is wrong with it.
"""

import contextlib
import io
import json
import math
import os
import stat
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

_MOST_JSON = 2**24  # bytes
_DEEPEST, _LONGEST, _DIGITS = 32, 2**13, 20  # of a JSON value: nesting, characters of a text, digits of a whole number
_MOST_ARRAYS = 1024
_MOST_AT_ONCE = 2**20  # bytes; more is read at once only where zipfile believes in a directory of that size
_HEADER = 2**14  # bytes that hold every .npy header which numpy accepts
_RATIO = 1040  # deflate shrinks to 1/1032 at best


class Header(NamedTuple):
    """What an array is said to be, before it is read."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def machine_memory() -> int:
    """Bytes that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_no_link(path: Path) -> None:
    """Raise `ValueError` on a symbolic link, which may lead anywhere."""
    if path.is_symlink():
        raise ValueError(f"{path} is a symbolic link, which is not followed: put what it points to in its place")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object with finite numbers, every name once. `ValueError` where there is none."""
    with _opened(path, _MOST_JSON) as file, _blamed(path, "JSON file"):
        text = file.read().decode("utf-8")
        value = json.loads(
            text, object_pairs_hook=_object, parse_int=_whole, parse_float=_finite, parse_constant=_finite
        )
        _check_extent(value, _DEEPEST)
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold a JSON object, but holds a {type(value).__name__}")
    return value


def read_arrays(
    path: Path, judge: Callable[[Mapping[str, Header]], None] = lambda _: None, *, most: int | None = None
) -> dict[str, np.ndarray]:
    """The arrays of an .npz, of numbers and of at most `most` bytes in all (a quarter of this machine's memory).

    `judge` is given what the arrays are said to be, and raises on what it did not expect; only then are they read, none
    further than it was said to go, and their check sums compared. `ValueError` where the file is not such a one.
    """
    most = machine_memory() // 4 if most is None else most
    with _opened(path, most) as file:
        with _blamed(path, ".npz file of plain arrays"):
            archive = zipfile.ZipFile(_ByPieces(file))
            members = _members(archive, most)
            headers = {name: _header(archive, info) for name, info in members.items()}
        judge(headers)
        with _blamed(path, ".npz file of plain arrays"):
            return {name: _array(archive, info) for name, info in members.items()}


def _opened(path: Path, most: int) -> BinaryIO:
    """A plain file of at most so many bytes: no link, and nothing that has no end or waits for a writer."""
    check_no_link(path)
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise ValueError(f"{path} is not a plain file")
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from error
    found = os.fstat(file.fileno())
    if stat.S_ISREG(found.st_mode) and found.st_size <= most:
        return file
    file.close()
    raise ValueError(f"{path} has {found.st_size} bytes, of at most {most} that are read")


@contextlib.contextmanager
def _blamed(path: Path, kind: str) -> Iterator[None]:
    """Every fault is said to be that of the file."""
    try:
        yield
    except Exception as error:  # json, zipfile, zlib and numpy raise many kinds on a damaged file
        said = str(error) or type(error).__name__
        raise ValueError(f"{path} is not a readable {kind}: {said}") from error


# JSON.


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0][:40]!r} stands there twice")
    return dict(pairs)


def _whole(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError(f"a whole number of {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is not a finite number")
    return value


def _check_extent(value: Any, left: int) -> None:
    """`ValueError` on what is nested too deeply, and on texts without end: both would come back in messages."""
    if left == 0:
        raise ValueError(f"nested more than {_DEEPEST} deep")
    texts, items = [value] if isinstance(value, str) else [], value if isinstance(value, list) else []
    if isinstance(value, dict):
        texts, items = list(value), list(value.values())
    if any(len(text) > _LONGEST for text in texts):
        raise ValueError(f"a text of more than {_LONGEST} characters")
    for item in items:
        _check_extent(item, left - 1)


# Arrays.


class _ByPieces(io.RawIOBase):
    """A file of which no more than `_MOST_AT_ONCE` bytes are read at once, whatever sizes are written in it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            size = max(os.fstat(self._file.fileno()).st_size - self.tell(), 0)
        if size > _MOST_AT_ONCE:
            raise ValueError(f"a directory of {size} bytes, of at most {_MOST_AT_ONCE}")
        return self._file.read(size)


def _members(archive: zipfile.ZipFile, most: int) -> dict[str, zipfile.ZipInfo]:
    """What the archive holds, by name. `ValueError` on what nothing here writes."""
    infos = archive.infolist()
    if len(infos) > _MOST_ARRAYS:
        raise ValueError(f"{len(infos)} arrays, of at most {_MOST_ARRAYS}")
    for info in infos:
        if fault := _fault(info):
            raise ValueError(f"member {info.orig_filename[:80]!r} {fault}")
    if (total := sum(info.file_size for info in infos)) > most:
        raise ValueError(f"{total} bytes of arrays, of at most {most} that this machine reads")
    members = {info.filename.removesuffix(".npy"): info for info in infos}
    if len(members) < len(infos):
        raise ValueError("an array of the same name stands there twice")
    return members


def _fault(info: zipfile.ZipInfo) -> str | None:
    """What is wrong with a member, before any of it is read."""
    name, parts = info.orig_filename, info.orig_filename.split("/")
    if not name.endswith(".npy") or not name.isprintable() or "\\" in name or {"", ".", ".."} & set(parts):
        return "is not a NAME.npy within the archive"
    if info.flag_bits & 1:
        return "is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is compressed in another way than by deflate"
    if info.file_size > _RATIO * info.compress_size:
        return f"is said to have {info.file_size} bytes, more than {info.compress_size} compressed ones can hold"
    return None


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Header:
    """Shape and dtype. `ValueError` where these are not of numbers, or do not make up the member's size."""
    with archive.open(info) as member:
        start = io.BytesIO(member.read(_HEADER))
    version = np.lib.format.read_magic(start)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"member {info.filename!r} is of .npy version {version}, not (1, 0) or (2, 0)")
    try:
        shape, _, dtype = readers[version](start)
    except (MemoryError, RecursionError) as error:  # of Python's parser, on brackets in brackets
        raise ValueError(f"member {info.filename!r} has a header without sense") from error
    if dtype.kind not in "fiub" or dtype.itemsize > 8 or not dtype.isnative:
        raise ValueError(f"member {info.filename!r} has dtype {str(dtype)[:40]}, which is not one of plain numbers")
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or max(shape, default=0) > info.file_size or start.tell() + size != info.file_size:
        raise ValueError(f"member {info.filename!r} has shape {str(shape)[:80]}, but {info.file_size} bytes")
    return Header(shape, dtype)


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """The array; zipfile compares the check sum when its last byte is read."""
    with archive.open(info) as member:
        array = np.lib.format.read_array(member, allow_pickle=False)
        if member.read(1):
            raise ValueError(f"member {info.filename!r} goes on after its array")
    return np.asarray(array)
