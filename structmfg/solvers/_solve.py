"""The one driver loop: compile once, run updates in jitted chunks, keep the clock, stop for a stated reason.

What it drives is a `_Run`: the training of a network, in JAX's default precision, or an iteration on a noise tree, in
double precision.
"""

import abc
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree

from structmfg._checks import check_integer, check_kind, check_positive
from structmfg.games import Game, check_game
from structmfg.policies import Policy
from structmfg.solvers._exploitability import Estimate, in_default
from structmfg.solvers._information import has_perfect_recall
from structmfg.solvers._problem import TreeProblem
from structmfg.solvers._solution import RESULTS, Checkpoint, Solution, describe_failure
from structmfg.solvers._training import Metrics, TrainingSolver
from structmfg.solvers._tree_solver import Judged, TreeSolver

_CHUNK = 256  # at most so many updates to a jitted call
_CHUNK_SECONDS = 0.5  # and about so long, so that progress and limits are seen


class Progress(NamedTuple):
    """Where a solve stands, for callbacks."""

    step: int
    max_steps: int
    train_seconds: float
    mean_return: float
    checkpoint: Checkpoint | None
    exploitability: float | None = None  # by the latest certificate, where the solver gives them


def solve(
    game: Game,
    solver: TrainingSolver | TreeSolver,
    *,
    key: PRNGKeyArray | None = None,
    max_steps: int,
    max_seconds: float | None = None,
    evaluate: Callable[[Policy], Estimate] | None = None,
    evaluations: int | Sequence[int] = 10,
    callback: Callable[[Progress], None] | None = None,
    throw: bool = True,
) -> Solution:
    """Improve a policy by at most `max_steps` updates of a solver: one that trains a network, or one on a noise tree.

    Those that train a network need a `key`, on which alone their numbers depend. The others start from the uniform
    policy and stop where the exploitability is at most their tolerance. `max_seconds` stops the solve there, on a clock
    that counts neither compilation nor evaluation. `evaluate` is called on the policy at `evaluations` equally spaced
    steps, or at the steps given and the last. `callback` is called after every chunk of updates; a KeyboardInterrupt
    ends the solve with the policy reached.

    `stats` holds `steps`, `train_seconds`, `compile_seconds`, `returns`, `checkpoints` (a list of `Checkpoint`) and
    `failure` (None, or when and where a number was not finite). Those that train add `gradient_norms`; both they and
    the returns have one entry an update. On trees `returns` and `exploitabilities` have one for each of the updates
    `certified`, those of the policy that would be returned, by the solver's own kind of information; `exploitability`
    is the last.

    Raises `ValueError` on a number out of range, a missing key, or a noise tree that does not fit, and `RuntimeError`
    on a number that is not finite unless `throw` is False.
    """
    check_kind("game", game, Game)
    check_kind("solver", solver, TrainingSolver | TreeSolver)
    check_game(game)
    max_steps = check_integer("max_steps", max_steps, at_least=1)
    if max_seconds is not None:
        check_positive("max_seconds", max_seconds)
    stops = _stops(max_steps, evaluations) if evaluate else [max_steps]
    if isinstance(solver, TreeSolver):
        loop: _Run = _TreeRun(game, solver)
    elif key is None:
        raise ValueError("this solver is random: it needs a key")
    else:
        loop = _Training(game, solver, key, max_steps)
    result = RESULTS.completed
    try:
        while loop.step < max_steps:
            following = next(stop for stop in stops if stop > loop.step)
            room = np.inf if max_seconds is None else max_seconds - loop.train_seconds
            if room <= 0:
                result = RESULTS.time_limit
                break
            ended = loop.advance(following - loop.step, min(room, _CHUNK_SECONDS))
            if ended is RESULTS.nonfinite:
                result = ended
                break
            checkpoint = None
            if evaluate and loop.step == following:
                checkpoint = loop.checkpoint(evaluate)
            if callback:
                callback(
                    Progress(
                        loop.step, max_steps, loop.train_seconds, loop.returns[-1], checkpoint, loop.exploitability
                    )
                )
            if ended is not None:
                result = ended
                break
        else:
            result = loop.planned_end
    except KeyboardInterrupt:
        result = RESULTS.interrupted
    if throw and result is RESULTS.nonfinite:
        raise RuntimeError(f"{result.value} {loop.failure}")
    return Solution(loop.policy(), result, loop.stats())


