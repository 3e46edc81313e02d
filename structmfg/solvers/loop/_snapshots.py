"""The state of a solve on disk, from which it goes on after whatever happened.

A snapshot is one file of arrays, with a JSON record among them. It is written to a temporary file, which is renamed
when it is whole, and holds a SHA-256 digest of the arrays. One that was cut short or changed is thus recognised; it is
set aside, and the snapshot before it is used.
"""

import contextlib
import fcntl
import hashlib
import json
import math
import os
import re
import stat
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from structmfg._checks import check_integer, check_kind, check_positive
from structmfg._files import machine_memory, open_arrays, pack_arrays, to_json, unpack_arrays, write_bytes
from structmfg.parallel import from_first, is_first

_RECORD, _SUFFIX = "record", ".safetensors"
_MAX_RECORD_BYTES = 2**24


class Snapshot(NamedTuple):
    """The state of a solve after `step` steps: arrays by name, and all else that JSON can hold."""

    step: int
    arrays: dict[str, np.ndarray]
    record: dict[str, Any]


class Snapshots:
    """The snapshots of one solve, in a folder of their own: give it to `solve`, which goes on from the latest.

    The folder belongs to one process at a time, until `close` or the end of a `with` block. Where several processes
    share a solve, the first of them reads and writes, and tells the others.

    Args:
        folder: The folder, which is made where there is none.
        seconds: The least time between two snapshots; there is one more at the end of every solve.
        keep: How many of the latest snapshots are kept.
        log: Called with a message about every snapshot that could not be saved or read.
        needed: Whether there must be a snapshot to go on from.

    Raises:
        ValueError: Another process holds the folder, it cannot be written to, or it holds something that is neither a
            plain file nor a folder, or snapshots of an earlier version.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        seconds: float = 60.0,
        keep: int = 2,
        log: Callable[[str], None] = warnings.warn,
        needed: bool = False,
    ) -> None:
        check_kind("folder", folder, str | Path)
        self.seconds, self._keep = check_positive("seconds", seconds), check_integer("keep", keep, at_least=1)
        self.folder, self._log, self._needed = Path(folder).absolute(), log, needed
        self._saved: tuple[int, float] | None = None  # the step, and when
        self._opened = time.monotonic()
        self._open, self._stack, self._is_first = True, contextlib.ExitStack(), is_first()
        if not self._is_first:
            return
        with contextlib.ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(_locked(self.folder / "lock"))
                self._inspect()
            except OSError as error:
                raise ValueError(f"cannot write to {self.folder}: {error.strerror or error}") from error
            self._stack = stack.pop_all()

    def __enter__(self) -> "Snapshots":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the folder to others."""
        self._open = False
        self._stack.close()

    @property
    def steps(self) -> list[int]:
        """The steps of the snapshots there are."""
        stems = (path.stem for path in self.folder.glob(f"*{_SUFFIX}"))
        return sorted(int(stem) for stem in stems if re.fullmatch("0|[1-9][0-9]*", stem))

    @property
    def due(self) -> bool:
        """Whether it is time for another."""
        return time.monotonic() - (self._saved[1] if self._saved else self._opened) >= self.seconds

    def save(self, snapshot: Snapshot) -> None:
        """Write a snapshot, unless it is there. If that fails, `log` is called, and those before it stay."""
        self._check_open()
        if self._saved and self._saved[0] == snapshot.step:
            return
        self._saved = snapshot.step, time.monotonic()
        if not self._is_first:
            return
        try:
            write_bytes(self._path(snapshot.step), _pack(snapshot))
            for step in self.steps[: -self._keep]:
                self._path(step).unlink()
        except Exception as error:  # a solve must not end because its state cannot be kept
            self._log(f"update {snapshot.step} could not be saved in {self.folder} ({_first_line(error)})")

    def latest(
        self,
        solve: Mapping[str, Any],
        check: Callable[[Snapshot], None] = lambda _: None,
        *,
        max_bytes: int = 0,
    ) -> Snapshot | None:
        """The latest snapshot that is whole; None where there is none.

        Args:
            solve: What the numbers of the solve depend on, which the record must hold under that name.
            check: Raises where the arrays or the record are not those of this solve.
            max_bytes: The largest file that is read; a quarter of the machine's memory where that is more.

        Raises:
            ValueError: The snapshot is of another solve, or there is none although one is `needed`.
        """
        self._check_open()
        found = from_first(lambda: self._latest(solve, check, max_bytes), _pack, _unpack)
        if found is not None:
            self._saved = found.step, time.monotonic()
        return found

    def _latest(self, solve: Mapping[str, Any], check: Callable[[Snapshot], None], max_bytes: int) -> Snapshot | None:
        for step in reversed(self.steps):
            try:
                snapshot = self._read(step, max(max_bytes, machine_memory() // 4))
                if snapshot.record["solve"] == solve:
                    check(snapshot)
            except Exception as error:  # a damaged file may lead to anything
                self._set_aside(step, error)
                continue
            if snapshot.record["solve"] != solve:
                raise ValueError(f"{self.folder} is of another solve: {_differences(snapshot.record['solve'], solve)}")
            return snapshot
        if self._needed:
            raise ValueError(
                f"{self.folder} holds no snapshot to go on from; what else there is of the run stays as it is"
            )
        return None

    def _check_open(self) -> None:
        if not self._open:
            raise ValueError(f"the snapshots in {self.folder} are closed: others may be at work there")

    def _inspect(self) -> None:
        """Refuse what is neither a plain file nor a folder, and remove what a killed process left half-written."""
        for path in self.folder.rglob("*"):
            if not (stat.S_ISREG(mode := path.lstat().st_mode) or stat.S_ISDIR(mode)):
                raise ValueError(f"{path} is neither a plain file nor a folder: it is not followed or read")
            if path.parent == self.folder and stat.S_ISDIR(mode) and path.name.isdigit():
                raise ValueError(f"{path} is a snapshot of an earlier version of structmfg, which can go on from it")
        for path in self.folder.glob(".*.tmp"):
            path.unlink()

    def _path(self, step: int) -> Path:
        return self.folder / f"{step}{_SUFFIX}"

    def _read(self, step: int, max_bytes: int | None = None) -> Snapshot:
        with open_arrays(self._path(step), max_bytes=max_bytes) as file:
            if math.prod(file.headers[_RECORD].shape) > _MAX_RECORD_BYTES:
                raise ValueError(f"its record has more than {_MAX_RECORD_BYTES} bytes")
            snapshot = _of_arrays(file.read())
        if snapshot.step != step:
            raise ValueError("its content was changed")
        if not isinstance(snapshot.record["solve"], dict):
            raise ValueError("its record does not say of which solve it is")
        return snapshot

    def _set_aside(self, step: int, error: Exception) -> None:
        """Move a damaged snapshot out of the way of a new one of that number."""
        number = 0
        while (aside := self.folder / f"damaged-{step}-{number}{_SUFFIX}").exists():
            number += 1
        self._path(step).rename(aside)
        self._log(f"the state after update {step} is damaged ({_first_line(error)}), and was moved to {aside}")


def _pack(snapshot: Snapshot | None) -> bytes:
    """The content of a snapshot's file; empty for None."""
    if snapshot is None:
        return b""
    content = {**snapshot.record, "step": snapshot.step}
    text = to_json({**content, "digest": _digest(snapshot.arrays, content)})
    return pack_arrays({**snapshot.arrays, _RECORD: np.frombuffer(text.encode(), np.uint8)})


def _unpack(content: bytes) -> Snapshot | None:
    return _of_arrays(unpack_arrays(content)) if content else None


def _of_arrays(arrays: dict[str, np.ndarray]) -> Snapshot:
    """The snapshot that a file with these arrays holds. `ValueError` where they are not those of its digest."""
    record = json.loads(arrays.pop(_RECORD).tobytes())
    if record.pop("digest") != _digest(arrays, record):
        raise ValueError("its content was changed")
    return Snapshot(record.pop("step"), arrays, record)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """A lock that ends with the process, however that ends."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another process is at work in {path.parent}; one at a time") from None
        yield
    finally:
        os.close(file)


def _digest(arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> str:
    """The SHA-256 digest of a record, and of the names, types, shapes and bytes of arrays."""
    digest = hashlib.sha256(to_json(record).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    names = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    return "; ".join(f"{name} {there.get(name)} there, {here.get(name)} here" for name in names)


def _first_line(error: Exception) -> str:
    """The first line of a message, or what kind of error it is."""
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
