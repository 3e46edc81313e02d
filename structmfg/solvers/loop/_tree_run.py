"""An iteration on a noise tree, in double precision, from certificate to certificate."""

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from structmfg.evaluation import (
    Flow,
    TreeProblem,
    best_values,
    check_game_along,
    check_observations,
    describe_nonfinite,
    in_default,
    in_double,
    steps_on_tree,
    unroll_on_tree,
)
from structmfg.games import Game, check_noise_is_distinguishable
from structmfg.policies import Policy, TreePolicy
from structmfg.solvers._solution import RESULTS, Solution
from structmfg.solvers._tree_solver import Judged, TreeSolver
from structmfg.solvers.loop._run import Reached, Run

_ROUNDING = 1e-12  # relative to the return: how far below zero rounding may take a certificate
_BETTER = 0.5  # a policy that failed by its conversion is evaluated again where its table is so much better
_LOOKED_AT = 2**26  # transition probabilities that are looked at before and after a solve


class Verdict(NamedTuple):
    """What is known of the policy as it is returned, after its last conversion.

    `gain`: its exploitability, or where that is not `exact`, what single changes gain. `fault`: why there is none, in
    words; `broken`: because the game is not one, not because a number is not finite.
    """

    gain: float
    mean_return: float
    exact: bool
    fault: str | None
    broken: bool

    def within(self, tolerance: float) -> bool:
        """Whether it is proven to be at most this; below zero it proves nothing."""
        return self.fault is None and 0 <= self.gain <= tolerance


