"""The device that the suite measures on: which one it is, how processes reach it, and its memory."""

import functools
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

import jax

from structmfg._checks import check_name
from structmfg._memory import forget_peak, peak_memory, resident_memory
from structmfg.benchmarks._machine import processor

CPU, GPU = "cpu", "gpu"
DEVICES = (CPU, GPU)
_ADD_ONS = ("jax_plugins", "libtpu")  # JAX reaches other devices than the processor through one of these packages
_SECONDS = 120  # after which JAX is taken to hang while it looks for devices
_ASK = """
import json, jax
found = {jax.devices()[0].platform: jax.devices()[0].device_kind}
for name in ("gpu", "tpu", "cpu"):
    try:
        found.setdefault(name, jax.devices(name)[0].device_kind)
    except RuntimeError:
        pass
print(json.dumps(found))
"""


class SuiteDevice(NamedTuple):
    """A device of this machine: JAX's name of its platform, "cpu" or "gpu", and what it is."""

    platform: str
    kind: str


def find_device(name: str | None) -> SuiteDevice:
    """The device of this name, "cpu" or "gpu"; None for the one that JAX picks.

    JAX is asked in another process, as a process that has found a GPU keeps some of its memory.

    Raises:
        ValueError: There is no such device, or JAX has none of them here.
    """
    if name is not None:
        check_name("device", name, DEVICES)
    only_processor = not any(map(importlib.util.find_spec, _ADD_ONS))
    found = {CPU: processor()} if name == CPU or only_processor else _platforms(name)
    if name is not None and name not in found:
        raise ValueError(
            f"device {name!r} is none that JAX has here, which are {', '.join(found)}; for NVIDIA GPUs it needs "
            "pip install 'structmfg[gpu]'"
        )
    platform = name or next(iter(found))
    return SuiteDevice(platform, found[platform])


def _platforms(name: str | None) -> dict[str, str]:
    """What JAX finds here, its own choice first: the kind of the device by platform."""
    try:
        asked = subprocess.run(
            [sys.executable, "-c", _ASK],
            capture_output=True,
            text=True,
            check=False,
            env=environment(name),
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"JAX has not told its devices within {_SECONDS} seconds") from None
    if asked.returncode:
        raise ValueError(f"JAX finds no device: {(asked.stderr.strip() or 'no message').splitlines()[-1]}")
    return dict(json.loads(asked.stdout.splitlines()[-1]))


def environment(name: str | None) -> dict[str, str]:
    """The environment of a process that measures on "cpu" or "gpu"; None for the device that JAX picks.

    In single precision, where a case says nothing else. On a GPU a process takes memory as it needs it, as others may
    use the GPU too.
    """
    variables = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ, "JAX_ENABLE_X64": "0"}
    if name == CPU:
        variables["JAX_PLATFORMS"] = CPU
    elif name == GPU:  # JAX's own choice, with the processor beside it, to which results are compared
        variables.pop("JAX_PLATFORMS", None)
    return variables


class PeakMemory:
    """The most memory that was held beyond that at the start: on a GPU its own, else that of the process.

    JAX cannot forget the peak of a GPU, so there it is that since the start of the process.
    """

    def __init__(self) -> None:
        jax.block_until_ready(jax.jit(lambda: jax.numpy.ones(8))())  # the client and the compiler are up
        self._before = _bytes_on_device("bytes_in_use", resident_memory)
        forget_peak()

    def forget(self) -> None:
        """Measure from now on, where that can be."""
        forget_peak()

    def read(self) -> int:
        """The bytes."""
        # The memory at the start counts as well: where pages were given back since, all later peaks are below it.
        return max(self._before, _bytes_on_device("peak_bytes_in_use", peak_memory)) - self._before


def _bytes_on_device(name: str, of_process: Callable[[], int]) -> int:
    """A figure of the device's memory; that of the process on a processor, and where the device does not say it."""
    device = jax.devices()[0]
    stats = (None if device.platform == CPU else device.memory_stats()) or {}
    return int(stats[name]) if name in stats else of_process()


@functools.cache
def steps_between_readings() -> int:
    """How many turns of a loop run before its condition is looked at: on a GPU each look waits for a copy."""
    return 1 if jax.default_backend() == CPU else 16
