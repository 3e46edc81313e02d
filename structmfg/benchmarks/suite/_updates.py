"""Training: the time of one RSPG update, of updates with more and more noise paths, exploitability against seconds."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from structmfg._flags import own_rules
from structmfg.benchmarks._training_run import train
from structmfg.benchmarks.suite._cases import NotRun
from structmfg.benchmarks.suite._device import PeakMemory
from structmfg.benchmarks.suite._forms import successor_kernel
from structmfg.benchmarks.suite._timing import TimingBudget, time_calls, time_plain
from structmfg.games import AggregateState, Game, make
from structmfg.operators import TransitionKernel
from structmfg.parallel import program_cost
from structmfg.solvers import PresetName, preset
from structmfg.solvers.gradient import StructuralPolicyGradient
from structmfg.solvers.loop import estimate_memory, lower_chunk, start

_MOST_IN_A_ROW = 200  # updates of a call of the compiled training

# name: (preset, overrides, whether the operators are lists of successors)
UPDATES: dict[str, tuple[Any, dict[str, Any], bool]] = {
    "default": ("default", {}, False),
    "default, 8 paths": ("default", {"num_paths": 8}, False),
    "paper": ("paper", {}, False),
    "paper, successors": ("paper", {}, True),
}


@functools.cache
def generic_game(game: Game) -> Game:
    """The same game with lists of successors for kernels, which are made wherever the game makes its kernel."""
    kind = type(game)

    def kernel(self: Game, aggregate: AggregateState) -> TransitionKernel:
        return successor_kernel(kind.kernel(self, aggregate))

    return type(f"Generic{kind.__name__}", (kind,), {"kernel": kernel})(**dataclasses.asdict(game))  # type: ignore[call-overload]


def update_time(game: str, parameters: dict[str, Any], seed: int, budget: list[float]) -> Callable[..., dict[str, Any]]:
    """A function that measures one RSPG update as a jitted call, by a key of `UPDATES`."""
    built = make(game, **parameters)

    def measure(*, update: str) -> dict[str, Any]:
        name, overrides, as_lists = UPDATES[update]
        solver, max_steps = preset(built, "rspg", name, **overrides)
        assert isinstance(solver, StructuralPolicyGradient)
        solved = generic_game(built) if as_lists else built

        def step(state: Any) -> tuple[Any, Array]:
            following, metrics = solver.step(solved, state, max_steps)
            return following, metrics.mean_return

        state = jax.jit(lambda key: solver.init(built, key))(jax.random.key(seed))
        return {
            **time_calls(step, (state,), TimingBudget(budget[0], int(budget[1])))._asdict(),
            "num_paths": solver.num_paths,
        }

    return measure


def updates_by_paths(
    game: str, parameters: dict[str, Any], seed: int, budget: list[float], most_seconds: float
) -> Callable[..., dict[str, Any]]:
    """A function that measures updates of RSPG with a number of noise paths, of smaller numbers first.

    Where an update would take more than `most_seconds`, by the time of those with fewer paths, it is left out.
    """
    built, times = make(game, **parameters), TimingBudget(budget[0], int(budget[1]))
    before: list[tuple[int, float]] = []

    def measure(*, num_paths: int) -> dict[str, Any]:
        if before and (expected := num_paths / before[-1][0] * before[-1][1]) > most_seconds:
            raise NotRun(f"an update would take about {expected:.2g} s, and {most_seconds:g} are allowed")
        solver, max_steps = preset(built, "rspg", num_paths=num_paths, sampling="iid")
        assert isinstance(solver, StructuralPolicyGradient)
        estimate = estimate_memory(built, solver, max_steps=max_steps)
        if not estimate.fits:
            raise NotRun(f"it needs {estimate.total:,} bytes of memory, and {estimate.available:,} are available")
        with own_rules():
            state = start(built, solver, jax.random.split(jax.random.key(seed), 1))
            program = lower_chunk(built, solver, state, max_steps).compile()
            memory = PeakMemory()

            def updates(count: int) -> Any:
                return program(built, solver, state, max_steps, jnp.asarray(count))

            one = time_plain(lambda: updates(1), times)
            count = int(np.clip(times.seconds / one.seconds, 2, _MOST_IN_A_ROW))
            many = time_plain(lambda: updates(count), times)
        seconds = (many.seconds - one.seconds) / (count - 1)  # what a call takes beyond its updates cancels
        seconds = seconds if seconds > 0 else many.seconds / count
        before.append((num_paths, seconds))
        return {
            "seconds": seconds,
            "seconds_alone": one.seconds,
            "spread": many.spread,
            "updates_per_second": 1 / seconds,
            "paths_per_second": num_paths / seconds,
            "kernels": program_cost(program.compiled.as_text()).kernels,
            "peak_bytes": memory.read(),
            "estimated_bytes": estimate.arrays,
            "compile_seconds": estimate.compile_seconds,
        }

    return measure


def training_curve(game: str, parameters: dict[str, Any], seed: int, evaluations: int) -> Callable[..., dict[str, Any]]:
    """A function that measures a training run: its seconds per update, and exploitability against seconds."""

    def measure(*, preset: PresetName, steps: int) -> dict[str, Any]:
        run = train(make(game, **parameters), seed, evaluations=evaluations, name=preset, steps=steps)
        return {**run, "seconds_per_update": run["seconds"] / run["steps"]}

    return measure
