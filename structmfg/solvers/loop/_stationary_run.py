"""An iteration on a game that goes on for ever, on the host in double precision."""

from typing import Any

import jax
import numpy as np
from typing_extensions import override

from structmfg._results import RESULTS
from structmfg.evaluation import StationaryProblem, means_by_population, settled
from structmfg.games import Game
from structmfg.policies import Policy, StationaryPolicy
from structmfg.solvers._base import Solution
from structmfg.solvers.loop._snapshots import Snapshots
from structmfg.solvers.loop._tree_run import ROUNDING, Evaluation, TreeRun


class StationaryRun(TreeRun):
    """A solve of one policy of a game that goes on for ever; otherwise as on a tree, but no method is compiled.

    `converged` needs both: the exact gain of a best response, and a mean field that is stationary.
    """

    @override
    def _begin(self, game: Game) -> Any:
        self.problem = StationaryProblem(game)
        return self.solver.init(self.problem)

    @override
    def _certify(self, count: int) -> tuple[Any, float, float]:
        state = self.reached.state
        for _ in range(count):
            state = self.solver.step(self.problem, state)
        state, (gain, mean_return) = self.solver.certify(self.problem, state)
        return state, float(gain), float(mean_return)

    @override
    def policies(self) -> list[Policy]:
        return [StationaryPolicy(*self.solver.policy_at(self.problem, self.reached.state))]

    @override
    def _evaluate(self, policy: Policy) -> Evaluation:
        table, mean_field = settled(self.problem, policy)
        gain, mean_return, residual, gains, _ = self.problem.certify(table, mean_field)
        populations = self.problem.game.populations
        by_population = {name: float(x) for name, x in means_by_population(populations, mean_field * gains).items()}
        fault = self.problem.fault(mean_field)
        is_broken = fault is not None
        if fault is None and not np.isfinite([gain, mean_return]).all():
            fault = "a reward is not finite at the mean field of the policy"
        if -ROUNDING * (1 + abs(mean_return)) <= gain < 0:
            gain = 0.0
        return Evaluation(gain, mean_return, True, fault, is_broken, residual, by_population)

    @override
    def solutions(self, result: RESULTS) -> list[Solution]:
        (solution,) = super().solutions(result)
        solution.stats["residual"] = None if self.failures[0] else self.evaluation().residual
        return [solution]

    @override
    def restore(self, snapshots: Snapshots, solve: dict[str, Any]) -> None:
        super().restore(snapshots, solve)
        self.reached = self.reached._replace(state=jax.tree.map(np.asarray, self.reached.state))
