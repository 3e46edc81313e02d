"""An iteration on a noise tree, in double precision, from certificate to certificate."""

import math
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree
from typing_extensions import override

from structmfg._results import RESULTS
from structmfg.evaluation import (
    RESIDUAL,
    Flow,
    Table,
    TreeProblem,
    best_values,
    check_declared,
    check_game_along,
    check_observations,
    describe_nonfinite,
    in_default,
    in_double,
    means_by_population,
    steps_on_tree,
    unroll_on_tree,
)
from structmfg.games import Game, check_noise_is_distinguishable
from structmfg.policies import Policy, TreePolicy
from structmfg.solvers._base import Solution, TreeSolver
from structmfg.solvers.loop._run import LoopState, Run

ROUNDING = 1e-12  # relative to the return: how far below zero rounding may take a certificate
_IMPROVEMENT = 0.5  # a table is converted again where its gain has fallen by this factor since that failed
_MAX_CHECKED = 2**26  # transition probabilities that are checked before and after a solve


class Evaluation(NamedTuple):
    """What is known of the policy as it is returned, in JAX's default precision.

    Attributes:
        gain: Its exploitability. Where that is not `exact`, what changes at single information sets gain.
        mean_return: Its return.
        exact: Whether `gain` is the exploitability.
        fault: Why there is no exploitability, in words, or None.
        is_broken: Whether that is because the game is not one, and not because a number is not finite.
        residual: Of an infinite horizon, how far the mean field is from a stationary one, ||(A^pi)^T mu - mu||_1.
        by_population: Of each of several populations, by name, the gain of one of its agents; else empty.
    """

    gain: float
    mean_return: float
    exact: bool
    fault: str | None
    is_broken: bool
    residual: float = 0.0
    by_population: Mapping[str, float] = MappingProxyType({})

    def proves(self, tolerance: float) -> bool:
        """Whether the gain, and that in each population, is proven to be at most this.

        A gain below zero proves nothing.
        """
        within = all(0 <= gain <= tolerance for gain in (self.gain, *self.by_population.values()))
        return self.fault is None and within and self.residual <= RESIDUAL


