"""What every solver is: the protocol that `solve` drives, and what it returns."""

import abc
import sys
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from structmfg._checks import check_between, check_name, plain_fields
from structmfg._results import RESULTS
from structmfg.evaluation import Certificate, Information, Table, TreeProblem
from structmfg.games import Game, check_stationary
from structmfg.policies import NetworkPolicy, ParametricPolicy, Policy

INFORMATION: tuple[Information, ...] = ("full", "public")


class Metrics(NamedTuple):
    """What a step of training reports.

    Attributes:
        mean_return: The mean return over the paths of the step, under the policy before it.
        gradient_norm: The norm of the gradient.
    """

    mean_return: Float[Array, "..."]
    gradient_norm: Float[Array, "..."]


class Checkpoint(NamedTuple):
    """An exploitability (`value`, `stderr`) that was measured during a solve, outside its clock."""

    step: int
    train_seconds: float
    value: float
    stderr: float


class Solution(NamedTuple):
    """What `solve` returns.

    Attributes:
        policy: The policy reached.
        result: How the solve ended.
        stats: Numbers by name, see `solve`.
    """

    policy: Policy
    result: RESULTS
    stats: dict[str, Any]


class Solver(eqx.Module):
    """An iteration that `solve` drives; its fields are hyper-parameters, and all that changes is in its state.

    A solver of your own is a subclass of one of the two kinds, which are given different problems:

    | | `TrainingSolver` | `TreeSolver` |
    |---|---|---|
    | the problem | a `Game`, which is sampled with random keys | a `TreeProblem`, all nodes of the noise |
    | precision | JAX's default | double |
    | before the first step | `init(game, key)` | `init(problem)` |
    | one step | `step(game, state, max_steps)`: state, `Metrics` | `step(problem, state)`: state |
    | what is known of the policy | (`solve(evaluate=...)`) | `certify(problem, state)`: state, `Certificate` |
    | the policy | `policy_at(game, state)`: a `Policy` | `policy_at(problem, state)`: a table (D, S, A) |

    The state is any pytree of arrays (real numbers, booleans, random keys) whose shapes stay the same. All of these
    methods are compiled, except the `init` of a training. `solve` keeps the clock, stops for one of the `RESULTS`,
    steps back where numbers are not finite, and writes snapshots. `examples/own_solver.py` in the repository has one
    solver of either kind.
    """

    def __post_init__(self) -> None:
        plain_fields(self)


class TrainingSolver(Solver):
    """A solver that trains the parameters of a policy on sampled noise. See `Solver` for how to write one.

    If it has a field `until_excess`, a number, `solve` stops where the measured excess is at most that
    (`evaluation.measured_excess`).

    Attributes:
        policy: The network, bound to the game, or the table that is trained.
        rates: The names of those fields that are learning rates, which `solve` makes smaller where numbers are not
            finite.
        recurrent: Whether it trains recurrent or memoryless networks; None for both.
        trains: The kind of policy.
        also_trains: Other kinds of policy that it trains when it is given one.
        on_mesh: Whether its steps share noise paths among the devices of a mesh (`parallel.sum_over_paths`).
    """

    policy: eqx.AbstractVar[ParametricPolicy]
    rates: ClassVar[tuple[str, ...]] = ("learning_rate",)
    recurrent: ClassVar[bool | None] = None
    trains: ClassVar[type[ParametricPolicy]] = NetworkPolicy
    also_trains: ClassVar[tuple[type[ParametricPolicy], ...]] = ()
    on_mesh: ClassVar[bool] = False

    def __check_init__(self) -> None:
        name, policy = type(self).__name__, self.policy
        builder = {True: "recurrent", False: "memoryless", None: "recurrent"}[self.recurrent]
        wanted = builder if issubclass(self.trains, NetworkPolicy) else "binned"
        use = f"use policies.{wanted}(game)"
        if not isinstance(policy, (self.trains, *self.also_trains)):
            given = type(policy).__name__
            raise ValueError(f"{name} trains a {self.trains.kind_name}: {use}, but was given a {given}")
        if self.recurrent is not None and policy.settings.recurrent != self.recurrent:
            given = "recurrent" if policy.settings.recurrent else "memoryless"
            raise ValueError(f"{name} trains a {wanted} policy, but was given a {given} one; {use}")

    def scale_learning_rates(self, factor: Float[Array, ""]) -> "TrainingSolver":
        """The same solver with its learning rates times a factor."""
        rates = [getattr(self, name) for name in self.rates]
        return eqx.tree_at(lambda s: [getattr(s, name) for name in s.rates], self, [factor * rate for rate in rates])

    @abc.abstractmethod
    def init(self, game: Game, key: PRNGKeyArray) -> Any:
        """The state before the first step, which depends on the key alone."""

    @abc.abstractmethod
    def step(self, game: Game, state: Any, max_steps: int) -> tuple[Any, Metrics]:
        """The state after one of `max_steps` planned steps, and what was measured of the state before it."""

    @abc.abstractmethod
    def policy_at(self, game: Game, state: Any) -> ParametricPolicy:
        """The policy with the parameters of a state."""


