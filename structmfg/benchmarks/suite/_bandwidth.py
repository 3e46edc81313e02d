"""The bandwidth of a plain copy, against which the operators' are held."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from structmfg.benchmarks.suite._timing import Effort, time_scan

_MEGABYTES = 128  # of each array: far beyond the caches


def copy_bandwidth(seconds: float = 1.0) -> Callable[..., dict[str, Any]]:
    """Measures bytes read and written a second by a large copy: NumPy's (the measure), and XLA's x + 1 in a loop."""

    def measure() -> dict[str, Any]:
        source, target = (np.full(_MEGABYTES * 2**18, x, np.float32) for x in (1, 2))
        best, end = float("inf"), time.perf_counter() + seconds
        while time.perf_counter() < end:
            began = time.perf_counter()
            np.copyto(target, source)
            best = min(best, time.perf_counter() - began)
        moved = 2 * source.nbytes
        del target

        def add(x: Array, index: int, times: Array) -> Array:  # in a loop, or one pass would do for all steps
            return lax.fori_loop(0, times, lambda _, y: y + 1, x)

        added = time_scan(add, jnp.asarray(source), jnp.asarray(1), Effort(0.2, 5))
        return {
            "seconds": best,
            "array_bytes": source.nbytes,
            "bytes_per_second": moved / best,
            "xla_bytes_per_second": moved / added.least,
            "device": str(jax.devices()[0]),
            "dtype": str(jnp.zeros(()).dtype),
        }

    return measure
