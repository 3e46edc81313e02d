"""The state of a solve on disk, from which it goes on after whatever happened (orbax-checkpoint).

A snapshot is arrays and a JSON record. It is written beside the others and renamed when it is whole, and it holds
SHA-256 digests of both: one that was cut short or changed is found out, set aside, and the one before it is used.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import stat
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from structmfg._checks import check_integer, check_kind, check_positive
from structmfg._files import to_json

Shapes = Mapping[str, jax.ShapeDtypeStruct]
_LARGEST_RECORD = 2**24  # bytes


class Snapshot(NamedTuple):
    """After `step` updates."""

    step: int
    arrays: dict[str, np.ndarray]
    record: dict[str, Any]


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Without the tracebacks that orbax logs and leaves to threads: what goes wrong is an exception, told in a line."""
    log, before, hook = logging.getLogger("absl"), logging.getLogger("absl").level, sys.unraisablehook
    log.setLevel(logging.CRITICAL + 1)
    sys.unraisablehook = lambda _: None
    try:
        yield
    finally:
        log.setLevel(before)
        sys.unraisablehook = hook


class Snapshots:
    """The snapshots of one solve, in a folder of their own: give it to `solve`, which goes on from what it finds there.

    - `seconds`: between two of them, at least; there is one more at the end of every solve.
    - `keep`: so many of the latest.
    - `tell` is told of what could not be saved or read.
    - `needed`: whether there must be one to go on from.

    The folder belongs to one process at a time, until `close` or the end of a `with` block. Raises `ValueError` on a
    folder that another process holds or that cannot be written to.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        seconds: float = 60.0,
        keep: int = 2,
        tell: Callable[[str], None] = warnings.warn,
        needed: bool = False,
    ) -> None:
        check_kind("folder", folder, str | Path)
        seconds, keep = check_positive("seconds", seconds), check_integer("keep", keep, at_least=1)
        self.folder, self.seconds, self._tell, self._needed = Path(folder).absolute(), seconds, tell, needed
        self._saved: tuple[int, float] | None = None  # the step, and when
        self._opened = time.monotonic()
        with contextlib.ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(_locked(self.folder / "lock"))
            except OSError as error:
                raise ValueError(f"cannot write to {self.folder}: {error.strerror or error}") from error
            self._inspect()
            self._manager = stack.enter_context(_manager(self.folder, keep))
            self._stack = stack.pop_all()
        self._open = True

    def __enter__(self) -> "Snapshots":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the folder to others."""
        self._open = False
        self._stack.close()

    def _check_open(self) -> None:
        if not self._open:
            raise ValueError(f"the snapshots in {self.folder} are closed: others may be at work there")

    @property
    def steps(self) -> list[int]:
        """Of the snapshots there are."""
        return sorted(self._manager.all_steps())

    @property
    def due(self) -> bool:
        """Whether it is time for another."""
        return time.monotonic() - (self._saved[1] if self._saved else self._opened) >= self.seconds

    @_silence()
    def save(self, snapshot: Snapshot) -> None:
        """Write one, unless it is there. What goes wrong is told, and the ones before it stay as they are."""
        self._check_open()
        if self._saved and self._saved[0] == snapshot.step:
            return
        self._saved = snapshot.step, time.monotonic()
        arrays = {name: array for name, array in snapshot.arrays.items() if array.size}  # orbax takes no others
        record = {**snapshot.record, "arrays": _digest(arrays)}
        try:
            self._write(snapshot.step, arrays, {"record": record, "digest": _digest_of_text(to_json(record))})
        except Exception as error:  # the many kinds of operating system, tensorstore and orbax
            self._tell(f"update {snapshot.step} could not be saved in {self.folder} ({_line(error)})")
            with contextlib.suppress(Exception):
                self._manager.reload()

    def _write(self, step: int, arrays: dict[str, np.ndarray], record: dict[str, Any]) -> None:
        import orbax.checkpoint as ocp

        parts = ocp.args.Composite(arrays=ocp.args.StandardSave(arrays), record=ocp.args.JsonSave(record))
        self._manager.save(step, args=parts, force=True)
        self._manager.wait_until_finished()

    @_silence()
    def latest(self, solve: Mapping[str, Any], shapes: Callable[[Mapping[str, Any]], Shapes]) -> Snapshot | None:
        """The latest that is whole; None where there is none. `shapes` says, by the record, what arrays it must hold.

        Raises `ValueError` if it is one of another `solve`, which is described under that name in the record.
        """
        self._check_open()
        for step in reversed(self.steps):
            try:
                record = self._record(step)
                arrays = self._arrays(step, shapes(record), record) if record["solve"] == solve else {}
            except Exception as error:  # a damaged file may lead to anything
                self._set_aside(str(step), error)
                self._manager.reload()
                continue
            if record["solve"] != solve:
                raise ValueError(f"{self.folder} is of another solve: {_differences(record['solve'], solve)}")
            self._saved = step, time.monotonic()
            return Snapshot(step, arrays, record)
        if self._needed:
            raise ValueError(
                f"{self.folder} holds no snapshot to go on from; what else there is of the run stays as it is"
            )
        return None

    def _inspect(self) -> None:
        """Before orbax opens anything: plain files and folders only, and what orbax reads of every step is JSON."""
        for path in self.folder.rglob("*"):
            if not (stat.S_ISREG(mode := path.lstat().st_mode) or stat.S_ISDIR(mode)):
                raise ValueError(f"{path} is neither a plain file nor a folder: it is not followed or read")
        for path in self.folder.glob("*/_CHECKPOINT_METADATA"):
            if not path.parent.name.isdigit():
                continue
            try:
                with path.open("rb") as file:
                    json.loads(file.read(_LARGEST_RECORD))
            except (ValueError, RecursionError, OSError) as error:
                self._set_aside(path.parent.name, error)

    def _record(self, step: int) -> dict[str, Any]:
        import orbax.checkpoint as ocp

        size = sum(file.stat().st_size for file in (self.folder / str(step) / "record").iterdir())
        if size > _LARGEST_RECORD:
            raise ValueError(f"its record has {size} bytes")
        saved = self._manager.restore(step, args=ocp.args.Composite(record=ocp.args.JsonRestore())).record
        if saved["digest"] != _digest_of_text(to_json(saved["record"])):
            raise ValueError("its record was changed")
        return dict(saved["record"])

    def _arrays(self, step: int, shapes: Shapes, record: Mapping[str, Any]) -> dict[str, np.ndarray]:
        import orbax.checkpoint as ocp

        empty = {name: np.zeros(like.shape, like.dtype) for name, like in shapes.items() if not like.size}
        wanted = {name: like for name, like in shapes.items() if like.size}
        found = self._manager.item_metadata(step)["arrays"]
        held = {name: (tuple(one.shape), np.dtype(one.dtype)) for name, one in found.items()}
        if held != {name: (like.shape, np.dtype(like.dtype)) for name, like in wanted.items()}:
            raise ValueError("it holds other arrays")
        templates = {name: np.broadcast_to(np.zeros((), like.dtype), like.shape) for name, like in wanted.items()}
        restore = ocp.args.Composite(arrays=ocp.args.StandardRestore(templates))
        arrays = {name: np.asarray(array) for name, array in self._manager.restore(step, args=restore).arrays.items()}
        if _digest(arrays) != record["arrays"]:
            raise ValueError("its arrays were changed")
        return {**arrays, **empty}

    def _set_aside(self, step: str, error: Exception) -> None:
        """Out of the way of a new one of that number, but not lost."""
        number = 0
        while (aside := self.folder / f"damaged-{step}-{number}").exists():
            number += 1
        (self.folder / step).rename(aside)
        self._tell(f"the state after update {step} is damaged ({_line(error)}), and was moved to {aside}")


@contextlib.contextmanager
def _manager(folder: Path, keep: int) -> Iterator[Any]:
    """Orbax's own; what a process that was killed left half-written is removed."""
    import orbax.checkpoint as ocp

    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep, enable_async_checkpointing=False, cleanup_tmp_directories=True
    )
    handlers = {"arrays": ocp.StandardCheckpointHandler(), "record": ocp.JsonCheckpointHandler()}
    with _silence():
        manager = ocp.CheckpointManager(folder, options=options, item_handlers=handlers)
    yield manager
    with _silence():
        manager.close()


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


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Of names, shapes, types and bytes."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _digest_of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    names = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    return "; ".join(f"{name} {there.get(name)} there, {here.get(name)} here" for name in names)


def _line(error: Exception) -> str:
    """The first line of a message, or what kind of error it is."""
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
