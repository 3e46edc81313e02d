"""`compare`: trains all solvers and seeds, and summarises the runs."""

import functools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from structmfg import parallel, reports
from structmfg._files import write_bytes, write_json
from structmfg._statistics import mean_and_half_width, time_to
from structmfg.benchmarks.comparison._figures import figures
from structmfg.benchmarks.comparison._plan import ClockPlan, planned
from structmfg.benchmarks.comparison._report import render
from structmfg.benchmarks.comparison._runs import ClockedRun, as_object, end_when_stopped, finished, train_once
from structmfg.games import Game
from structmfg.runs import reference_object, save_figures
from structmfg.solvers.loop import Progress

TrainingCallback = Callable[[str, int, Progress], None]


class Comparison(NamedTuple):
    """A comparison.

    Attributes:
        plan: The plan.
        runs: The runs of every solver, one for each seed.
        result: What result.json holds.
    """

    plan: ClockPlan
    runs: dict[str, list[ClockedRun]]
    result: dict[str, Any]


def compare(
    game: Game,
    folder: Path,
    *,
    solvers: Sequence[str],
    seeds: int = 3,
    max_seconds: float = 60.0,
    log: Callable[[str], None] = lambda _: None,
    callback: TrainingCallback | None = None,
    executor: Executor | None = None,
    make_game: Callable[[], Game] | None = None,
    settings: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> Comparison:
    """Train several solvers with several seeds for the same time each, and compare them.

    Runs that share a machine are slower than one that has it alone: compare only what was trained side by side.

    Args:
        game: The game.
        folder: An empty folder, or that of a comparison to resume. Its finished runs are kept and reported, also those
            of other solvers and seeds; the function writes plan.json, a run folder for each run, figures, result.json
            and report.html.
        solvers: Names in `SOLVERS`.
        seeds: The number of seeds; they are 0..`seeds`-1.
        max_seconds: The seconds of training of each run.
        log: Called with a line whenever something happens.
        callback: Called during training with solver, seed and progress. Not with an executor.
        executor: The workers that train, of `parallel.open_executor` or another one; by default this process does.
        make_game: With an executor, a function of a module, or a `functools.partial` of one, that makes the game in a
            worker. By default the game is pickled.
        settings: Settings in place of the preset's, by the name of the solver.

    Returns:
        The plan, the runs and the summary.

    Raises:
        ValueError: If a solver is unknown, a number is out of range, or the folder has a comparison of something else.
        RuntimeError: If runs fail in workers; the others are made all the same.
    """
    make_game = make_game or functools.partial(_itself, game)
    plan = planned(
        game, folder, solvers=solvers, seeds=seeds, max_seconds=max_seconds, log=log, executor=executor,
        make_game=make_game, settings=settings,
    )  # fmt: skip
    known = {(solver, seed): finished(folder, solver, seed) for seed in plan.seeds for solver in plan.solvers}
    missing = [
        (solver, seed) for (solver, seed), run in known.items() if run is None and solver in solvers and seed < seeds
    ]
    tasks = []
    for solver, seed in missing:
        follow = callback and functools.partial(callback, solver, seed)
        tasks.append(
            (make_game, plan._asdict(), folder, solver, seed, follow if executor is None else end_when_stopped)
        )
    failures = []
    for place, outcome in parallel.outcomes(executor, train_once, tasks):
        solver, seed = missing[place]
        try:
            run = known[solver, seed] = outcome()
        except Exception as error:
            if executor is None:
                raise
            failures.append(f"{solver}, seed {seed} failed: {error}")
            log(failures[-1])
            continue
        log(f"{solver}, seed {seed}: {run.exploitability:.4g} after {run.train_seconds:.1f} s")
    if failures:
        raise RuntimeError(f"{'; '.join(failures)}; the runs that ended are kept in {folder}")
    runs = {solver: [run for seed in plan.seeds if (run := known[solver, seed])] for solver in plan.solvers}
    runs = {solver: of_solver for solver, of_solver in runs.items() if of_solver}
    log("reference values and report")
    reference_values = reports.reference_values(game, reference(runs), kinds=["clairvoyant"])
    result = summarise(game, plan, runs, reference_values)
    pictures = figures(game, runs, reference_values)
    save_figures(folder, pictures)
    result = {**result, "out": str(folder), "report": str(folder / "report.html")}
    write_bytes(folder / "report.html", render(result, pictures).encode())
    write_json(folder / "result.json", result)
    return Comparison(plan, runs, result)


def _itself(game: Game) -> Game:
    return game


def reference(runs: dict[str, list[ClockedRun]]) -> str:
    """The solver that the others are held against: rspg, else the one that ends lowest."""
    return "rspg" if "rspg" in runs else min(runs, key=lambda solver: _mean(runs[solver]))


def _mean(runs: Sequence[ClockedRun]) -> float:
    return float(np.mean([run.exploitability for run in runs]))


def _seconds(runs: Sequence[ClockedRun]) -> float:
    return statistics.median(run.train_seconds for run in runs)


def summarise(
    game: Game, plan: ClockPlan, runs: dict[str, list[ClockedRun]], reference_values: reports.ReferenceValues
) -> dict[str, Any]:
    """The table, and what it is relative to."""
    against, uniform = reference(runs), reference_values.uniform["clairvoyant"]
    start, end = uniform.value if uniform else math.nan, _mean(runs[against])
    half_way = math.sqrt(start * end) if start > 0 and end > 0 else math.nan
    times = {solver: statistics.median(time_to(run.curve, half_way) for run in runs[solver]) for solver in runs}
    return {
        **plan._asdict(),
        "reference": against,
        "half_way": half_way if math.isfinite(half_way) else None,
        "anchors": reference_object(reference_values),
        "device": jax.devices()[0].platform,
        "rows": [
            {
                **_row(runs[solver]),
                "of_reference": _mean(runs[solver]) / end if end > 0 else None,
                "of_uniform": _mean(runs[solver]) / start if start > 0 else None,
                "seconds_to_half_way": times[solver] if math.isfinite(times[solver]) else None,
                **_speed_up(times[solver], times[against], _seconds(runs[solver])),
                "paper": _paper(game, solver),
            }
            for solver in runs
        ],
        "runs": [as_object(run) for solver in runs for run in runs[solver]],
    }


def _row(runs: Sequence[ClockedRun]) -> dict[str, Any]:
    mean, half = mean_and_half_width(np.array([run.exploitability for run in runs]))
    return {
        "solver": runs[0].solver,
        "exploitability": float(mean),
        "half_width": float(half),
        "by_seed": [run.exploitability for run in runs],
        "non_anticipative": _mean_bounds(runs),
        "train_seconds": _seconds(runs),
        "updates": statistics.median(run.steps for run in runs),
        "seconds_per_update": statistics.median(run.train_seconds / max(run.steps, 1) for run in runs),
        "results": sorted({run.result for run in runs}),
    }


def _mean_bounds(runs: Sequence[ClockedRun]) -> list[float] | None:
    """The means over seeds of the bounds of the non-anticipative exploitability; None where one is not known."""
    bounds = [run.non_anticipative for run in runs]
    return None if None in bounds else np.mean(np.array(bounds, float), axis=0).tolist()


def _speed_up(seconds: float, of_reference: float, trained: float) -> dict[str, Any]:
    """How many times sooner the reference reaches its half-way level; None where it has none, or never reaches it.

    Where the solver never reaches the level, this is a lower bound, by the seconds that it trained.
    """
    reached = math.isfinite(seconds)
    known = math.isfinite(of_reference) and of_reference > 0
    return {
        "speed_up": (seconds if reached else trained) / of_reference if known else None,
        "speed_up_at_least": not reached,
    }


def _paper(game: Game, solver: str) -> dict[str, float] | None:
    published = reports.published(game, solver)
    return published._asdict() if published else None
