"""One run of a comparison, saved as a run folder with its learning curve."""

import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from structmfg import parallel, reports, runs
from structmfg._checks import check_name
from structmfg._files import check_no_link, check_types, file_error_context, read_json, subfolder, write_json
from structmfg._results import SOLVE_RESULTS
from structmfg.benchmarks.comparison._plan import ClockPlan
from structmfg.games import Game
from structmfg.policies import Policy
from structmfg.solvers import TrainingSolver, TreeSolver, preset
from structmfg.solvers.loop import Progress, Snapshots, solve

FILE = "learning_curve.json"
_CHECKPOINTS = 16
_FIELDS: dict[str, Any] = {
    "result": str,
    "steps": int,
    "train_seconds": float,
    "compile_seconds": float,
    "curve": list[list[float]],
}
_BOUNDS = "non_anticipative"


class ClockedRun(NamedTuple):
    """A finished run of one solver and seed.

    Attributes:
        solver: The name of the solver.
        seed: The seed.
        result: The name of the status, a member of `RESULTS`.
        steps: The number of updates.
        train_seconds: The seconds of training.
        compile_seconds: The seconds of compilation.
        curve: Clairvoyant exploitability as (seconds of training, value, standard error), the last at the end.
        folder: The run folder.
        non_anticipative: Lower and upper bound of the non-anticipative exploitability at the end, equal where it is
            exact; None where it is not known.
    """

    solver: str
    seed: int
    result: str
    steps: int
    train_seconds: float
    compile_seconds: float
    curve: list[tuple[float, float, float]]
    folder: Path
    non_anticipative: tuple[float, float] | None = None

    @property
    def exploitability(self) -> float:
        """The clairvoyant exploitability at the end."""
        return self.curve[-1][1]

    @property
    def stderr(self) -> float:
        """The standard error of the last value over noise paths; zero where they are enumerated."""
        return self.curve[-1][2]


def place(folder: Path, solver: str, seed: int) -> Path:
    """The folder of a run."""
    return folder / "runs" / f"{solver}-{seed}"


def finished(folder: Path, solver: str, seed: int) -> ClockedRun | None:
    """Read a run from its folder; None where it was not finished. Raises `ValueError` where its file is damaged."""
    path = place(folder, solver, seed)
    for part in (path.parent, path):
        check_no_link(part)
    if not os.path.lexists(path / FILE):
        return None
    saved = read_json(path / FILE)
    with file_error_context(path / FILE, "is damaged (remove its folder, and the run is made again)"):
        check_types(saved, {**_FIELDS, _BOUNDS: list[float] | None}, required=_FIELDS)
        result, steps, train_seconds, compile_seconds, points = (saved[name] for name in _FIELDS)
        check_name("result", result, SOLVE_RESULTS)
        if min(steps, train_seconds, compile_seconds) < 0:
            raise ValueError("a negative number of steps or seconds")
        if (bounds := saved.get(_BOUNDS)) is not None and len(bounds) != 2:
            raise ValueError(f"{_BOUNDS} must be two numbers")
        bounds = bounds and (float(bounds[0]), float(bounds[1]))
        return ClockedRun(solver, seed, result, steps, train_seconds, compile_seconds, _curve(points), path, bounds)


def _curve(points: list[list[float]]) -> list[tuple[float, float, float]]:
    """The curve from JSON; raises `ValueError` unless it is a list of triples of numbers in order of time."""
    curve = [tuple(map(float, point)) for point in points]
    if not curve or any(len(point) != 3 for point in curve):
        raise ValueError("curve must be a list of points of three numbers, at least one")
    if any(later[0] < point[0] for point, later in itertools.pairwise([(0.0, 0.0, 0.0), *curve])):
        raise ValueError("curve must be in order of time")
    return [(seconds, value, error) for seconds, value, error in curve]


