"""Products of an unstructured matrix with a vector, against SciPy's.

The matrix is that of a chain of S states with 5 random successors each. A time is the least of several calls in turn,
so that what else the machine does counts little; `taskset -c 0` keeps to one core, as SciPy does. This prints a table
and writes products.json.

    taskset -c 0 python -m structmfg.benchmarks.products 1000000 --out runs/products
"""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from structmfg._checks import check_integer
from structmfg._files import output_folder
from structmfg.benchmarks._script import script_parser, write_results
from structmfg.benchmarks._tables import table
from structmfg.operators import from_scipy

_SUCCESSORS = 5


def ratios(num_states: int = 1_000_000, *, rounds: int = 10, seed: int = 0) -> dict[str, float]:
    """The time of a product with `from_scipy(M)` over that of SciPy with M, or with M^T in rows, by precision."""
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
            x = jnp.asarray(vector)
            pairs = {
                "A v": (functools.partial(operator.mv, x), functools.partial(matrix.__matmul__, vector)),
                "A^T mu": (
                    functools.partial(operator.rmv, x),
                    functools.partial(transposed.__matmul__, vector),
                ),
            }
            for name, (ours, theirs) in pairs.items():
                times = np.array([[_seconds(ours), _seconds(theirs)] for _ in range(rounds + 1)])[1:].min(axis=0)
                result[f"{name} {np.dtype(dtype)}"] = float(times[0] / times[1])
    return result


def _seconds(product: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(product())
    return time.perf_counter() - start


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the script; see the module."""
    parser = script_parser(__doc__)
    parser.add_argument("num_states", nargs="?", type=int, default=1_000_000, help="S (default: %(default)s)")
    options = parser.parse_args(arguments)
    with output_folder(options.out, "products") as folder:
        rows = [{"product": name, "ratio": ratio} for name, ratio in ratios(options.num_states).items()]
        print(table("time over SciPy's", {"product": "product", "ratio": "ratio"}, rows))
        write_results(folder, "products", num_states=options.num_states, rows=rows)


if __name__ == "__main__":
    main()
