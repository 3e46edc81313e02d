"""Devices whose speed is stated by their makers, and the processor of this machine, which is measured."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from structmfg._checks import check_name
from structmfg._memory import memory_left, memory_use


class Device(NamedTuple):
    """The most that a device does, in single precision.

    Attributes:
        name: Its name.
        flops: Arithmetic operations in a second.
        bandwidth: Bytes that its memory reads or writes in a second.
        memory: Bytes that a program may have.
        link: Bytes that it sends to another machine in a second.
        latency: Seconds that a short message takes.
        launch: Seconds from the start of a short instruction to the start of the next; zero for a processor, where they
            are below a microsecond.
        measured: Whether flops and bandwidth were measured now on this machine.
    """

    name: str
    flops: float
    bandwidth: float
    memory: float
    link: float
    latency: float
    launch: float
    measured: bool = False


# JAX takes three quarters of the memory of a GPU, where XLA_PYTHON_CLIENT_MEM_FRACTION does not say otherwise.
_SHARE = 0.75
# A hop of a tree between machines, protocol LL, in the model of NVIDIA's NCCL (src/graph/tuning.cc): 5 us.
_NCCL_HOP = 5e-6
# Measured on an H200 with JAX 0.11.2 (docs/gpu.md): updates of 1402 to 5134 short kernels took 1.3 to 1.6 us for each.
_GPU_LAUNCH = 1.5e-6
DEVICES = {
    # NVIDIA H100 data sheet, SXM: 67 Tflop/s in FP32 without tensor cores, 3.35 TB/s, 80 GB.
    # NVIDIA DGX H100 data sheet: a network card of 400 Gbit/s for each GPU.
    "h100": Device("h100", 67e12, 3.35e12, _SHARE * 80e9, 50e9, _NCCL_HOP, _GPU_LAUNCH),
    # NVIDIA H200 data sheet, SXM: 67 Tflop/s, 4.8 TB/s, 141 GB. DGX H200 data sheet: as DGX H100.
    "h200": Device("h200", 67e12, 4.8e12, _SHARE * 141e9, 50e9, _NCCL_HOP, _GPU_LAUNCH),
    # NVIDIA A100 data sheet, 80 GB SXM: 19.5 Tflop/s, 2,039 GB/s. DGX A100 data sheet: 200 Gbit/s for each GPU.
    "a100": Device("a100", 19.5e12, 2.039e12, _SHARE * 80e9, 25e9, _NCCL_HOP, _GPU_LAUNCH),
}
CPU = "cpu"
# A message of gloo between two processes took about 1 ms where that was measured; a network card of 10 Gbit/s.
_GLOO_LATENCY, _TEN_GIGABIT = 1e-3, 1.25e9
_SECONDS = 0.4  # of each measurement
_NUMBERS, _SIDE, _TURNS = 2**24, 1024, 4


def device(name: str) -> Device:
    """The device of this name; "cpu" is measured, which takes less than two seconds.

    Raises:
        ValueError: There is no such device.
    """
    check_name("device", name, [*DEVICES, CPU])
    return DEVICES[name] if name in DEVICES else _this_processor()


def _this_processor() -> Device:
    vector, matrix = jnp.ones(_NUMBERS), jnp.ones((_SIDE, _SIDE))
    # In a loop, as the room of every new array would have to be found.
    copies = _least_seconds(lambda x: jax.lax.fori_loop(0, _TURNS, lambda _, y: y + 1, x), vector)
    product = _least_seconds(lambda x: x @ x, matrix)
    available = float(memory_use().resident + memory_left())
    bandwidth, flops = 2 * _TURNS * vector.nbytes / copies, 2 * _SIDE**3 / product
    return Device(CPU, flops, bandwidth, available, _TEN_GIGABIT, _GLOO_LATENCY, 0.0, measured=True)


def _least_seconds(function: Callable[[Any], Any], argument: Any) -> float:
    compiled = jax.jit(function).lower(argument).compile()
    compiled(argument).block_until_ready()
    least, end = float("inf"), time.perf_counter() + _SECONDS
    while time.perf_counter() < end:
        began = time.perf_counter()
        compiled(argument).block_until_ready()
        least = min(least, time.perf_counter() - began)
    return least
