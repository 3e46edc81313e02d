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

_ARRAY_MIB = 128  # of each array: far more than the caches hold


def copy_bandwidth(seconds: float = 1.0) -> Callable[..., dict[str, Any]]:
    """A function that measures the bandwidth (bytes read and written) of NumPy's copy, and of XLA's x + 1 in a loop."""

    def measure() -> dict[str, Any]:
        source, target = (np.full(_ARRAY_MIB * 2**18, x, np.float32) for x in (1, 2))
        best, end = float("inf"), time.perf_counter() + seconds
        while time.perf_counter() < end:
            began = time.perf_counter()
            np.copyto(target, source)
            best = min(best, time.perf_counter() - began)
        copied_bytes = 2 * source.nbytes
        del target

        def add(x: Array, index: int, times: Array) -> Array:  # a loop, as XLA would fuse all steps into one pass
            return lax.fori_loop(0, times, lambda _, y: y + 1, x)

        added = time_scan(add, jnp.asarray(source), jnp.asarray(1), TimingBudget(0.2, 5))
        return {
            "seconds": best,
            "array_bytes": source.nbytes,
            "bytes_per_second": copied_bytes / best,
            "xla_bytes_per_second": copied_bytes / added.least,
            "device": str(jax.devices()[0]),
            "dtype": str(jnp.zeros(()).dtype),
        }

    return measure
