"""Certified equilibria on noise trees, and the floor of clairvoyant exploitability.

Two methods are chosen by how agents interact: where the game declares few aggregates, the annealed soft fixed point in
these (`_annealed`); where the whole mean field enters, accelerated mirror descent (`_accelerated`). A third method is
for small games that need not be monotone: Newton's method along the curve of soft equilibria (`_continuation`). Where
the soft fixed point fails again and again, mirror descent makes steps as well, and where mirror descent does, Newton's
method (`_alternating`).
Whichever is taken, a certificate alone decides: the exploitability by an exact best response on the tree. `converged`
means that it is at most the tolerance. Where public information has no exact best response, the result is at most
`uncertified`. Whatever happens, the policy returned is that of the least certificate computed.
"""

import dataclasses
from typing import Any, Literal, NamedTuple, get_args

import equinox as eqx
from typing_extensions import override

from structmfg._checks import check_between, check_integer, check_name, check_positive
from structmfg._results import RESULTS
from structmfg.evaluation import Certificate, Information, Table, TreeProblem, exploitability
from structmfg.games import MAX_SCENARIOS, Game
from structmfg.solvers._base import TreeSolver
from structmfg.solvers.exact._accelerated import STEPS_PER_CERTIFICATE, Accelerated, AcceleratedState
from structmfg.solvers.exact._alternating import Alternating, AlternatingState, needs_both
from structmfg.solvers.exact._annealed import Annealed
from structmfg.solvers.exact._continuation import Continuation, suits_newton
from structmfg.solvers.loop import solve

# Probabilities of the policy. Mirror descent holds three of its tables, which every compiled call copies.
_MOST_OF_BOTH = 2**16

Method = Literal["auto", "annealed", "mirror", "newton"]


class ExactEquilibrium(TreeSolver):
    """An equilibrium by the annealed soft fixed point, by accelerated mirror descent or by Newton's method.

    Attributes:
        tolerance: The exploitability to reach, in units of the return.
        information: "full" for a policy that knows the noise so far, "public" for one that knows the observations.
        method: "auto" takes "annealed" where the game declares fewer aggregates than states, else "mirror". "newton"
            follows the curve of soft equilibria of a small game, which need not be monotone. Where "annealed" fails
            again and again, "auto" takes "mirror" as well, for policies of up to 2^16 probabilities (nodes * states *
            actions). Where "mirror" fails, it takes "newton" as well, for policies of up to 512 probabilities and 1024
            unknowns (nodes * aggregates).
        rate: The factor by which the temperature of "annealed" falls.
        memory: The number of residuals that Anderson's method combines in "annealed".
        stiffness: The stiffness of the steps of "mirror", in units of the reward; None for an estimate.
        cycle: The steps to the first restart of "mirror".

    Raises:
        ValueError: Where a number is out of its range, or a name unknown.
    """

    tolerance: float = 1e-6
    information: Information = eqx.field(static=True, default="full")
    method: Method = eqx.field(static=True, default="auto")
    rate: float = 0.5
    memory: int = eqx.field(static=True, default=8)
    stiffness: float | None = None
    cycle: int = 60

    def __check_init__(self) -> None:
        check_name("method", self.method, get_args(Method))
        check_between("rate", self.rate, 0.01, 0.99)
        check_integer("memory", self.memory, at_least=2)
        _check_mirror(self.stiffness, self.cycle)

    def _iteration(self, problem: TreeProblem) -> Annealed | Accelerated | Alternating | Continuation:
        annealed, mirror = Annealed(self.rate, self.memory), Accelerated(self.stiffness, self.cycle)
        if self.method == "newton":
            return Continuation()
        if self._begins_with_mirror(problem):
            return Alternating(mirror, Continuation()) if self.method == "auto" and suits_newton(problem) else mirror
        probabilities = problem.tree.num_decisions * problem.game.num_states * problem.game.num_actions
        return Alternating(annealed, mirror) if self.method == "auto" and probabilities <= _MOST_OF_BOTH else annealed

    def _begins_with_mirror(self, problem: TreeProblem) -> bool:
        return self.method == "mirror" or (self.method == "auto" and not problem.few_aggregates)

    @override
    def adapted(self, problem: TreeProblem, state: Any) -> TreeSolver:
        wanted = _OfBoth if isinstance(state, AlternatingState) and needs_both(state) else ExactEquilibrium
        if type(self) not in (ExactEquilibrium, _OfBoth) or type(self) is wanted:  # a user's class stays as it is
            return self
        return wanted(**{field.name: getattr(self, field.name) for field in dataclasses.fields(self)})

    @override
    def steps_per_certificate(self, problem: TreeProblem) -> int:
        return STEPS_PER_CERTIFICATE if self._begins_with_mirror(problem) else 1

    @override
    def init(self, problem: TreeProblem) -> Any:
        return self._iteration(problem).init(problem)

    @override
    def step(self, problem: TreeProblem, state: Any) -> Any:
        return self._iteration(problem).step(problem, state)

    @override
    def certify(self, problem: TreeProblem, state: Any) -> tuple[Any, Certificate]:
        return self._iteration(problem).certify(problem, state)

    @override
    def policy_at(self, problem: TreeProblem, state: Any) -> Table:
        return self._iteration(problem).policy_at(problem, state)