class TreeSolver(Solver):
    """An exact solver on a noise tree, without sampling. See `Solver` for how to write one.

    Attributes:
        tolerance: Exploitability at which it stops, in units of the return; of several populations, what an agent of
            each may gain. It is `converged` where that exploitability is exact; zero to make all steps.
        information: What the policy knows: all noise so far, or observations. "full" or "public".
    """

    tolerance: eqx.AbstractVar[float]
    information: eqx.AbstractVar[Information]

    def __check_init__(self) -> None:
        check_between("tolerance", self.tolerance, 0, sys.float_info.max)
        check_name("information", self.information, INFORMATION)

    def check_suits(self, game: Game) -> None:
        """Raise `ValueError` where this solver is not for such games. By default it is for all with a noise tree."""

    def steps_per_certificate(self, problem: TreeProblem) -> int:
        """How many steps are made before a certificate is computed."""
        return 1

    def adapted(self, problem: TreeProblem, state: Any) -> "TreeSolver":
        """The solver that goes on from a state, which is asked for after every certificate; by default this one.

        Another one has the same kind of state. It depends on the state alone, so that a solve that was interrupted goes
        on to the same numbers.
        """
        return self

    @abc.abstractmethod
    def init(self, problem: TreeProblem) -> Any:
        """The state before the first step."""

    @abc.abstractmethod
    def step(self, problem: TreeProblem, state: Any) -> Any:
        """The state after one step."""

    @abc.abstractmethod
    def certify(self, problem: TreeProblem, state: Any) -> tuple[Any, Certificate]:
        """The state, which a certificate may change, and the certificate of the policy at it."""

    @abc.abstractmethod
    def policy_at(self, problem: TreeProblem, state: Any) -> Table:
        """The probabilities (D, S, A) of the policy to be returned."""


class StationarySolver(TreeSolver):
    """A solver of games that go on for ever. Its problem is an `evaluation.StationaryProblem`, on the host.

    Its methods are not compiled, and its states hold arrays of NumPy in double precision. `policy_at` returns the table
    (S, A) and the mean field (S,).
    """

    def steps_per_certificate(self, problem: Any) -> int:
        return 1

    def adapted(self, problem: Any, state: Any) -> TreeSolver:
        return self

    @abc.abstractmethod
    def init(self, problem: Any) -> Any: ...

    @abc.abstractmethod
    def step(self, problem: Any, state: Any) -> Any: ...

    @abc.abstractmethod
    def certify(self, problem: Any, state: Any) -> tuple[Any, Certificate]: ...

    @abc.abstractmethod
    def policy_at(self, problem: Any, state: Any) -> Any: ...


def check_horizon(game: Game, name: str, kind: type[Solver]) -> None:
    """Raise `ValueError` unless solvers of this class, which has this name, are for the horizon of the game."""
    if issubclass(kind, StationarySolver):
        check_stationary(game)
    elif game.horizon is None:
        raise ValueError(
            f"{name} needs a finite horizon, but the game's horizon is None (infinite): take the solver stationary "
            "(StationaryMeanFieldEquilibrium)"
        )


AnySolver = TrainingSolver | TreeSolver