class TreeRun(Run):
    """One policy; updates made are kept only if their certificate is finite.

    What decides is the policy that is returned, in JAX's default precision: once the solver's own certificate is within
    the tolerance, and at the end, that policy is evaluated, in double precision, as `exploitability` does it.
    """

    def __init__(self, game: Game, solver: TreeSolver) -> None:
        super().__init__(1)
        self.solver = eqx.tree_at(lambda s: s.tolerance, solver, 0.0)  # programs do not depend on it
        self.tolerance = solver.tolerance
        self.planned_end = RESULTS.not_converged if solver.tolerance > 0 else RESULTS.completed
        self._returns: list[float] = []
        self._exploitabilities: list[float] = []
        self._certified: list[int] = []
        self._verdict: tuple[int, Verdict] | None = None  # of the policy after so many steps
        self._attempted = math.inf  # the solver's own gain when a policy was last evaluated
        began = time.perf_counter()
        with jax.enable_x64(True):
            self.problem = TreeProblem.of(game, solver.information)
        if solver.information == "full":
            check_noise_is_distinguishable(self.problem.tree)
        with jax.enable_x64(True):
            self.reached = Reached(_first(self.solver, self.problem), 0, 0.0)
            _, start = jax.block_until_ready(_round(self.solver, self.problem, self.reached.state, jnp.zeros((), int)))
        self._check(start, 0)
        if self.verdict().broken:
            raise ValueError(self.verdict().fault)
        self.compile_seconds = time.perf_counter() - began

    def verdict(self) -> Verdict:
        """Of the policy reached."""
        if self._verdict is None or self._verdict[0] != self.step:
            self._verdict = self.step, self._judge(self.policies()[0])
        return self._verdict[1]

    def _judge(self, policy: Policy) -> Verdict:
        problem = self.problem
        with jax.enable_x64(True):
            flow, *found = _evaluate(problem, in_double(policy))
            gain, mean_return, exact = (x.item() for x in found)
            steps, fault, broken = steps_on_tree(problem.tree, flow), None, False
            try:
                check_game_along(problem.game, steps, max_checked=_LOOKED_AT)
                if problem.information == "public":
                    check_observations(problem.game, problem.tree, flow)
            except ValueError as error:
                fault, broken = str(error), True
            if fault is None and not np.isfinite([gain, mean_return]).all():
                fault = describe_nonfinite(problem.game, steps) or "the sum of all rewards overflows"
        if -_ROUNDING * (1 + abs(mean_return)) <= gain < 0:
            gain = 0.0
        return Verdict(gain, mean_return, exact, fault, broken)

    @property
    def exploitability(self) -> float | None:
        """By the last certificate."""
        return self._exploitabilities[-1] if self._exploitabilities else None

    @property
    def mean_return(self) -> float:
        """By the last certificate."""
        return self._returns[-1]

    @property
    def ended(self) -> RESULTS | None:
        """Not finite, or converged, with an exact certificate or without."""
        if not self._within_tolerance:
            return super().ended
        return self._success()

    def _success(self) -> RESULTS:
        return RESULTS.converged if self.verdict().exact else RESULTS.uncertified

    @property
    def _within_tolerance(self) -> bool:
        """Of the policy as it would be returned, if the solver's own certificate says so of its table."""
        gain = self.exploitability
        if not (self.tolerance > 0 and gain is not None and gain <= self.tolerance):
            return False
        if (self._verdict is None or self._verdict[0] != self.step) and gain > _BETTER * self._attempted:
            return False  # no better than when the policy failed because of its conversion
        self._attempted = gain
        return self.verdict().within(self.tolerance)

    def advance(self, until: int, seconds: float) -> None:
        """Or until converged."""
        self.trim()
        began, before = time.perf_counter(), self.train_seconds
        while self.step < until and self.train_seconds - before < seconds:
            count = min(self.solver.stride(self.reached.state), until - self.step)
            with jax.enable_x64(True):
                state, judged = _round(self.solver, self.problem, self.reached.state, jnp.asarray(count, int))
                judged = jax.block_until_ready(judged)
            step = self.step + count
            if not self._check(judged, step):
                return
            self._returns.append(float(judged.mean_return))
            self._exploitabilities.append(float(judged.gain))
            self._certified.append(step)
            self.clock.append((step, before + time.perf_counter() - began))
            self.reached = Reached(state, *self.clock[-1])
            if self._within_tolerance:
                return

    def _check(self, judged: Judged, step: int) -> bool:
        gain, mean_return = float(judged.gain), float(judged.mean_return)
        if finite := bool(np.isfinite([gain, mean_return]).all()):
            return finite
        where = f"by update {step}" if step else "at the start, under the uniform policy"
        said = f"{where}: exploitability {gain:g}, return {mean_return:g}"
        self.failures[0] = said  # from here on the policy is the last good one
        if (fault := self.verdict().fault) is not None:
            self.failures[0] = f"{said}: {fault}"
        return finite

    def policies(self) -> list[Policy]:
        """In JAX's default float."""
        with jax.enable_x64(True):
            started = self.solver if self.step or not self.failures[0] else None
            found = _tree_policy(started, self.problem, self.reached.state)
        return [in_default(found)]

    def solutions(self, result: RESULTS) -> list[Solution]:
        """Of the one policy; the last certificate is that of the policy as it is returned."""
        self.trim()
        (policy,) = self.policies()
        exploitability = None
        if not self.failures[0]:
            verdict = self.verdict()
            self.failures[0], exploitability = verdict.fault, verdict.gain
            if verdict.fault is not None:
                result = RESULTS.invalid if verdict.broken else RESULTS.nonfinite
            elif result is RESULTS.not_converged and verdict.within(self.tolerance):
                result = self._success()
            if self._certified and self._certified[-1] == self.step:
                self._exploitabilities[-1], self._returns[-1] = verdict.gain, verdict.mean_return
        stats = {
            **self.stats(),
            "returns": self._returns,
            "exploitabilities": self._exploitabilities,
            "certified": self._certified,
            "exploitability": exploitability,
        }
        return [Solution(policy, result, stats)]

    @property
    def histories(self) -> dict[str, list[Any]]:
        """By certificate."""
        return {"returns": self._returns, "exploitabilities": self._exploitabilities, "certified": self._certified}

    def trim(self) -> None:
        """To the certificates up to here."""
        count = sum(step <= self.step for step in self._certified)
        for history in (self._returns, self._exploitabilities, self._certified, self.clock):
            del history[count:]

    def thaw(self, leaves: Sequence[np.ndarray]) -> PyTree[Array]:
        """In double precision."""
        with jax.enable_x64(True):
            return jax.tree.unflatten(jax.tree.structure(self.reached.state), [jnp.asarray(leaf) for leaf in leaves])


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
def _evaluate(problem: TreeProblem, policy: TreePolicy) -> tuple[Flow, Array, Array, Array]:
    """Mean fields of a policy, its exploitability and return, and whether the former is exact.

    A policy that knows the noise finds every node, see `check_noise_is_distinguishable`.
    """
    if problem.information == "full":
        table = jax.nn.softmax(policy.logits)
        flow = problem.push(table)
    else:
        flow, table = unroll_on_tree(problem.game, problem.tree, policy)
    values, _, losses, exact = best_values(problem, flow, table)
    gain = jnp.sum(problem.weights[:, None] * flow[: problem.tree.num_decisions] * losses)
    start = jnp.where(problem.tree.slot_time == 0, problem.tree.probability, 0)
    return flow, gain, jnp.sum(start[:, None] * flow * values) - gain, exact


@eqx.filter_jit
def _tree_policy(solver: TreeSolver | None, problem: TreeProblem, state: PyTree[Array]) -> Policy:
    table = solver.table(problem, state) if solver else problem.uniform()
    return problem.policy(*problem.settled(table))