def _stops(max_steps: int, evaluations: int | Sequence[int]) -> list[int]:
    """The steps at which a policy is measured, in order."""
    if isinstance(evaluations, Sequence):
        steps = {check_integer("evaluations", step, at_least=1) for step in evaluations}
        return sorted({step for step in steps if step < max_steps} | {max_steps})
    check_integer("evaluations", evaluations, at_least=1)
    return sorted({round(max_steps * (i + 1) / evaluations) for i in range(evaluations)})


class _Run(abc.ABC):
    """The state of a solve between jitted calls."""

    planned_end = RESULTS.completed
    records: tuple[str, ...] = ("returns",)

    def __init__(self) -> None:
        self.train_seconds, self.compile_seconds, self.step = 0.0, 0.0, 0
        self.returns: list[float] = []
        self.checkpoints: list[Checkpoint] = []
        self.failure: str | None = None

    @abc.abstractmethod
    def advance(self, at_most: int, seconds: float) -> RESULTS | None:
        """Run up to `at_most` updates, about as many as fit; how the solve ended, if it did."""

    @abc.abstractmethod
    def policy(self) -> Policy:
        """The policy reached."""

    @property
    def exploitability(self) -> float | None:
        """By the latest certificate, where the solver gives them."""
        return None

    def checkpoint(self, evaluate: Callable[[Policy], Estimate]) -> Checkpoint:
        """Measure the policy reached, outside the clock."""
        estimate = evaluate(self.policy())
        self.checkpoints.append(Checkpoint(self.step, self.train_seconds, estimate.value, estimate.stderr))
        return self.checkpoints[-1]

    def stats(self) -> dict[str, Any]:
        """See `solve`."""
        names = ("train_seconds", "compile_seconds", "checkpoints", "failure", *self.records)
        return {"steps": self.step, **{name: getattr(self, name) for name in names}}


class _Training(_Run):
    """Of a network, by a policy gradient."""

    records = ("returns", "gradient_norms")

    def __init__(self, game: Game, solver: TrainingSolver, key: PRNGKeyArray, max_steps: int) -> None:
        super().__init__()
        began = time.perf_counter()
        self.solver, self.state = solver, solver.init(game, key)
        self._good = self.state  # the latest state whose return and gradient are known to be finite
        chunk: Any = eqx.filter_jit(_chunk)
        self._run = chunk.lower(game, solver, self.state, self._good, max_steps, jnp.zeros((), int)).compile()
        self._arguments = (game, solver, max_steps)
        self.compile_seconds = time.perf_counter() - began
        self.gradient_norms: list[float] = []

    def policy(self) -> Policy:
        """The network with the parameters reached."""
        return self.solver.bound(self.state)

    def advance(self, at_most: int, seconds: float) -> RESULTS | None:
        """Until an update is not finite."""
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
        return None if finite else RESULTS.nonfinite


