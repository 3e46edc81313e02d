"""Training time to exploitability: the default settings against the algorithm as published, in one run.

For every game and seed this trains

- the default settings of `structmfg solve` (RSPG), to the end;
- the `paper` preset (joint network, independent paths, no entropy bonus, Adam 1e-3) for 200 updates, the yardstick;
- the default settings again, on a schedule of `--short` updates, to see when they first reach the exploitability at
  which the yardstick ended;
- SPG, the memoryless counterpart, with the default settings,

and prints medians over the seeds. Seconds are of training: neither compilation nor evaluation is counted.
Exploitability is clairvoyant, over all noise paths where they are finite, else over 32 held-out paths.

    python benchmarks/training.py --games linear_quadratic beach_bar macro --seeds 3 --out training.json
"""

import argparse
import json
import pathlib
import platform
import statistics
from typing import Any

import jax

import structmfg as smfg
from structmfg.games import Game
from structmfg.solvers import Estimate, exploitability, preset, solve

_HELD_OUT = 20_261_121  # the key of the held-out paths; training keys are the seeds
SHORT = {"linear_quadratic": 600, "beach_bar": 400, "macro": 150}


def train(
    game: Game, seed: int, *, evaluations: int, solver: str = "rspg", name: str = "default", steps: int = 0
) -> dict[str, Any]:
    """One run: final exploitability, training seconds, and the curve of (seconds, exploitability)."""
    algorithm, max_steps = preset(game, solver, name)

    def measure(policy: smfg.policies.Policy) -> Estimate:
        return exploitability(game, policy, key=jax.random.key(_HELD_OUT))

    solution = solve(
        game,
        algorithm,
        key=jax.random.key(seed),
        max_steps=steps or max_steps,
        evaluate=measure,
        evaluations=evaluations,
    )
    curve = [(point.train_seconds, point.value) for point in solution.stats["checkpoints"]]
    return {
        "steps": solution.stats["steps"],
        "seconds": solution.stats["train_seconds"],
        "compile_seconds": solution.stats["compile_seconds"],
        "exploitability": curve[-1][1],
        "curve": curve,
    }


def time_to(curve: list[tuple[float, float]], level: float) -> float:
    """Seconds until the exploitability is first at or below a level; infinity if never."""
    return next((seconds for seconds, value in curve if value <= level), float("inf"))


def compare(name: str, seeds: int) -> dict[str, Any]:
    """All runs of one game, with the speed-up over the yardstick."""
    game = smfg.games.make(name)
    rows = []
    for seed in range(seeds):
        runs = {
            "rspg": train(game, seed, evaluations=4),
            "paper": train(game, seed, evaluations=1, name="paper"),
            "short": train(game, seed, evaluations=30, steps=SHORT[name]),
            "spg": train(game, seed, evaluations=1, solver="spg"),
        }
        reached = time_to(runs["short"]["curve"], runs["paper"]["exploitability"])
        rows.append({**runs, "seconds_to_paper": reached, "speed_up": runs["paper"]["seconds"] / reached})
        print(f"{name} seed {seed}: {summary([rows[-1]])}", flush=True)
    print(f"{name} median of {seeds}: {summary(rows)}", flush=True)
    return {"game": name, "runs": rows}


def summary(rows: list[dict[str, Any]]) -> str:
    """Medians in one line."""

    def median(run: str, field: str) -> float:
        return statistics.median(row[run][field] for row in rows)

    reached = statistics.median(row["seconds_to_paper"] for row in rows)
    return (
        f"rspg {median('rspg', 'exploitability'):.4g} in {median('rspg', 'seconds'):.1f} s; "
        f"paper preset {median('paper', 'exploitability'):.4g} in {median('paper', 'seconds'):.1f} s "
        f"({median('paper', 'steps'):.0f} updates), reached by rspg in {reached:.2f} s "
        f"({statistics.median(row['speed_up'] for row in rows):.0f}x less); "
        f"spg {median('spg', 'exploitability'):.4g} in {median('spg', 'seconds'):.1f} s"
    )


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", nargs="+", choices=sorted(SHORT), default=sorted(SHORT))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    machine = {"processor": platform.processor(), "jax": jax.__version__, "device": str(jax.devices()[0])}
    print(machine, flush=True)
    results = {"machine": machine, "games": [compare(name, arguments.seeds) for name in arguments.games]}
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
