"""The interest rate that RSPG finds in `huggett_shocks`, by state of productivity, beside published figures.

This trains a recurrent policy that observes the two prices alone, and prints its exploitability over the time of
training, the excess demand that is left in any period, and mean and deviation of the interest rate by state of
productivity. The first and the last steps, near the start and near the end of the world, are left out. The published
figures (Yang, Wang, Schaab & Moll 2025, arXiv 2512.18892) are of a policy that sees the distribution.

    python -m structmfg.benchmarks.huggett --out runs/huggett
"""

import argparse
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from structmfg._files import output_folder
from structmfg.benchmarks._script import script_parser, write_results
from structmfg.benchmarks._tables import table
from structmfg.evaluation import Estimate, best_response_gains, evaluate_paths, market_residuals
from structmfg.games import Game, NoisePaths, make, noise_paths
from structmfg.policies import Policy, uniform
from structmfg.solvers import preset
from structmfg.solvers.loop import solve

PUBLISHED = {  # mean and deviation of the interest rate by productivity
    0.9139: (0.0283, 0.0007),
    0.9560: (0.0267, 0.0006),
    1.0: (0.0250, 0.0008),
    1.0460: (0.0222, 0.0011),
    1.0942: (0.0188, 0.0016),
}
_HELD_OUT_KEY = 20_261_121
_STEPS, _PATHS_PER_UPDATE = 350, 4  # unless asked otherwise
_COLUMNS = {
    "productivity": "z", "periods": "periods", "mean": "mean r", "deviation": "deviation",
    "published": "published", "published_deviation": "deviation there",
}  # fmt: skip


def rates(game: Game, policy: Policy, paths: NoisePaths, *, dropped: int) -> tuple[list[dict[str, Any]], float]:
    """Mean and deviation of the interest rate by productivity, and the largest excess demand, in double precision."""
    with jax.enable_x64(True):
        noise = jax.tree.map(lambda z: z.astype(float), paths.noise)
        aggregates = evaluate_paths(game, policy, noise).aggregates
        residual = float(np.abs(market_residuals(game, policy, noise)).max())
        kept = slice(dropped, game.horizon - dropped)
        interest, z = np.asarray(aggregates.price)[:, kept, 0], np.asarray(noise)[:, kept]
    rows = []
    for value, (mean, deviation) in PUBLISHED.items():
        found = interest[np.isclose(z, value, atol=1e-3)]
        rows.append(
            {"productivity": value, "periods": found.size, "mean": float(found.mean()) if found.size else np.nan,
             "deviation": float(found.std()) if found.size else np.nan, "published": mean,
             "published_deviation": deviation}
        )  # fmt: skip
    return rows, residual


def run(parameters: dict[str, Any], *, steps: int, evaluations: int, seed: int, num_paths: int) -> dict[str, Any]:
    """Train and measure once."""
    game = make("huggett_shocks", **parameters)
    held_out = noise_paths(game, key=jax.random.key(_HELD_OUT_KEY), num_paths=4, sampling="iid")

    def measure(policy: Policy) -> Estimate:
        return Estimate.of(np.asarray(best_response_gains(game, policy, held_out)))

    reference = measure(uniform(game)).value
    solver, max_steps = preset(game, "rspg", num_paths=_PATHS_PER_UPDATE, max_steps=steps or _STEPS)
    solution = solve(
        game, solver, key=jax.random.key(seed), max_steps=max_steps, evaluate=measure, evaluations=evaluations
    )
    curve = [(point.step, point.train_seconds, point.value) for point in solution.stats["checkpoints"]]
    reached = [seconds for _, seconds, value in curve if value <= 1e-2 * reference]
    paths = noise_paths(game, key=jax.random.key(_HELD_OUT_KEY + 1), num_paths=num_paths, sampling="iid")
    rows, residual = rates(game, solution.policy, paths, dropped=min(20, game.horizon // 4))
    return {
        "game": repr(game), "uniform": reference, "curve": curve, "compile_seconds": solution.stats["compile_seconds"],
        "seconds_to_a_hundredth": reached[0] if reached else None, "largest_excess_demand": residual, "rates": rows,
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = script_parser(__doc__)
    parser.add_argument(
        "--steps", type=int, default=0, help=f"updates, of {_PATHS_PER_UPDATE} paths; {_STEPS} unless given"
    )
    parser.add_argument("--evaluations", type=int, default=10, help="how often exploitability is measured")
    parser.add_argument("--paths", type=int, default=64, help="noise paths on which interest rates are measured")
    parser.add_argument("--seed", type=int, default=0)
    for name in ("num_assets", "num_actions", "horizon"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=argparse.SUPPRESS)
    chosen = vars(parser.parse_args(arguments))
    out = chosen.pop("out")
    steps, evaluations, paths, seed = (chosen.pop(name) for name in ("steps", "evaluations", "paths", "seed"))
    with output_folder(out, "huggett") as folder:
        result = run(chosen, steps=steps, evaluations=evaluations, seed=seed, num_paths=paths)
        print(table("interest rate by productivity", _COLUMNS, result["rates"]))
        print(f"exploitability (clairvoyant) of the uniform policy {result['uniform']:.4g}; by step and seconds:")
        for step, seconds, value in result["curve"]:
            print(f"{step:6d} {seconds:8.1f} {value:10.4g}")
        print(f"seconds to a hundredth of the uniform policy's: {result['seconds_to_a_hundredth']}")
        print(f"largest excess demand in any period: {result['largest_excess_demand']:.3g}")
        write_results(folder, "huggett", **result)


if __name__ == "__main__":
    main()
