"""The training of a network or a table, from one key or from several side by side, in jitted chunks of updates.

An update measures the state it starts from. Where that, or the parameters it leads to, are not finite, training steps
back to the last state that is known to be good and goes on with a smaller step; after so many times it gives up.
"""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray, PyTree

from structmfg._results import RESULTS
from structmfg.games import Game
from structmfg.policies import Policy
from structmfg.solvers._solution import Solution, describe_failure
from structmfg.solvers._training import Metrics, TrainingSolver
from structmfg.solvers.loop._run import Reached, Run, is_key

RETREATS, SHRINKING = 5, 0.25  # at most so many in a solve; each multiplies the learning rates by this
_CHUNK = 256  # at most so many updates to a jitted call


class Attempt(NamedTuple):
    """What a chunk changes, with a leading axis where there are several keys.

    `good`: the latest solver state whose return and gradient are known to be finite; `ahead`: whether `state` is one
    update beyond it. `scale`: of the learning rates. `retreats`: the updates at which it stepped back, -1 where there
    is room for more. `failed`: there was none; `state` is then the good one, `step` the update that could not be made.
    """

    state: Any
    good: Any
    ahead: Bool[Array, "*keys"]
    step: Int[Array, "*keys"]
    scale: Float[Array, "*keys"]
    retreats: Int[Array, "*keys retreats"]
    failed: Bool[Array, "*keys"]


class TrainingRun(Run):
    """`keys`: one key, or a vector of them."""

    def __init__(self, game: Game, solver: TrainingSolver, keys: Key[Array, "*keys"], max_steps: int) -> None:
        super().__init__(keys.size)
        began = time.perf_counter()
        self.solver, self._keys = solver, keys
        self._returns: list[list[float]] = [[] for _ in self.checkpoints]
        self._gradient_norms: list[list[float]] = [[] for _ in self.checkpoints]
        self.reached = Reached(start(game, solver, keys), 0, 0.0)
        self._arguments = game, solver, max_steps
        self._run = lowered(game, solver, self.reached.state, max_steps).compile()
        self.compile_seconds = time.perf_counter() - began

    def advance(self, until: int, seconds: float) -> None:
        """Those of which updates are not finite stay where they are."""
        game, solver, max_steps = self._arguments
        pace = self.train_seconds / self.step if self.step else seconds
        until = self.step + int(np.clip(seconds / pace, 1, min(until - self.step, _CHUNK)))
        self.trim()
        began = time.perf_counter()
        state, metrics, again = jax.block_until_ready(
            self._run(game, solver, self.reached.state, max_steps, jnp.asarray(until))
        )
        seconds = self.train_seconds + time.perf_counter() - began
        returns, norms = (np.asarray(rows).reshape(len(self._returns), -1) for rows in metrics)
        for i, (step, failed, redone) in enumerate(zip(*_rows(state.step, state.failed, again), strict=True)):
            if failed and self.failures[i] is None:
                at = step - len(self._returns[i]) + 1
                self.failures[i] = describe_failure(step, float(returns[i, at]), float(norms[i, at]))
            _extend(self._returns[i], returns[i], step, redone=redone)
            _extend(self._gradient_norms[i], norms[i], step, redone=redone)
        step = max(_rows(state.step)[0])
        self.clock.append((step, seconds))
        self.reached = Reached(state, step, seconds)

    @property
    def mean_return(self) -> float:
        """Over the policies."""
        return float(np.mean([returns[-1] for returns in self._returns if returns]))

    def policies(self) -> list[Policy]:
        """With the parameters reached."""
        state = self.reached.state.state
        return [self.solver.policy_at(of_one(state, self._keys, i)) for i in range(len(self.failures))]

    def solutions(self, result: RESULTS) -> list[Solution]:
        """A policy whose numbers did not stay finite has that as its result."""
        self.trim()
        retreats = np.atleast_2d(self.reached.state.retreats)
        return [
            Solution(
                policy,
                RESULTS.nonfinite if failure else result,
                {
                    **self.stats(i),
                    "steps": len(self._returns[i]),
                    "returns": self._returns[i],
                    "gradient_norms": self._gradient_norms[i],
                    "retreats": [int(step) for step in retreats[i] if step >= 0],
                },
            )
            for i, (policy, failure) in enumerate(zip(self.policies(), self.failures, strict=True))
        ]

    @property
    def histories(self) -> dict[str, list[Any]]:
        """Of every policy."""
        both = {"returns": self._returns, "gradient norms": self._gradient_norms}
        return {f"{name} {i}": history for name, of in both.items() for i, history in enumerate(of)}

    def trim(self) -> None:
        """To the updates of every policy."""
        for step, *histories in zip(*_rows(self.reached.state.step), self._returns, self._gradient_norms, strict=True):
            for history in histories:
                del history[step:]
        self.clock = [point for point in self.clock if point[0] <= self.step]

    def thaw(self, leaves: Sequence[np.ndarray]) -> PyTree[Array]:
        """Keys are of the same kind as those given."""
        likes, structure = jax.tree.flatten(self.reached.state)
        kind = jax.random.key_impl(self._keys)
        arrays = [
            jax.random.wrap_key_data(jnp.asarray(leaf), impl=kind) if is_key(like) else jnp.asarray(leaf)
            for leaf, like in zip(leaves, likes, strict=True)
        ]
        return jax.tree.unflatten(structure, arrays)