def train(
    game: Game, plan: ClockPlan, folder: Path, solver: str, seed: int, callback: Callable[[Progress], None] | None
) -> ClockedRun:
    """Train one run and save it; one that was interrupted goes on from its last snapshot.

    The policy is evaluated at `checkpoint_steps`, and at the end on all held-out noise paths, outside the clock.
    """
    overrides: dict[str, Any] = {  # tuples, which plan.json holds as lists
        name: tuple(value) if isinstance(value, list) else value
        for name, value in plan.settings.get(solver, {}).items()
    }
    chosen, _ = preset(game, solver, **overrides)
    max_steps, path = plan.steps[solver], subfolder(folder, *place(Path(), solver, seed).parts)
    settings = runs.Settings.of(
        game, chosen, name=solver, preset="default", overrides=overrides, max_steps=max_steps,
        max_seconds=plan.max_seconds, seed=seed,
    )  # fmt: skip
    runs.save_settings(path, settings)
    check_no_link(path / "snapshots")
    with Snapshots(path / "snapshots") as snapshots:
        solution = solve(
            game,
            chosen,
            key=jax.random.key(seed),
            max_steps=max_steps,
            max_seconds=plan.max_seconds,
            evaluate=reports.checkpoint_evaluation(game),
            evaluations=checkpoint_steps(chosen, max_steps),
            callback=callback,
            snapshots=snapshots,
            throw=False,
        )
    if solution.result.name == "interrupted":
        raise KeyboardInterrupt
    runs.save_policy(path, solution)
    stats, (last, bounds) = solution.stats, _final(game, solution.policy)
    curve = [(point.train_seconds, point.value, point.stderr) for point in stats["checkpoints"]]
    curve = [*(point for point in curve if point[0] < stats["train_seconds"]), (stats["train_seconds"], *last)]
    numbers = (solution.result.name, stats["steps"], stats["train_seconds"], stats["compile_seconds"])
    write_json(path / FILE, {**dict(zip(_FIELDS, (*numbers, curve), strict=True)), _BOUNDS: bounds})
    shutil.rmtree(path / "snapshots")
    jax.clear_caches()  # programs of many solvers would exhaust the memory maps of the process
    return ClockedRun(solver, seed, *numbers, curve, path, bounds)


def train_once(
    make_game: Callable[[], Game],
    plan: dict[str, Any],
    folder: Path,
    solver: str,
    seed: int,
    callback: Callable[[Progress], None] | None,
) -> ClockedRun:
    """`train` as a task, maybe in another process; a run that has ended is read."""
    with jax.enable_x64(plan["precision"] == "float64"):
        game = make_game()
        return finished(folder, solver, seed) or train(game, ClockPlan(**plan), folder, solver, seed, callback)


def end_when_stopped(progress: Progress) -> None:
    """Raise `KeyboardInterrupt` where the executor of this task ends."""
    if parallel.stopping() and progress.step < progress.max_steps:
        raise KeyboardInterrupt


def _final(game: Game, policy: Policy) -> tuple[tuple[float, float], tuple[float, float] | None]:
    """The clairvoyant exploitability with its standard error; the bounds of the non-anticipative one."""
    evaluation = reports.evaluate(game, policy)
    estimate = evaluation.exploitability["clairvoyant"]
    assert estimate is not None
    return (estimate.value, estimate.stderr), evaluation.non_anticipative


def checkpoint_steps(solver: TrainingSolver | TreeSolver, max_steps: int) -> list[int]:
    """The updates at which a policy is evaluated: squares, which are closer together at the start.

    On a noise tree it is not known how many updates are made: powers of 1.6, which are odd and even, so that a cycle of
    two shows.
    """
    if isinstance(solver, TreeSolver):
        return sorted({round(1.6**power) for power in range(int(np.log(max_steps) / np.log(1.6)) + 1)})
    squares = np.linspace(0, 1, _CHECKPOINTS + 1)[1:] ** 2
    return sorted({max(1, round(max_steps * share)) for share in squares})


def as_object(run: ClockedRun) -> dict[str, Any]:
    """The run as a dictionary for JSON."""
    return {**run._asdict(), "folder": str(run.folder), "exploitability": run.exploitability, "stderr": run.stderr}
