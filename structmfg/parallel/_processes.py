"""The processes of one solve, on one machine or many: they start together, agree where they must, and end together.

All run the same program, and must call the same compiled programs in the same order. What only one of them can know,
such as the time, a signal or a file, the first process tells the others. The functions that send messages do so while a
mesh of several processes is in use, and all of these processes must call them; otherwise a process works by itself.
"""

import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from structmfg._checks import check_integer

_START_SECONDS = 120  # that the processes wait for each other at the start
_HEARTBEAT_SECONDS = 20  # without a sign of life, after which a process counts as dead, and all others end
_END_SECONDS = 24 * 3600  # that they wait for the first process at the end, which may still write a report
_LAST_PORT = 65535
_joined = False

Value = TypeVar("Value")


def join() -> None:
    """Join the processes of a solve; call it before anything else of JAX.

    SLURM, Open MPI and Kubernetes say who takes part; elsewhere `JAX_COORDINATOR_ADDRESS` (host:port of the first
    process), `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID` (from zero on) do.

    Raises:
        ValueError: Nothing says who takes part, or a variable is not such a number.
        RuntimeError: Nothing answers at `JAX_COORDINATOR_ADDRESS` within two minutes. Where the first process waits as
            long for the others, JAX ends it with a message of its own.
    """
    global _joined
    number, count = _variable("JAX_PROCESS_ID", at_least=0), _variable("JAX_NUM_PROCESSES", at_least=1)
    if number is not None and count is not None and number >= count:
        raise ValueError(f"JAX_PROCESS_ID must be in 0..{count - 1}, as JAX_NUM_PROCESSES is {count}, but is {number}")
    address = os.environ.get("JAX_COORDINATOR_ADDRESS")
    if address is not None:
        host, port = _host_and_port(address)
        if number:  # the first process, or one whose number a cluster gives, is left to JAX
            _wait_for(host, port)
    jax.config.update("jax_enable_preemption_service", False)  # `solve` agrees on signals itself
    try:
        jax.distributed.initialize(
            num_processes=count,
            process_id=number,
            initialization_timeout=_START_SECONDS,
            heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=_END_SECONDS,
        )
    except (ValueError, TypeError) as error:
        raise ValueError(
            "nothing says which processes take part: start them by srun, mpirun or a Kubernetes job, or set "
            f"JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID for each ({error})"
        ) from error
    _joined = True
    multihost_utils.sync_global_devices("start")  # the first message may take at most 30 s, and later ones any time


def _host_and_port(address: str) -> tuple[str, int]:
    """The parts of host:port. `ValueError` on another form."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or int(port) > _LAST_PORT:
        raise ValueError(f"JAX_COORDINATOR_ADDRESS must be host:port of the first process, but is {address!r:.80}")
    return host.strip("[]"), int(port)


def _wait_for(host: str, port: int) -> None:
    """Wait until something answers there. `RuntimeError` where nothing does."""
    until = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection((host, port), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > until:
                raise RuntimeError(f"no answer from {host}:{port} within {_START_SECONDS} s ({error})") from error
            time.sleep(0.5)


def leave() -> None:
    """Wait until all processes have come here, and part; nothing to do for one that has not joined others."""
    global _joined
    if _joined:
        jax.distributed.shutdown()
    _joined = False


def end_at_once(code: int) -> None:
    """End a process that has joined others and not left them, without waiting for them; they see it and end, too."""
    if _joined:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _variable(name: str, at_least: int) -> int | None:
    """A whole number from the environment."""
    if name not in os.environ:
        return None
    text = os.environ[name]
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"{name} must be a whole number, but is {text!r:.40}")
    return check_integer(name, int(text), at_least=at_least)


def _is_shared() -> bool:
    """Whether the mesh in use has devices of several processes."""
    mesh = jax.sharding.get_mesh()
    return not mesh.empty and len({device.process_index for device in mesh.devices.flat}) > 1


def wait_for_all() -> None:
    """Wait until all processes have come here."""
    if _is_shared():
        multihost_utils.sync_global_devices("structmfg")


def is_first() -> bool:
    """Whether this is the process that reads and writes files, and the only one where there is one."""
    return jax.process_count() == 1 or jax.process_index() == 0


def agree(value: float) -> float:
    """The number of the first process, in all of them; in single precision where there are several."""
    return float(multihost_utils.broadcast_one_to_all(np.float32(value))) if _is_shared() else value


def any_process(flag: bool) -> bool:
    """Whether a condition holds in any of the processes."""
    return bool(np.any(multihost_utils.process_allgather(np.int32(flag)))) if _is_shared() else flag


def check_same(what: str, described: Mapping[str, Any]) -> None:
    """Raise `ValueError` in all processes unless all of them describe something in the same words.

    Args:
        what: What is described, for the message.
        described: By name, all that must agree, as JSON can hold it.
    """
    if not _is_shared():
        return
    digest = {name: hashlib.sha256(json.dumps(value).encode()).digest() for name, value in described.items()}
    everyone = _gather_bytes(json.dumps({name: each.hex() for name, each in digest.items()}).encode())
    theirs = [json.loads(text) for text in everyone]
    for number, other in enumerate(theirs):
        differing = [name for name in {**theirs[0], **other} if theirs[0].get(name) != other.get(name)]
        if differing:
            raise ValueError(f"{what} must be the same in all processes, but process {number} has another {differing}")


def from_first(read: Callable[[], Value], write: Callable[[Value], bytes], parse: Callable[[bytes], Value]) -> Value:
    """What the first process reads, in all processes, by way of bytes; its `ValueError` is raised in all."""
    if not _is_shared():
        return read()
    content = b""
    if is_first():
        try:
            content = b"+" + write(read())
        except ValueError as error:
            content = b"-" + str(error).encode()
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    sent = np.frombuffer(content, np.uint8) if is_first() else np.zeros(size, np.uint8)
    content = multihost_utils.broadcast_one_to_all(sent).tobytes()
    if content[:1] == b"-":
        raise ValueError(content[1:].decode())
    return parse(content[1:])


def _gather_bytes(content: bytes) -> list[bytes]:
    """The bytes of every process."""
    sizes = np.ravel(multihost_utils.process_allgather(np.int32(len(content))))
    padded = np.frombuffer(content.ljust(int(sizes.max()), b" "), np.uint8)
    return [row[:size].tobytes() for row, size in zip(multihost_utils.process_allgather(padded), sizes, strict=True)]
