"""One training run with its exploitability along the way, as the benchmarks measure it."""

from typing import Any

import jax

from structmfg.evaluation import Estimate, exploitability
from structmfg.games import Game
from structmfg.policies import Policy
from structmfg.solvers import PresetName, preset
from structmfg.solvers.loop import solve

SHORT = {"linear_quadratic": 600, "beach_bar": 400, "macro": 150}  # updates of a short schedule of the defaults
_HELD_OUT_KEY = 20_261_121  # of the held-out noise paths; the keys of training are the seeds


def train(
    game: Game, seed: int, *, evaluations: int, solver: str = "rspg", name: PresetName = "default", steps: int = 0
) -> dict[str, Any]:
    """One run: final exploitability, training seconds, and the curve of (seconds, exploitability)."""
    algorithm, max_steps = preset(game, solver, name)

    def measure(policy: Policy) -> Estimate:
        return exploitability(game, policy, key=jax.random.key(_HELD_OUT_KEY))

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
