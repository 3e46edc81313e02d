"""An iteration on a noise tree, in double precision, from certificate to certificate."""

import time
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from structmfg.games import Game
from structmfg.policies import Policy
from structmfg.solvers._exploitability import in_default
from structmfg.solvers._information import has_perfect_recall
from structmfg.solvers._problem import TreeProblem
from structmfg.solvers._run import Reached, Run
from structmfg.solvers._solution import RESULTS, Solution
from structmfg.solvers._tree_solver import Judged, TreeSolver


class TreeRun(Run):
    """One policy; updates made are kept only if their certificate is finite."""

    def __init__(self, game: Game, solver: TreeSolver) -> None:
        super().__init__(1)
        self.solver = eqx.tree_at(lambda s: s.tolerance, solver, 0.0)  # programs do not depend on it
        self.tolerance = solver.tolerance
        self.planned_end = RESULTS.not_converged if solver.tolerance > 0 else RESULTS.completed
        self._returns: list[float] = []
        self._exploitabilities: list[float] = []
        self._certified: list[int] = []
        began = time.perf_counter()
        with jax.enable_x64(True):
            self.problem = TreeProblem.of(game, solver.information)
            self.reached = Reached(_first(self.solver, self.problem), 0, 0.0)
            _, start = jax.block_until_ready(_round(self.solver, self.problem, self.reached.state, jnp.zeros((), int)))
        self._check(start, 0)
        self.compile_seconds = time.perf_counter() - began

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
        return RESULTS.converged if self._is_exact() else RESULTS.uncertified

    @property
    def _within_tolerance(self) -> bool:
        return self.tolerance > 0 and self.exploitability is not None and self.exploitability <= self.tolerance

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
        self.failures[0] = f"{where}: exploitability {gain:g}, return {mean_return:g}"
        return finite

    def _is_exact(self) -> bool:
        """Whether the certificate is the gain of a best response, not only of single changes."""
        if self.problem.information == "full":
            return True
        with jax.enable_x64(True):
            return bool(_recalls(self.solver, self.problem, self.reached.state))

    def policies(self) -> list[Policy]:
        """In JAX's default float."""
        with jax.enable_x64(True):
            started = self.solver if self.step or not self.failures[0] else None
            found = _tree_policy(started, self.problem, self.reached.state)
        return [in_default(found)]

    def solutions(self, result: RESULTS) -> list[Solution]:
        """Of the one policy."""
        self.trim()
        stats = {
            **self.stats(),
            "returns": self._returns,
            "exploitabilities": self._exploitabilities,
            "certified": self._certified,
            "exploitability": self.exploitability,
        }
        return [Solution(policy, result, stats) for policy in self.policies()]

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
def _recalls(solver: TreeSolver, problem: TreeProblem, state: PyTree[Array]) -> Array:
    flow = problem.push(solver.table(problem, state))
    return has_perfect_recall(problem.game, problem.tree, flow, problem.sets(flow))


@eqx.filter_jit
def _tree_policy(solver: TreeSolver | None, problem: TreeProblem, state: PyTree[Array]) -> Policy:
    return problem.policy(solver.table(problem, state) if solver else problem.uniform())
