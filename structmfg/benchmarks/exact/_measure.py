"""One solve of a game by a solver on a noise tree, and the curve of its exploitability."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from structmfg.games import Game
from structmfg.solvers import Solution, TreeSolver
from structmfg.solvers.loop import solve

Row = dict[str, Any]

_CURVE_POINTS = 150  # the most that are kept of a curve


def measure(
    game: Game, solver: TreeSolver, *, max_steps: int, max_seconds: float | None = None
) -> tuple[Solution, Row]:
    """One solve, and a row of its figures with the curve of (step, exploitability)."""
    began = time.perf_counter()
    solution = solve(game, solver, max_steps=max_steps, max_seconds=max_seconds, throw=False)
    total, stats = time.perf_counter() - began, solution.stats
    curve = list(zip(stats["certified"], stats["exploitabilities"], strict=True))
    return solution, {
        "result": solution.result.name,
        "steps": stats["steps"],
        "seconds": stats["train_seconds"],
        "total_seconds": total,
        "exploitability": stats["exploitability"],
        "return": stats["returns"][-1] if stats["returns"] else None,
        "curve": curve,
    }


def after(curve: Sequence[tuple[int, float]], steps: int) -> float | None:
    """The exploitability at a step, or at the last certificate before; None where the curve does not reach it."""
    if not curve or curve[-1][0] < steps:
        return None
    return next((value for step, value in reversed(curve) if step <= steps), None)


def thinned(curve: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Some points of a curve, about evenly in the logarithm of the step."""
    if len(curve) <= _CURVE_POINTS:
        return list(curve)
    chosen = np.unique(np.geomspace(1, len(curve), _CURVE_POINTS).astype(int)) - 1
    return [curve[i] for i in chosen]


def best(rows: Iterable[Row]) -> list[Row]:
    """The row of every family that ends lowest; among equal ones, that which was there first."""

    def order(row: Row) -> tuple[float, int]:
        end = row["exploitability"] if np.isfinite(row["exploitability"]) else np.inf
        return end, next((step for step, value in row["curve"] if value <= end), row["steps"])

    chosen: dict[str, Row] = {}
    for row in rows:
        if row["solver"] not in chosen or order(row) < order(chosen[row["solver"]]):
            chosen[row["solver"]] = row
    return list(chosen.values())
