"""One trial: a solve with some settings in the time that all trials have, and what its policy still loses."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from structmfg import reports, runs
from structmfg.benchmarks.comparison import steps_to_fill
from structmfg.evaluation import check_excess, measured_excess
from structmfg.games import Game
from structmfg.policies import Policy
from structmfg.solvers import RESULTS, TreeSolver, preset
from structmfg.solvers.loop import Progress, solve

_MOST_STEPS = 10**6  # of a solver on a tree, whose clock ends before


class Task(NamedTuple):
    """What all trials of a study have in common.

    Attributes:
        game: The game.
        solver: The solver by name.
        overrides: Settings that are not searched.
        iterations: The updates of a trial; None for as many as fill the clock.
        seconds: The seconds of training of a trial, without compilation.
        seed: The seed of the training.
        measure: "excess", or "clairvoyant".
    """

    game: Game
    solver: str
    overrides: dict[str, Any]
    iterations: int | None
    seconds: float
    seed: int
    measure: str


class Outcome(NamedTuple):
    """What a trial reached.

    Attributes:
        value: The exploitability of the policy, in units of the return.
        kind: Its kind, and whether it is exact or a bound.
        result: How the solve ended.
        steps: The updates made.
        train_seconds: Their seconds.
        compile_seconds: The seconds of compilation beside them.
        toml: The settings as a file that `structmfg solve --config` reads.
    """

    value: float
    kind: str
    result: str
    steps: int
    train_seconds: float
    compile_seconds: float
    toml: str


class TrialFailed(Exception):  # noqa: N818 (it says what happened)
    """A trial has no value: its settings do not go together, or numbers were not finite."""


def measure_for(game: Game) -> str:
    """Name the measure: "excess" where the gain of an agent without foresight is known, else "clairvoyant"."""
    if game.horizon is None:
        return "clairvoyant"
    try:
        check_excess(game)
    except ValueError:
        return "clairvoyant"
    return "excess"


def run_trial(task: Task, settings: Mapping[str, Any], callback: Callable[[Progress], None]) -> Outcome:
    """Solve with these settings, and measure the policy outside the clock.

    Raises:
        TrialFailed: The settings do not go together, or something was not finite.
    """
    game, chosen = task.game, {**task.overrides, **settings}
    try:
        solver, max_steps = preset(game, task.solver, **chosen)
        if task.iterations is not None:
            max_steps = task.iterations
        elif isinstance(solver, TreeSolver):
            max_steps = _MOST_STEPS
        else:
            max_steps = steps_to_fill(game, solver, task.seconds, callback=callback)
        solution = solve(
            game, solver, key=jax.random.key(task.seed), max_steps=max_steps, max_seconds=task.seconds,
            callback=callback, throw=False,
        )  # fmt: skip
        if solution.result is RESULTS.interrupted:
            raise KeyboardInterrupt
        if solution.result in (RESULTS.nonfinite, RESULTS.invalid):
            raise TrialFailed(f"{solution.result.value} {solution.stats['failure']}")
        value, kind = measured(game, solution.policy, task.measure)
    except (ValueError, RuntimeError, OverflowError) as error:
        raise TrialFailed(" ".join(f"{type(error).__name__}: {error}".split())[:1000]) from error
    if not math.isfinite(value):
        raise TrialFailed(f"the exploitability is {value:g}")
    stats = solution.stats
    asked = runs.Settings.of(
        game, solver, name=task.solver, preset="default", overrides=chosen,
        max_steps=stats["steps"] if isinstance(solver, TreeSolver) else max_steps, max_seconds=None, seed=task.seed,
    )  # fmt: skip
    return Outcome(
        value, kind, solution.result.name, stats["steps"], stats["train_seconds"], stats["compile_seconds"],
        runs.as_toml(asked),
    )  # fmt: skip


def measured(game: Game, policy: Policy, measure: str) -> tuple[float, str]:
    """The exploitability of a policy, and its kind in words."""
    if measure == "clairvoyant":
        estimate = reports.evaluate(game, policy, kinds=("clairvoyant",)).exploitability["clairvoyant"]
        assert estimate is not None
        return estimate.value, "clairvoyant" if game.horizon is not None else "exact, for ever"
    excess = measured_excess(game, policy)
    return excess.value, f"{excess.kind}, {'exact' if excess.exact else 'upper bound'}"
