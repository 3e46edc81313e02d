"""The one driver loop: compile once, run updates in jitted chunks, keep the clock, stop for a stated reason."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from structmfg._checks import check_integer, check_positive
from structmfg.games import Game, check_game
from structmfg.policies import Policy
from structmfg.solvers._exploitability import Estimate
from structmfg.solvers._rspg import Metrics, StructuralPolicyGradient, TrainingState
from structmfg.solvers._solution import RESULTS, Checkpoint, Solution, describe_failure

_CHUNK = 256  # at most so many updates to a jitted call
_CHUNK_SECONDS = 0.5  # and about so long, so that progress and limits are seen


class Progress(NamedTuple):
    """Where a solve stands, for callbacks."""

    step: int
    max_steps: int
    train_seconds: float
    mean_return: float
    checkpoint: Checkpoint | None


def solve(
    game: Game,
    solver: StructuralPolicyGradient,
    *,
    key: PRNGKeyArray,
    max_steps: int,
    max_seconds: float | None = None,
    evaluate: Callable[[Policy], Estimate] | None = None,
    evaluations: int = 10,
    callback: Callable[[Progress], None] | None = None,
    throw: bool = True,
) -> Solution:
    """Train a policy by `max_steps` updates of a solver.

    `max_seconds` stops the training there, on a clock that counts neither compilation nor evaluation. `evaluate` is
    called on the policy at `evaluations` equally spaced steps. `callback` is called after every chunk of updates; a
    KeyboardInterrupt ends the solve with the policy reached. The numbers depend on the key alone, not on the clock.

    `stats` holds `steps`, `train_seconds`, `compile_seconds`, `returns` and `gradient_norms` (one an update),
    `checkpoints` (a list of `Checkpoint`) and `failure` (None, or when and where a number was not finite).

    Raises `ValueError` on a number out of range, and `RuntimeError` on a non-finite return or gradient unless
    `throw` is False.
    """
    check_game(game)
    max_steps = check_integer("max_steps", max_steps, at_least=1)
    if max_seconds is not None:
        check_positive("max_seconds", max_seconds)
    check_integer("evaluations", evaluations, at_least=1)
    loop = _Loop(game, solver, key, max_steps)
    stops = sorted({round(max_steps * (i + 1) / evaluations) for i in range(evaluations)} if evaluate else {max_steps})
    result = RESULTS.completed
    try:
        while loop.step < max_steps:
            following = next(stop for stop in stops if stop > loop.step)
            room = np.inf if max_seconds is None else max_seconds - loop.train_seconds
            if room <= 0:
                result = RESULTS.time_limit
                break
            if not loop.advance(following - loop.step, min(room, _CHUNK_SECONDS)):
                result = RESULTS.nonfinite
                break
            checkpoint = None
            if evaluate and loop.step == following:
                checkpoint = loop.checkpoint(evaluate)
            if callback:
                callback(Progress(loop.step, max_steps, loop.train_seconds, loop.returns[-1], checkpoint))
    except KeyboardInterrupt:
        result = RESULTS.interrupted
    if throw and not result.succeeded:
        raise RuntimeError(f"{result.value} {loop.failure}")
    return Solution(solver.bound(loop.state), result, loop.stats())


class _Loop:
    """The state of a solve between jitted calls."""

    def __init__(self, game: Game, solver: StructuralPolicyGradient, key: PRNGKeyArray, max_steps: int) -> None:
        began = time.perf_counter()
        self.solver, self.state = solver, solver.init(game, key)
        self._good = self.state  # the latest state whose return and gradient are known to be finite
        chunk: Any = eqx.filter_jit(_chunk)
        self._run = chunk.lower(game, solver, self.state, self._good, max_steps, jnp.zeros((), int)).compile()
        self._arguments = (game, solver, max_steps)
        self.compile_seconds = time.perf_counter() - began
        self.train_seconds, self.step = 0.0, 0
        self.returns: list[float] = []
        self.gradient_norms: list[float] = []
        self.checkpoints: list[Checkpoint] = []
        self.failure: str | None = None

    def advance(self, at_most: int, seconds: float) -> bool:
        """Run up to `at_most` updates, about as many as fit; False if one was not finite."""
        game, solver, max_steps = self._arguments
        pace = self.train_seconds / self.step if self.step else seconds
        count = int(np.clip(seconds / pace, 1, min(at_most, _CHUNK)))
        began = time.perf_counter()
        state, good, metrics, done, finite = jax.block_until_ready(
            self._run(game, solver, self.state, self._good, max_steps, jnp.asarray(count))
        )
        self.train_seconds += time.perf_counter() - began
        done = int(done)
        self.state, self._good, self.step = state if finite else good, good, self.step + done
        self.returns += np.asarray(metrics.mean_return)[:done].tolist()
        self.gradient_norms += np.asarray(metrics.gradient_norm)[:done].tolist()
        if not finite:
            self.failure = describe_failure(
                self.step, float(metrics.mean_return[done]), float(metrics.gradient_norm[done])
            )
        return bool(finite)

    def checkpoint(self, evaluate: Callable[[Policy], Estimate]) -> Checkpoint:
        """Measure the policy reached, outside the clock."""
        estimate = evaluate(self.solver.bound(self.state))
        self.checkpoints.append(Checkpoint(self.step, self.train_seconds, estimate.value, estimate.stderr))
        return self.checkpoints[-1]

    def stats(self) -> dict[str, Any]:
        """See `solve`."""
        names = ("step", "train_seconds", "compile_seconds", "returns", "gradient_norms", "checkpoints", "failure")
        return {("steps" if name == "step" else name): getattr(self, name) for name in names}


def _chunk(
    game: Game,
    solver: StructuralPolicyGradient,
    state: TrainingState,
    good: TrainingState,
    max_steps: int,
    count: Int[Array, ""],
) -> tuple[TrainingState, TrainingState, Metrics, Int[Array, ""], Bool[Array, ""]]:
    """Run `count` <= _CHUNK updates, or up to the first that is not finite, which is not applied.

    Returns the state, the latest one known to be good, the metrics (_CHUNK,), the number of updates applied, and
    whether all were finite. An update measures the state it starts from, so a state is known to be good after it.
    """

    def go_on(carry: tuple[TrainingState, TrainingState, Metrics, Array, Array]) -> Array:
        _, _, _, done, finite = carry
        return finite & (done < count)

    def body(
        carry: tuple[TrainingState, TrainingState, Metrics, Array, Array],
    ) -> tuple[TrainingState, TrainingState, Metrics, Array, Array]:
        state, good, history, done, _ = carry
        following, metrics = solver.update(game, state, max_steps)
        finite = jnp.isfinite(metrics.mean_return) & jnp.isfinite(metrics.gradient_norm)
        good = jax.tree.map(lambda new, old: jnp.where(finite, new, old), state, good)
        state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), following, state)
        history = jax.tree.map(lambda all_, one: all_.at[done].set(one), history, metrics)
        return state, good, history, done + finite, finite

    history = Metrics(jnp.zeros(_CHUNK), jnp.zeros(_CHUNK))
    return jax.lax.while_loop(go_on, body, (state, good, history, jnp.zeros((), int), jnp.asarray(True)))
