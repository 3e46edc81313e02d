"""Training: the time of one RSPG update, and exploitability against seconds."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array

from structmfg.benchmarks._training_run import train
from structmfg.benchmarks.suite._forms import successor_kernel
from structmfg.benchmarks.suite._timing import TimingBudget, time_calls
from structmfg.games import AggregateState, Game, make
from structmfg.operators import TransitionKernel
from structmfg.solvers import PresetName, preset
from structmfg.solvers.gradient import StructuralPolicyGradient

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


def training_curve(game: str, parameters: dict[str, Any], seed: int, evaluations: int) -> Callable[..., dict[str, Any]]:
    """A function that measures a training run: its seconds per update, and exploitability against seconds."""

    def measure(*, preset: PresetName, steps: int) -> dict[str, Any]:
        run = train(make(game, **parameters), seed, evaluations=evaluations, name=preset, steps=steps)
        return {**run, "seconds_per_update": run["seconds"] / run["steps"]}

    return measure
