"""The time of the likelihood of aggregate series, and that of its gradient as a multiple.

Three series respond to three shocks, each an AR(1) process with a persistence and a size, so that the gradient is by
six parameters. Compiled before, both are called in turn; this prints the median time and the median of the ratios of
neighbouring calls, which other work on the machine changes less, and writes likelihood.json.

    python -m structmfg.benchmarks.sequence_space.likelihood 100 300 --out runs/likelihood
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from structmfg._checks import check_integer
from structmfg._files import output_folder
from structmfg.benchmarks._script import script_parser, write_results
from structmfg.benchmarks._tables import table
from structmfg.economies.sequence_space import MovingAverage, autoregressive, log_likelihood, simulate

_SERIES = 3
_COLUMNS = {"periods": "periods", "seconds": "seconds", "ratio": "with gradient, times as long"}


def measure(num_periods: int, *, horizon: int = 300, rounds: int = 30, seed: int = 0) -> dict[str, float]:
    """The seconds of one likelihood of `num_periods` observations of three series, and the ratio with gradient."""
    check_integer("num_periods", num_periods, at_least=1)
    check_integer("rounds", rounds, at_least=1)
    lags = np.subtract.outer(np.arange(horizon), np.arange(horizon))
    weights = np.random.default_rng(seed).normal(size=(_SERIES, _SERIES, 1, 1))
    jacobians = weights * 0.8 ** np.abs(lags)
    names = tuple(f"x{i}" for i in range(_SERIES))

    def average(parameters: Any) -> MovingAverage:
        inputs = jnp.stack([autoregressive(size, rho, horizon) for rho, size in parameters])
        responses = jnp.einsum("ijts,js->tij", jacobians, inputs)
        return MovingAverage(responses, names, names)

    with jax.enable_x64(True):
        at = jnp.array([[0.9, 0.01], [0.7, 0.02], [0.5, 0.005]])
        paths = simulate(average(at), jax.random.key(seed), num_periods)
        data = np.stack([paths[name] for name in names], -1)

        def density(parameters: Any) -> Any:
            return log_likelihood(average(parameters), data)

        calls = [jax.jit(density), jax.jit(jax.value_and_grad(density))]
        times = np.array([[_seconds(call, at) for call in calls] for _ in range(rounds + 1)])[1:]
    return {
        "periods": num_periods,
        "seconds": float(np.median(times[:, 0])),
        "ratio": float(np.median(times[:, 1] / times[:, 0])),
    }


def _seconds(call: Callable[[Any], Any], at: Any) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call(at))
    return time.perf_counter() - start


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the script; see the module."""
    parser = script_parser(__doc__)
    parser.add_argument("periods", nargs="*", type=int, default=[100, 300], help="N (default: %(default)s)")
    options = parser.parse_args(arguments)
    with output_folder(options.out, "likelihood") as folder:
        rows = [measure(num_periods) for num_periods in options.periods]
        print(table("likelihood of three series", _COLUMNS, rows))
        write_results(folder, "likelihood", rows=rows)


if __name__ == "__main__":
    main()
