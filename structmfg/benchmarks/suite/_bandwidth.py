"""The bandwidth of a plain copy, with which that of the operators is compared."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from structmfg.benchmarks.suite._timing import TimingBudget, time_scan

_ARRAY_MIB = {"cpu": 128, "gpu": 1024}  # of each array: far more than the caches hold


def copy_bandwidth(seconds: float = 1.0) -> Callable[..., dict[str, Any]]:
    """A function that measures the bandwidth (bytes read and written) of NumPy's copy, and of XLA's x + 1 in a loop.

    On another device than the processor there is no copy by NumPy, and XLA's counts for both.
    """

    def measure() -> dict[str, Any]:
        device = jax.devices()[0]
        source = np.full(_ARRAY_MIB.get(device.platform, 128) * 2**18, 1, np.float32)
        copied_bytes = 2 * source.nbytes
        best = _numpy_copy(source, seconds) if device.platform == "cpu" else None

        def add(x: Array, index: int, times: Array) -> Array:  # a loop, as XLA would fuse all steps into one pass
            return lax.fori_loop(0, times, lambda _, y: y + 1, x)

        added = time_scan(add, jnp.asarray(source), jnp.asarray(1), TimingBudget(0.2, 5)).least
        return {
            "seconds": best or added,
            "array_bytes": source.nbytes,
            "bytes_per_second": copied_bytes / (best or added),
            "xla_bytes_per_second": copied_bytes / added,
            "device": f"{device} ({device.device_kind})",
            "dtype": str(jnp.zeros(()).dtype),
        }

    return measure


def _numpy_copy(source: np.ndarray, seconds: float) -> float:
    """The least seconds of a copy, of those made in so many seconds."""
    target, best, end = np.full_like(source, 2), float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        np.copyto(target, source)
        best = min(best, time.perf_counter() - began)
    return best
