"""Products of an unstructured matrix with a vector, beside SciPy's: `python -m structmfg.benchmarks.products`.

A chain of S states with 5 random successors each. Times are the least of several calls in turn, so that what else the
machine does counts little; `taskset -c 0` keeps to one core, as SciPy does.
"""

import functools
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from structmfg._checks import check_integer
from structmfg.operators import from_scipy

_SUCCESSORS = 5


def ratios(num_states: int = 1_000_000, *, rounds: int = 10, seed: int = 0) -> dict[str, float]:
    """The time of a product with `from_scipy(M)` over that of SciPy's with M, or with M^T in rows, by precision."""
    check_integer("num_states", num_states, at_least=1)
    check_integer("rounds", rounds, at_least=1)
    random = np.random.default_rng(seed)
    rows = np.repeat(np.arange(num_states), _SUCCESSORS)
    columns = random.integers(0, num_states, rows.size)
    result = {}
    for dtype in (np.float32, np.float64):
        with jax.enable_x64(dtype is np.float64):
            weights = np.full(rows.size, 1 / _SUCCESSORS, dtype)
            matrix = scipy.sparse.csr_array((weights, (rows, columns)), shape=(num_states, num_states))
            transposed, operator = matrix.T.tocsr(), from_scipy(matrix)
            vector = random.random(num_states).astype(dtype)
            held = jnp.asarray(vector)
            pairs = {
                "A v": (functools.partial(operator.mv, held), functools.partial(matrix.__matmul__, vector)),
                "A^T mu": (functools.partial(operator.rmv, held), functools.partial(transposed.__matmul__, vector)),
            }
            for name, (ours, theirs) in pairs.items():
                times = np.array([[_seconds(ours), _seconds(theirs)] for _ in range(rounds + 1)])[1:].min(axis=0)
                result[f"{name} {np.dtype(dtype)}"] = float(times[0] / times[1])
    return result


def _seconds(product: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(product())
    return time.perf_counter() - start


if __name__ == "__main__":
    for name, ratio in ratios(*map(int, sys.argv[1:2])).items():
        print(f"{name:16} {ratio:.2f} times SciPy's time")
