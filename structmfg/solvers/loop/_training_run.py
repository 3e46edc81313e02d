"""The training of a policy from one random key, or of several side by side from a vector of keys.

A step measures the state it starts from. Where the measurement, or the parameters that the step leads to, are not
finite, training goes back to the last state that is known to be finite, and goes on with smaller learning rates. It
gives up after `MAX_ROLLBACKS` of these.
"""

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray
from typing_extensions import override

from structmfg._results import RESULTS
from structmfg.evaluation import check_excess, measured_excess
from structmfg.games import Game
from structmfg.parallel import agree, whole
from structmfg.policies import Policy
from structmfg.solvers._base import Metrics, Solution, TrainingSolver
from structmfg.solvers.loop._run import LoopState, Run

MAX_ROLLBACKS = 5  # in a solve
BACKOFF = 0.25  # the factor of the learning rates at each rollback
_MAX_CHUNK = 256  # steps of a compiled call


class GuardedState(NamedTuple):
    """The state of a training that can go back, with a leading axis of keys.

    Attributes:
        state: The solver's state.
        last_finite: The latest state of the solver whose return and gradient are known to be finite.
        is_unverified: Whether `state` is one step beyond `last_finite`.
        step: The number of steps made. Where the training has failed, the step that could not be made.
        scale: The factor of the learning rates.
        rollbacks: The steps at which training went back, -1 where there is room for more.
        failed: Whether there was no room for another rollback; `state` is then `last_finite`.
    """

    state: Any
    last_finite: Any
    is_unverified: Bool[Array, "*keys"]
    step: Int[Array, "*keys"]
    scale: Float[Array, "*keys"]
    rollbacks: Int[Array, "*keys rollbacks"]
    failed: Bool[Array, "*keys"]


class TrainingRun(Run):
    """A training from each of a vector of keys."""

    def __init__(self, game: Game, solver: TrainingSolver, keys: Key[Array, " keys"], max_steps: int) -> None:
        super().__init__(keys.size)
        self._until_excess: float | None = getattr(solver, "until_excess", None)
        self._no_excess: str | None = None
        self._excesses: list[list[float]] = []  # a step, and the excess of every policy after it
        if self._until_excess is not None:
            check_excess(game)
            self.measures_excess, self.planned_end = True, RESULTS.not_converged
            self.histories["excesses"] = self._excesses
        began = time.perf_counter()
        self._returns: list[list[float]] = [[] for _ in keys]
        self._gradient_norms: list[list[float]] = [[] for _ in keys]
        for i in range(keys.size):
            self.histories[f"returns {i}"] = self._returns[i]
            self.histories[f"gradient norms {i}"] = self._gradient_norms[i]
        self.reached = LoopState(start(game, solver, keys), 0, 0.0)
        self._arguments = game, solver, max_steps
        self._compiled = lower_chunk(game, solver, self.reached.state, max_steps).compile()
        self.compile_seconds = time.perf_counter() - began

    @override
    def advance(self, until: int, seconds: float) -> None:
        game, solver, max_steps = self._arguments
        pace = self.train_seconds / self.step if self.step else seconds
        until = self.step + int(np.clip(seconds / pace, 1, min(until - self.step, _MAX_CHUNK)))
        self.trim()
        began = time.perf_counter()
        state, metrics, redone = jax.block_until_ready(
            self._compiled(game, solver, self.reached.state, max_steps, jnp.asarray(until))
        )
        seconds = agree(self.train_seconds + time.perf_counter() - began)
        returns, norms, steps = *map(np.asarray, metrics), state.step.tolist()
        for i, step in enumerate(steps):
            if state.failed[i] and self.failures[i] is None:
                row = step - len(self._returns[i]) + 1
                self.failures[i] = _describe_failure(step, float(returns[i, row]), float(norms[i, row]))
            for history, rows in ((self._returns[i], returns[i]), (self._gradient_norms[i], norms[i])):
                if history and redone[i]:
                    history[-1] = float(rows[0])
                history += rows[1 : 1 + max(step - len(history), 0)].tolist()
                del history[step:]
        self.clock.append((max(steps), seconds))
        self.reached = LoopState(state, max(steps), seconds)

    @override
    def measure_excess(self) -> None:
        if not self._excesses or self._excesses[-1][0] < self.step:
            found = [self._excess(policy) for policy in self.policies()]
            self._excesses.append([self.step, *map(agree, found)])

    def _excess(self, policy: Policy) -> float:
        """The excess; infinite, with the reason in `stats`, where there is no measure at this policy."""
        try:
            return measured_excess(self._arguments[0], policy).value
        except ValueError as error:
            self._no_excess = str(error)
            return math.inf

    @property
    @override
    def ended(self) -> RESULTS | None:
        if self._until_excess is None or not self._excesses:
            return super().ended
        step, *excesses = self._excesses[-1]
        within = step == self.step and max(excesses) <= self._until_excess
        return RESULTS.within_excess if within else super().ended

    @property
    @override
    def mean_return(self) -> float:
        return float(np.mean([returns[-1] for returns in self._returns if returns]))

    @override
    def policies(self) -> list[Policy]:
        game, solver, _ = self._arguments
        return [solver.policy_at(game, state_of(self.reached.state, i)) for i in range(len(self.failures))]

    @override
    def solutions(self, result: RESULTS) -> list[Solution]:
        self.trim()
        return [
            Solution(
                policy,
                RESULTS.nonfinite if self.failures[i] else result,
                {
                    **self.stats(i),
                    **self._excess_stats(i),
                    "steps": len(self._returns[i]),
                    "returns": self._returns[i],
                    "gradient_norms": self._gradient_norms[i],
                    "rollbacks": [step for step in self.reached.state.rollbacks[i].tolist() if step >= 0],
                },
            )
            for i, policy in enumerate(self.policies())
        ]

    def _excess_stats(self, policy: int) -> dict[str, Any]:
        rows = [(int(row[0]), row[policy + 1]) for row in self._excesses]
        return {"excesses": rows, "no_excess": self._no_excess} if self.measures_excess else {}

    @override
    def trim(self) -> None:
        steps = self.reached.state.step.tolist()
        for step, *histories in zip(steps, self._returns, self._gradient_norms, strict=True):
            for history in histories:
                del history[step:]
        self.clock = [point for point in self.clock if point[0] <= self.step]
        self._excesses[:] = [row for row in self._excesses if row[0] <= self.step]