class _OfBoth(ExactEquilibrium):
    """The same solver where both methods make steps."""

    @override
    def _iteration(self, problem: TreeProblem) -> Annealed | Accelerated | Alternating | Continuation:
        chosen = super()._iteration(problem)
        return dataclasses.replace(chosen, both=True) if isinstance(chosen, Alternating) else chosen


class AcceleratedMirrorDescent(TreeSolver):
    """Mirror descent with Nesterov's averages of occupancies, restarted after cycles that get longer.

    It is `ExactEquilibrium(method="mirror")` as an iteration of its own, beside `OnlineMirrorDescent`. A certificate
    follows after every 20 steps, and the policy is that of the least.

    Attributes:
        stiffness: In units of the reward, the inverse of a learning rate; None for an estimate. It grows after a cycle
            that left more than nine tenths of the least one at a restart so far.
        cycle: The steps to the first restart.
        tolerance, information: See `TreeSolver`.

    Raises:
        ValueError: Where a number is out of its range, or a name unknown.
    """

    stiffness: float | None = None
    cycle: int = 60
    tolerance: float = 0.0
    information: Information = eqx.field(static=True, default="full")

    def __check_init__(self) -> None:
        _check_mirror(self.stiffness, self.cycle)

    def _iteration(self) -> Accelerated:
        return Accelerated(self.stiffness, self.cycle)

    @override
    def steps_per_certificate(self, problem: TreeProblem) -> int:
        return STEPS_PER_CERTIFICATE

    @override
    def init(self, problem: TreeProblem) -> AcceleratedState:
        return self._iteration().init(problem)

    @override
    def step(self, problem: TreeProblem, state: AcceleratedState) -> AcceleratedState:
        return self._iteration().step(problem, state)

    @override
    def certify(self, problem: TreeProblem, state: AcceleratedState) -> tuple[AcceleratedState, Certificate]:
        return self._iteration().certify(problem, state)

    @override
    def policy_at(self, problem: TreeProblem, state: AcceleratedState) -> Table:
        return self._iteration().policy_at(problem, state)


def _check_mirror(stiffness: float | None, cycle: int) -> None:
    check_integer("cycle", cycle, at_least=2)
    if stiffness is not None:
        check_positive("stiffness", stiffness)


class Floor(NamedTuple):
    """The clairvoyant exploitability of an exact equilibrium.

    Attributes:
        value: The clairvoyant exploitability, in units of the return.
        gap: The certificate of the equilibrium: its exploitability by the information that it has.
        result: How the solve ended; the floor is to be trusted where this is `converged`.
    """

    value: float
    gap: float
    result: RESULTS


def floor(
    game: Game,
    *,
    information: Information = "full",
    tolerance: float = 1e-4,
    max_steps: int = 2000,
    max_seconds: float | None = None,
) -> Floor:
    """The clairvoyant exploitability at the exact equilibrium: what foresight alone is worth.

    That is the worth of knowing the future noise, and under "public" information of knowing the noise at all.

    Args:
        game: A game with finitely many noise paths.
        information: What the equilibrium's policy knows, see `ExactEquilibrium`.
        tolerance: The exploitability of the equilibrium to reach, in units of the return.
        max_steps: The most steps to the equilibrium.
        max_seconds: A limit on the time of the solve; None for none.

    Returns:
        The floor, with the certificate of the equilibrium.

    Raises:
        ValueError: Where the game's noise paths are not finite, or too many, or a number is out of its range.
    """
    if game.scenarios() is None:
        raise ValueError(
            "the floor is a mean over all noise paths, but this game's noise is continuous, or has more than "
            f"{MAX_SCENARIOS} paths: discretise it, with a short horizon"
        )
    solver = ExactEquilibrium(tolerance=tolerance, information=information)
    solution = solve(game, solver, max_steps=max_steps, max_seconds=max_seconds, throw=False)
    value = exploitability(game, solution.policy, kind="clairvoyant").value
    return Floor(value, solution.stats["exploitability"], solution.result)
