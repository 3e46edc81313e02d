"""Certified equilibria on noise trees.

Two methods, chosen by how agents interact: where the game declares few aggregates, the annealed soft fixed point in
these (`_annealed`); where the whole mean field enters, accelerated mirror descent (`_accelerated`). Either way the
result is judged by its certificate alone: the exploitability by an exact best response on the tree. `converged` means
that it is at most the tolerance; where public information has no exact best response, `uncertified` is the most that is
said. Whatever happens, the policy returned is that of the least certificate found.
"""

from typing import Any, Literal

import equinox as eqx

from structmfg._checks import check_between, check_integer, check_name, check_positive
from structmfg.evaluation import Information, Table, TreeProblem
from structmfg.solvers._tree_solver import Judged, TreeSolver
from structmfg.solvers.exact._accelerated import CERTIFY, Accelerated, AcceleratedState
from structmfg.solvers.exact._annealed import Annealed, AnnealedState, respond

Method = Literal["auto", "annealed", "mirror"]


class ExactEquilibrium(TreeSolver):
    """An equilibrium by the annealed soft fixed point or by accelerated mirror descent.

    - `tolerance`: the exploitability to reach, in units of the return.
    - `information`: "full" for a policy that knows the noise so far, "public" for one that knows the observations.
    - `method`: "auto" takes "annealed" where the game declares fewer aggregates than states, else "mirror".
    - `rate`: the factor by which the temperature falls; `memory`: the residuals that Anderson's method combines.
    - `stiffness`: of the mirror steps, in units of the reward; None for an estimate. `cycle`: steps to the first
      restart.
    """

    tolerance: float = 1e-6
    information: Information = eqx.field(static=True, default="full")
    method: Method = eqx.field(static=True, default="auto")
    rate: float = 0.5
    memory: int = eqx.field(static=True, default=8)
    stiffness: float | None = None
    cycle: int = 60

    def __check_init__(self) -> None:
        check_name("method", self.method, ("auto", "annealed", "mirror"))
        check_between("rate", self.rate, 0.01, 0.99)
        check_integer("memory", self.memory, at_least=2)
        check_integer("cycle", self.cycle, at_least=2)
        if self.stiffness is not None:
            check_positive("stiffness", self.stiffness)

    def stride(self, state: Any) -> int:
        """One, or more where certificates would cost too much."""
        return 1 if isinstance(state, AnnealedState) else CERTIFY

    def init(self, problem: TreeProblem) -> AnnealedState | AcceleratedState:
        """The uniform policy."""
        few = problem.aggregates.shape[0] < problem.aggregates.shape[1]
        if self.method == "annealed" or (self.method == "auto" and few):
            return Annealed(self.rate, self.memory).init(problem)
        return Accelerated(self.stiffness, self.cycle).init(problem)

    def step(self, problem: TreeProblem, state: Any) -> Any:
        """One evaluation of the fixed point, or one mirror step."""
        if isinstance(state, AnnealedState):
            return Annealed(self.rate, self.memory).step(problem, state)
        return Accelerated(self.stiffness, self.cycle).step(problem, state)

    def judge(self, problem: TreeProblem, state: Any) -> tuple[Any, Judged]:
        """The least exploitability found."""
        if isinstance(state, AcceleratedState):
            state = Accelerated(self.stiffness, self.cycle).judge(problem, state)
        return state, Judged(state.gain, state.mean_return)

    def table(self, problem: TreeProblem, state: Any) -> Table:
        """The policy of the least exploitability."""
        return respond(problem, state.best) if isinstance(state, AnnealedState) else state.best