def start(game: Game, solver: TrainingSolver, keys: Key[Array, " keys"]) -> GuardedState:
    """The state before the first step, for every key."""

    def from_key(key: PRNGKeyArray) -> GuardedState:
        state, no = solver.init(game, key), jnp.asarray(False)
        return GuardedState(state, state, no, jnp.zeros((), int), jnp.ones(()), jnp.full(MAX_ROLLBACKS, -1, int), no)

    return _over_keys(from_key, keys)


def state_of(guarded: GuardedState, index: int) -> Any:
    """The solver's state of one of the keys."""
    return jax.tree.map(lambda x: x[index], guarded.state)


def lower_chunk(game: Game, solver: TrainingSolver, guarded: GuardedState, max_steps: int) -> Any:
    """The program of a chunk of steps from states like these, to be compiled."""
    program: Any = _chunk
    return program.lower(game, solver, guarded, max_steps, jnp.zeros((), int))


def _over_keys(function: Callable[[Any], Any], vector: Any) -> Any:
    """The function mapped over a leading axis. A single key is not batched, which would change the rounding."""
    if len(jax.tree.leaves(vector)[0]) > 1:
        return jax.vmap(function)(vector)
    return jax.tree.map(lambda x: x[None], function(jax.tree.map(lambda x: x[0], vector)))


@eqx.filter_jit
def _chunk(
    game: Game, solver: TrainingSolver, guarded: GuardedState, max_steps: int, until: Int[Array, ""]
) -> tuple[GuardedState, Metrics, Bool[Array, " keys"]]:
    """Steps up to the step `until`, at most _MAX_CHUNK away, or up to the last rollback.

    Row i + 1 of the metrics (keys, _MAX_CHUNK + 1) is what the i-th of these steps measured, zero where there was none.
    Row 0 is the step before them, if that was made again, which is returned last.
    """

    def steps(guarded: GuardedState) -> tuple[GuardedState, Metrics, Array]:
        first = guarded.step

        def go_on(carry: tuple[GuardedState, Metrics, Array]) -> Bool[Array, ""]:
            return ~carry[0].failed & (carry[0].step < until)

        def body(carry: tuple[GuardedState, Metrics, Array]) -> tuple[GuardedState, Metrics, Array]:
            now, history, redone = carry
            following, metrics = solver.scale_learning_rates(now.scale).step(game, now.state, max_steps)
            history = jax.tree.map(lambda rows, value: rows.at[now.step - first + 1].set(value), history, metrics)
            measured = jnp.isfinite(metrics.mean_return) & jnp.isfinite(metrics.gradient_norm)
            sound = measured & _is_finite(solver.policy_at(game, following))
            return _guard(now, following, measured, sound), history, redone | (now.step < first)

        rows = jnp.zeros(_MAX_CHUNK + 1)  # no NaN, at which JAX would stop under `jax_debug_nans`
        return jax.lax.while_loop(go_on, body, (guarded, Metrics(rows, rows), jnp.asarray(False)))

    found: tuple[GuardedState, Metrics, Array] = _over_keys(steps, guarded)
    return whole(found)


def _guard(now: GuardedState, following: Any, measured: Bool[Array, ""], sound: Bool[Array, ""]) -> GuardedState:
    """The state after a step: ahead, back, or failed.

    `measured`: whether the return and the gradient before the step are finite; `sound`: whether so is all after it.
    """
    room = now.rollbacks[-1] < 0
    back = ~sound & room
    last_finite = _select(measured, now.state, now.last_finite)
    count = jnp.sum(now.rollbacks >= 0)
    return GuardedState(
        state=_select(sound, following, last_finite),
        last_finite=last_finite,
        is_unverified=sound,
        step=now.step + sound - (back & ~measured & now.is_unverified),
        scale=jnp.where(back, BACKOFF * now.scale, now.scale),
        rollbacks=jnp.where(back, now.rollbacks.at[count].set(now.step), now.rollbacks),
        failed=~sound & ~room,
    )


def _select(condition: Bool[Array, ""], these: Any, others: Any) -> Any:
    return jax.tree.map(lambda this, other: jnp.where(condition, this, other), these, others)


def _is_finite(policy: Policy) -> Bool[Array, ""]:
    """Whether all parameters are finite."""
    leaves = jax.tree.leaves(eqx.filter(policy, eqx.is_inexact_array))
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()


def _describe_failure(step: int, mean_return: float, gradient_norm: float) -> str:
    """When and where a step was not finite."""
    if np.isfinite([mean_return, gradient_norm]).all():
        return f"update {step}: the parameters after it were not finite"
    where = "return" if not np.isfinite(mean_return) else "gradient"
    return f"update {step}: the {where} was not finite (return {mean_return:g}, gradient norm {gradient_norm:g})"