class TreeRun(Run):
    """A solve of one policy; steps made are kept only if their certificate is finite.

    The policy that is returned decides, in JAX's default precision: once the solver's own certificate is within the
    tolerance, and at the end, that policy is evaluated in double precision, as `exploitability` does it.
    """

    def __init__(self, game: Game, solver: TreeSolver) -> None:
        super().__init__(1)
        self.solver = eqx.tree_at(lambda s: s.tolerance, solver, 0.0)  # programs do not depend on it
        self.tolerance = solver.tolerance
        self.planned_end = RESULTS.not_converged if solver.tolerance > 0 else RESULTS.completed
        self._returns: list[float] = []
        self._exploitabilities: list[float] = []
        self._certified: list[int] = []
        self.histories = {
            "returns": self._returns, "exploitabilities": self._exploitabilities, "certified": self._certified
        }  # fmt: skip
        self._evaluation: tuple[int, Evaluation] | None = None  # of the policy after so many steps
        self._gain_before = math.inf  # the solver's own gain when a policy was last evaluated
        began = time.perf_counter()
        self.reached = LoopState(self._begin(game), 0, 0.0)
        _, gain, mean_return = self._certify(0)
        self._check(gain, mean_return, 0)
        if self.evaluation().is_broken:
            raise ValueError(self.evaluation().fault)
        self.compile_seconds = time.perf_counter() - began

    def _begin(self, game: Game) -> Any:
        """Make the problem; return the state before the first step."""
        with jax.enable_x64(True):
            self.problem: Any = TreeProblem.of(game, self.solver.information)
        if self.solver.information == "full":
            check_noise_is_distinguishable(self.problem.tree)
        with jax.enable_x64(True):
            return first_state(self.solver, self.problem)

    def evaluation(self) -> Evaluation:
        """What is known of the policy reached."""
        if self._evaluation is None or self._evaluation[0] != self.step:
            self._evaluation = self.step, self._evaluate(self.policies()[0])
        return self._evaluation[1]

    def _evaluate(self, policy: Policy) -> Evaluation:
        return _evaluate(self.problem, policy)

    @property
    @override
    def exploitability(self) -> float | None:
        return self._exploitabilities[-1] if self._exploitabilities else None

    @property
    @override
    def mean_return(self) -> float:
        return self._returns[-1]

    @property
    @override
    def ended(self) -> RESULTS | None:
        return self._success() if self._is_within_tolerance() else super().ended

    def _success(self) -> RESULTS:
        return RESULTS.converged if self.evaluation().exact else RESULTS.uncertified

    def _is_within_tolerance(self) -> bool:
        """Whether the policy as it would be returned is, once the solver's own certificate is."""
        gain = self.exploitability
        if not (self.tolerance > 0 and gain is not None and gain <= self.tolerance):
            return False
        if (self._evaluation is None or self._evaluation[0] != self.step) and gain > _IMPROVEMENT * self._gain_before:
            return False  # no better than when the policy failed because of its conversion
        self._gain_before = gain
        return self.evaluation().proves(self.tolerance)

    @override
    def advance(self, until: int, seconds: float) -> None:
        self.trim()
        began, before = time.perf_counter(), self.train_seconds
        while self.step < until and self.train_seconds - before < seconds:
            began += self._adapt()
            count = min(self.solver.steps_per_certificate(self.problem), until - self.step)
            state, gain, mean_return = self._certify(count)
            step = self.step + count
            if not self._check(gain, mean_return, step):
                return
            self._returns.append(mean_return)
            self._exploitabilities.append(gain)
            self._certified.append(step)
            self.clock.append((step, before + time.perf_counter() - began))
            self.reached = LoopState(state, *self.clock[-1])
            if self._is_within_tolerance():
                return

    def _adapt(self) -> float:
        """Take the solver that goes on from here; the seconds of its compilation, which are not training."""
        began, adapted = time.perf_counter(), self.solver.adapted(self.problem, self.reached.state)
        if adapted is self.solver:
            return 0.0
        self.solver = adapted
        self._certify(0)
        self.policies()
        seconds = time.perf_counter() - began
        self.compile_seconds += seconds
        return seconds

    def _certify(self, count: int) -> tuple[Any, float, float]:
        """The state after so many more steps, its exploitability and its return."""
        with jax.enable_x64(True):
            state, *numbers = jax.block_until_ready(
                steps_to_certificate(self.solver, self.problem, self.reached.state, jnp.asarray(count, int))
            )
        return state, *map(float, numbers)

    def _check(self, gain: float, mean_return: float, step: int) -> bool:
        """Whether a certificate is finite; if not, the solve has failed, with the policy before these steps."""
        if np.isfinite([gain, mean_return]).all():
            return True
        where = f"by update {step}" if step else "at the start, under the uniform policy"
        message = f"{where}: exploitability {gain:g}, return {mean_return:g}"
        self.failures[0] = message  # from here on the policy is the last good one
        if (fault := self.evaluation().fault) is not None:
            self.failures[0] = f"{message}: {fault}"
        return False

    @override
    def policies(self) -> list[Policy]:
        with jax.enable_x64(True):
            solver = self.solver if self.step or not self.failures[0] else None
            policy = tree_policy_at(solver, self.problem, self.reached.state)
        return [in_default(policy)]

    @override
    def solutions(self, result: RESULTS) -> list[Solution]:
        self.trim()
        (policy,) = self.policies()
        exploitability: float | None = None
        by_population: Mapping[str, float] = {}
        if not self.failures[0]:
            evaluation = self.evaluation()
            by_population = evaluation.by_population
            self.failures[0], exploitability = evaluation.fault, evaluation.gain
            if evaluation.fault is not None:
                result = RESULTS.invalid if evaluation.is_broken else RESULTS.nonfinite
            elif result is RESULTS.not_converged and evaluation.proves(self.tolerance):
                result = self._success()
            if self._certified and self._certified[-1] == self.step:
                self._exploitabilities[-1], self._returns[-1] = evaluation.gain, evaluation.mean_return
        stats = {**self.stats(0), **self.histories, "exploitability": exploitability}
        if self.problem.game.populations:
            stats["exploitability_by_population"] = by_population
        return [Solution(policy, result, stats)]

    @override
    def trim(self) -> None:
        count = sum(step <= self.step for step in self._certified)
        for history in (*self.histories.values(), self.clock):
            del history[count:]