class _TreeRun(_Run):
    """An iteration on a noise tree."""

    records = ("returns", "exploitabilities", "certified", "exploitability")

    def __init__(self, game: Game, solver: TreeSolver) -> None:
        super().__init__()
        self.solver = eqx.tree_at(lambda s: s.tolerance, solver, 0.0)  # programs do not depend on it
        self.tolerance = solver.tolerance
        self.planned_end = RESULTS.not_converged if solver.tolerance > 0 else RESULTS.completed
        self.exploitabilities: list[float] = []
        self.certified: list[int] = []
        began = time.perf_counter()
        with jax.enable_x64(True):
            self.problem = TreeProblem.of(game, solver.information)
            self.state = _first(self.solver, self.problem)
            _, start = jax.block_until_ready(_round(self.solver, self.problem, self.state, jnp.zeros((), int)))
        self._check(start, 0)
        self.compile_seconds = time.perf_counter() - began

    @property
    def exploitability(self) -> float | None:
        """By the last certificate."""
        return self.exploitabilities[-1] if self.exploitabilities else None

    def advance(self, at_most: int, seconds: float) -> RESULTS | None:
        """Until converged."""
        if self.failure:
            return RESULTS.nonfinite
        began = time.perf_counter()
        before, target = self.train_seconds, self.step + at_most
        while self.step < target and self.train_seconds - before < seconds:
            count = min(self.solver.stride(self.state), target - self.step)
            with jax.enable_x64(True):
                state, judged = _round(self.solver, self.problem, self.state, jnp.asarray(count, int))
                judged = jax.block_until_ready(judged)
            self.train_seconds = before + time.perf_counter() - began
            if not self._check(judged, self.step + count):
                return RESULTS.nonfinite
            self.state, self.step = state, self.step + count
            self.returns.append(float(judged.mean_return))
            self.exploitabilities.append(float(judged.gain))
            self.certified.append(self.step)
            if self.exploitabilities[-1] <= self.tolerance and self.tolerance > 0:
                return RESULTS.converged if self._is_exact() else RESULTS.uncertified
        return None

    def _check(self, judged: Judged, step: int) -> bool:
        gain, mean_return = float(judged.gain), float(judged.mean_return)
        if finite := bool(np.isfinite([gain, mean_return]).all()):
            return finite
        where = f"by update {step}" if step else "at the start, under the uniform policy"
        self.failure = f"{where}: exploitability {gain:g}, return {mean_return:g}"
        return finite

    def _is_exact(self) -> bool:
        """Whether the certificate is the gain of a best response, not only of single changes."""
        if self.problem.information == "full":
            return True
        with jax.enable_x64(True):
            return bool(_recalls(self.solver, self.problem, self.state))

    def policy(self) -> Policy:
        """In JAX's default float."""
        with jax.enable_x64(True):
            started = self.solver if self.step or not self.failure else None
            found = _tree_policy(started, self.problem, self.state)
        return in_default(found)


@eqx.filter_jit
def _first(solver: TreeSolver, problem: TreeProblem) -> PyTree[Array]:
    return _strong(solver.init(problem))


@eqx.filter_jit
def _round(
    solver: TreeSolver, problem: TreeProblem, state: PyTree[Array], count: Int[Array, ""]
) -> tuple[PyTree[Array], Judged]:
    """So many steps, and a certificate."""
    state = jax.lax.fori_loop(0, count, lambda _, s: solver.step(problem, s), state)
    return _strong(solver.judge(problem, state))


def _strong(tree: PyTree[Array]) -> PyTree[Array]:
    """With no weak types, which would have every program compiled twice."""
    return jax.tree.map(lambda x: jnp.asarray(x, x.dtype), tree)


@eqx.filter_jit
def _recalls(solver: TreeSolver, problem: TreeProblem, state: PyTree[Array]) -> Array:
    flow = problem.push(solver.table(problem, state))
    return has_perfect_recall(problem.game, problem.tree, flow, problem.sets(flow))


@eqx.filter_jit
def _tree_policy(solver: TreeSolver | None, problem: TreeProblem, state: PyTree[Array]) -> Policy:
    return problem.policy(solver.table(problem, state) if solver else problem.uniform())


def _chunk(
    game: Game,
    solver: TrainingSolver,
    state: Any,
    good: Any,
    max_steps: int,
    count: Int[Array, ""],
) -> tuple[Any, Any, Metrics, Int[Array, ""], Bool[Array, ""]]:
    """Run `count` <= _CHUNK updates, or up to the first that is not finite, which is not applied.

    Returns the state, the latest one known to be good, the metrics (_CHUNK,), the number of updates applied, and
    whether all were finite. An update measures the state it starts from, so a state is known to be good after it.
    """

    def go_on(carry: tuple[Any, Any, Metrics, Array, Array]) -> Array:
        _, _, _, done, finite = carry
        return finite & (done < count)

    def body(
        carry: tuple[Any, Any, Metrics, Array, Array],
    ) -> tuple[Any, Any, Metrics, Array, Array]:
        state, good, history, done, _ = carry
        following, metrics = solver.update(game, state, max_steps)
        finite = jnp.isfinite(metrics.mean_return) & jnp.isfinite(metrics.gradient_norm)
        good = jax.tree.map(lambda new, old: jnp.where(finite, new, old), state, good)
        state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), following, state)
        history = jax.tree.map(lambda all_, one: all_.at[done].set(one), history, metrics)
        return state, good, history, done + finite, finite

    history = Metrics(jnp.zeros(_CHUNK), jnp.zeros(_CHUNK))
    return jax.lax.while_loop(go_on, body, (state, good, history, jnp.zeros((), int), jnp.asarray(True)))
