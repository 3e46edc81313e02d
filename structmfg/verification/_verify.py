"""`verify`: everything that is checked about a game."""

import time
from collections.abc import Callable, Iterator

import jax
from jaxtyping import PRNGKeyArray

from structmfg._checks import check_integer, check_kind
from structmfg.games import Game
from structmfg.verification import _stages as stages
from structmfg.verification._report import Report, Stage
from structmfg.verification._stages import Methods, Task


def verify(
    game: Game,
    *,
    key: PRNGKeyArray | None = None,
    num_points: int = 3,
    tell: Callable[[Stage], None] | None = None,
) -> Report:
    """Check a game: its laws at random points.

    Each of `num_points` paths follows random noise under a random policy, with `key` (fixed by default, so that a
    report can be repeated); kernels are looked at at times spread over 0..T-1. A pass is evidence at these points, not
    a proof. What a game raises is a failed check. `tell` is called after every stage.

    Raises `ValueError` if `game` is not a `Game`, or `num_points` is not a whole number of at least one.
    """
    check_kind("game", game, Game)
    num_points = check_integer("num_points", num_points, at_least=1)
    task = Task(game, jax.random.key(0) if key is None else key, num_points, Methods())
    return run(task, tell)


def run(task: Task, tell: Callable[[Stage], None] | None = None) -> Report:
    """All stages of a task."""
    done = []
    for stage in _timed(_stages(task)):
        done.append(stage)
        if tell:
            tell(stage)
    return Report(repr(task.game), tuple(done))


def _timed(stages: Iterator[Stage]) -> Iterator[Stage]:
    while True:
        started = time.perf_counter()
        stage = next(stages, None)
        if stage is None:
            return
        yield stage._replace(seconds=time.perf_counter() - started)


def _stages(task: Task) -> Iterator[Stage]:
    """One by one, so that each can be shown when it is done; nothing follows where nothing can."""
    first = stages.sizes(task)
    yield first
    if not first.passed:
        return
    second = stages.kernels_and_paths(task)
    yield second
    if second.results[0].passed:
        yield stages.evaluation(task)