@eqx.filter_jit
def first_state(solver: TreeSolver, problem: TreeProblem) -> PyTree[Array]:
    """The state of a solver before its first step."""
    return _without_weak_types(solver.init(problem))


@eqx.filter_jit
def steps_to_certificate(
    solver: TreeSolver, problem: TreeProblem, state: PyTree[Array], count: Int[Array, ""]
) -> tuple[PyTree[Array], Float[Array, ""], Float[Array, ""]]:
    """The state after `count` steps, its exploitability and its return."""
    state = jax.lax.fori_loop(0, count, lambda _, s: solver.step(problem, s), state)
    state, certificate = solver.certify(problem, state)
    return _without_weak_types((state, jnp.sum(certificate.gain), jnp.sum(certificate.mean_return)))


def _without_weak_types(tree: PyTree[Array]) -> PyTree[Array]:
    """The same arrays with no weak types, for which every program would be compiled twice."""
    return jax.tree.map(lambda x: jnp.asarray(x, x.dtype), tree)


@eqx.filter_jit
def tree_policy_at(solver: TreeSolver | None, problem: TreeProblem, state: PyTree[Array]) -> TreePolicy:
    """The policy of a state; without a solver, the uniform one."""
    table = solver.policy_at(problem, state) if solver else problem.uniform()
    return problem.policy(*problem.settled(table))


@eqx.filter_jit
def evaluate_on_tree(
    problem: TreeProblem, policy: TreePolicy
) -> tuple[Flow, Table | None, dict[str, Array], Array, Array, Array]:
    """Aggregate states of a policy, its exploitability and return, and whether its exploitability is exact.

    And its table, where the game declares more than (mu, z, t), and the gain in each of several populations.

    A policy that knows the noise finds every node, see `check_noise_is_distinguishable`.
    """
    if problem.information == "full":
        table, flow = problem.play(jax.nn.softmax(policy.logits))
    else:
        flow, table = unroll_on_tree(problem.game, problem.tree, policy)
    values, _, losses, exact = best_values(problem, flow, table)
    mean_fields = problem.mean_fields(flow)
    lost = problem.weights[:, None] * mean_fields[: problem.tree.num_decisions] * losses
    gain = jnp.sum(lost)
    start = jnp.where(problem.tree.slot_time == 0, problem.tree.probability, 0)
    return (
        flow,
        table if problem.game.declared else None,
        means_by_population(problem.game.populations, jnp.sum(lost, axis=0)) if problem.game.populations else {},
        gain,
        jnp.sum(start[:, None] * mean_fields * values) - gain,
        exact,
    )


def _evaluate(problem: TreeProblem, policy: Policy) -> Evaluation:
    with jax.enable_x64(True):
        flow, table, gains, *numbers = evaluate_on_tree(problem, in_double(policy))
        gain, mean_return, exact = (x.item() for x in numbers)
        steps, fault, is_broken = steps_on_tree(problem.game, problem.tree, flow), None, False
        try:
            if table is not None:
                check_declared(problem.game, steps.nodes, table)
            check_game_along(problem.game, steps, max_checked=_MAX_CHECKED)
            if problem.information == "public":
                check_observations(problem.game, problem.tree, flow)
        except ValueError as error:
            fault, is_broken = str(error), True
        if fault is None and not np.isfinite([gain, mean_return]).all():
            fault = describe_nonfinite(problem.game, steps) or "the sum of all rewards overflows"

    def rounded(gain: float) -> float:
        return 0.0 if -ROUNDING * (1 + abs(mean_return)) <= gain < 0 else gain

    by_population = {each.name: rounded(float(gains[each.name])) for each in problem.game.populations}
    return Evaluation(rounded(gain), mean_return, exact, fault, is_broken, by_population=by_population)