def _rows(*arrays: Array) -> list[list[Any]]:
    """As lists with an entry for each policy."""
    return [np.atleast_1d(array).tolist() for array in arrays]


def _extend(history: list[float], rows: np.ndarray, steps: int, *, redone: bool) -> None:
    """With what a chunk measured: first, if it was `redone`, the update before the chunk, then the others."""
    if history and redone:
        history[-1] = float(rows[0])
    history += rows[1 : 1 + max(steps - len(history), 0)].tolist()
    del history[steps:]


def start(game: Game, solver: TrainingSolver, keys: Key[Array, "*keys"]) -> Attempt:
    """Before the first update, from one key or from each of several."""

    def attempt(key: PRNGKeyArray) -> Attempt:
        state, no = solver.init(game, key), jnp.asarray(False)
        return Attempt(state, state, no, jnp.zeros((), int), jnp.ones(()), jnp.full(RETREATS, -1), no)

    return jax.vmap(attempt)(keys) if keys.ndim else attempt(keys)


def of_one(state: Any, keys: Key[Array, "*keys"], index: int = 0) -> Any:
    """The solver state of one of the keys."""
    return jax.tree.map(lambda x: x[index], state) if keys.ndim else state


def lowered(game: Game, solver: TrainingSolver, attempt: Attempt, max_steps: int) -> Any:
    """The program of a chunk, to be compiled, for arrays like these."""
    program: Any = _chunks if attempt.step.ndim else _chunk
    return program.lower(game, solver, attempt, max_steps, jnp.zeros((), int))


@eqx.filter_jit
def _chunks(
    game: Game, solver: TrainingSolver, attempts: Attempt, max_steps: int, until: Int[Array, ""]
) -> tuple[Attempt, Metrics, Bool[Array, " keys"]]:
    return jax.vmap(lambda attempt: _chunk(game, solver, attempt, max_steps, until))(attempts)


@eqx.filter_jit
def _chunk(
    game: Game, solver: TrainingSolver, attempt: Attempt, max_steps: int, until: Int[Array, ""]
) -> tuple[Attempt, Metrics, Bool[Array, ""]]:
    """Updates up to the step `until`, at most _CHUNK away, or up to the last retreat.

    Row i + 1 of the metrics (_CHUNK + 1,) is what the i-th of these updates measured, zero where there was none; row 0
    is the update before them, where that was made again, which is told last.
    """
    first = attempt.step

    def go_on(carry: tuple[Attempt, Metrics, Array]) -> Bool[Array, ""]:
        return ~carry[0].failed & (carry[0].step < until)

    def body(carry: tuple[Attempt, Metrics, Array]) -> tuple[Attempt, Metrics, Array]:
        now, history, again = carry
        following, metrics = solver.scale_learning_rates(now.scale).step(game, now.state, max_steps)
        history = jax.tree.map(lambda rows, one: rows.at[now.step - first + 1].set(one), history, metrics)
        measured = jnp.isfinite(metrics.mean_return) & jnp.isfinite(metrics.gradient_norm)
        judged = _judged(now, following, measured, measured & _is_finite(solver.policy_at(following)))
        return judged, history, again | (now.step < first)

    rows = jnp.zeros(_CHUNK + 1)  # no NaN, at which JAX would stop under `jax_debug_nans`
    return jax.lax.while_loop(go_on, body, (attempt, Metrics(rows, rows), jnp.asarray(False)))


def _judged(now: Attempt, following: Any, measured: Bool[Array, ""], sound: Bool[Array, ""]) -> Attempt:
    """On, back or to the end, by whether the state was `measured` as finite, and the update `sound` besides."""
    room = now.retreats[-1] < 0
    back = ~sound & room
    good = _either(measured, now.state, now.good)
    place = jnp.sum(now.retreats >= 0)
    return Attempt(
        state=_either(sound, following, good),
        good=good,
        ahead=sound,
        step=now.step + sound - (back & ~measured & now.ahead),
        scale=jnp.where(back, SHRINKING * now.scale, now.scale),
        retreats=jnp.where(back, now.retreats.at[place].set(now.step), now.retreats),
        failed=~sound & ~room,
    )


def _either(condition: Bool[Array, ""], these: Any, others: Any) -> Any:
    return jax.tree.map(lambda this, other: jnp.where(condition, this, other), these, others)


def _is_finite(policy: Policy) -> Bool[Array, ""]:
    """Of all parameters."""
    leaves = jax.tree.leaves(eqx.filter(policy, eqx.is_inexact_array))
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()
