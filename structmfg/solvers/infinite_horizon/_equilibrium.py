"""Equilibria of games that go on for ever, by the iterations of the field and by Newton's method.

One step of each, from a policy pi with its stationary mean field mu (`evaluation.StationaryProblem.settle`):

- `fixed_point`: a best response to the expected mean field, which moves by `damping` towards that of the response.
- `fictitious_play`: the policy of the averaged occupancies of all best responses (Perrin et al. 2020), each to the mean
  field of the average before it.
- `mirror_descent`: softmax of the sum of all action values so far (Perolat et al. 2021).
- `policy_iteration`: the greedy policy, or at a `temperature` Boltzmann's, in the action values of the policy before
  (Cacace, Camilli & Goffi 2021); smoothed where `damping` is below one.
- `newton`: first `responses` undamped best responses, which end at an equilibrium of pure policies where they stand
  still. Then Newton's method along the central path (see `_interior_point`), from the average of what was played so
  far. The policy returned is the best one.

All start from the uniform policy. A certificate alone decides: `converged` says that the exact gain of a best response
is at most the tolerance, and that ||(A^pi)^T mu - mu||_1 is at most `evaluation.RESIDUAL`.
"""

from typing import Any, Literal, NamedTuple, get_args

import equinox as eqx
import numpy as np
from jaxtyping import Float, Int
from typing_extensions import override

from structmfg._checks import check_between, check_integer, check_name, check_positive
from structmfg.evaluation import Certificate, Information, StationaryProblem
from structmfg.solvers._base import StationarySolver
from structmfg.solvers.infinite_horizon._interior_point import follow_central_path

StationaryMethod = Literal["newton", "fixed_point", "fictitious_play", "mirror_descent", "policy_iteration"]

_MAX_DENSE = 2**26  # entries of the derivative of the action values in the mean field
_MAX_NEWTON = 100
_INTERIOR = 0.1  # the share of the uniform policy's occupancy in the start of the central path

Table = Float[np.ndarray, "states actions"]


class StationaryState(NamedTuple):
    """The state of an iteration.

    Attributes:
        policy: The policy reached.
        mean_field: Its stationary mean field.
        expected: The mean field that agents expect.
        memory: What the method keeps: averaged occupancies, or the sum of action values.
        best_policy, best_mean_field, gain, mean_return: The policy to be returned, and its certificate.
        steps: The number of steps made.
    """

    policy: Table
    mean_field: Float[np.ndarray, " states"]
    expected: Float[np.ndarray, " states"]
    memory: Table
    best_policy: Table
    best_mean_field: Float[np.ndarray, " states"]
    gain: Float[np.ndarray, ""]
    mean_return: Float[np.ndarray, ""]
    steps: Int[np.ndarray, ""]


class StationaryMeanFieldEquilibrium(StationarySolver):
    """An equilibrium of a game that goes on for ever.

    Attributes:
        method: "newton", "fixed_point", "fictitious_play", "mirror_descent" or "policy_iteration".
        damping: The weight of the new mean field, of "fixed_point" and "policy_iteration".
        learning_rate: The weight of the sum of action values per unit of reward, of "mirror_descent".
        temperature: Zero for greedy policies, else Boltzmann's, in units of the return, of "policy_iteration".
        responses: The undamped best responses before the first Newton step, of "newton".
        tolerance: The exploitability to reach, in units of the return.
        information: What the policy knows: "full" and "public" are the same here, as nothing is random for all.

    Raises:
        ValueError: Where a number is out of its range, or a name unknown.
    """

    method: StationaryMethod = eqx.field(static=True, default="newton")
    damping: float = 1.0
    learning_rate: float = 0.1
    temperature: float = 0.0
    responses: int = eqx.field(static=True, default=10)
    tolerance: float = 1e-8
    information: Information = eqx.field(static=True, default="full")

    def __check_init__(self) -> None:
        check_name("method", self.method, get_args(StationaryMethod))
        check_between("damping", self.damping, 0, 1, open_low=True)
        check_positive("learning_rate", self.learning_rate)
        check_between("temperature", self.temperature, 0, float("inf"))
        check_integer("responses", self.responses, at_least=0)

    @override
    def init(self, problem: Any) -> StationaryState:
        states, actions = problem.uniform().shape
        if self.method == "newton" and len(problem.game.populations) > 1:
            raise ValueError(
                "method 'newton' is for one population, but the game has "
                f"{len(problem.game.populations)}: take another method, such as mirror_descent"
            )
        if self.method == "newton" and states * actions * states > _MAX_DENSE:
            raise ValueError(
                f"method 'newton' holds (S A, S) numbers, at most {_MAX_DENSE}, but the game has {states} states and "
                f"{actions} actions: take another method, such as mirror_descent"
            )
        policy = problem.uniform()
        mean_field = problem.settle(policy, problem.start)
        memory = np.zeros_like(policy) if self.method == "mirror_descent" else mean_field[:, None] * policy
        nothing = np.asarray(np.inf)
        state = StationaryState(
            policy, mean_field, mean_field, memory, policy, mean_field, nothing, nothing, np.asarray(0)
        )
        return self._judged(problem, state)

    @override
    def step(self, problem: Any, state: StationaryState) -> StationaryState:
        state = getattr(self, f"_{self.method}")(problem, state)
        return self._judged(problem, state._replace(steps=np.asarray(state.steps + 1)))

    def _judged(self, problem: StationaryProblem, state: StationaryState) -> StationaryState:
        """The state with its policy as the one to be returned; of "newton" only if it is better."""
        gain, mean_return, *_ = problem.certify(state.policy, state.mean_field)
        if self.method == "newton" and gain >= state.gain:
            return state
        return state._replace(
            best_policy=state.policy,
            best_mean_field=state.mean_field,
            gain=np.asarray(gain),
            mean_return=np.asarray(mean_return),
        )

    def _respond(self, problem: StationaryProblem, state: StationaryState, policy: Table) -> StationaryState:
        """The state in which a policy is played, and agents expect more of its mean field."""
        mean_field = problem.settle(policy, state.mean_field)
        expected = (1 - self.damping) * state.expected + self.damping * mean_field
        return state._replace(policy=policy, mean_field=mean_field, expected=expected)

    def _fixed_point(self, problem: StationaryProblem, state: StationaryState) -> StationaryState:
        return self._respond(problem, state, problem.respond(state.expected).policy)

    def _policy_iteration(self, problem: StationaryProblem, state: StationaryState) -> StationaryState:
        q = problem.action_values(state.policy, state.expected)
        if self.temperature > 0:
            return self._respond(problem, state, softmax(q / self.temperature))
        return self._respond(problem, state, problem.greedy(q))

    def _mirror_descent(self, problem: StationaryProblem, state: StationaryState) -> StationaryState:
        memory = state.memory + self.learning_rate * problem.action_values(state.policy, state.mean_field)
        memory = memory - memory.max(axis=1, keepdims=True)
        return self._respond(problem, state, softmax(memory))._replace(memory=memory)

    def _fictitious_play(self, problem: StationaryProblem, state: StationaryState) -> StationaryState:
        response = problem.respond(state.mean_field).policy
        played = problem.settle(response, state.mean_field)[:, None] * response
        weight = 1 / (state.steps + 2.0)  # the uniform policy is the first of all
        memory = (1 - weight) * state.memory + weight * played
        policy = conditional(memory, response)
        mean_field = problem.settle(policy, memory.sum(axis=1))
        return state._replace(policy=policy, mean_field=mean_field, memory=memory)

    def _newton(self, problem: StationaryProblem, state: StationaryState) -> StationaryState:
        if state.steps < self.responses:
            state = self._respond(problem, state, problem.respond(state.mean_field).policy)
            weight = 1 / (state.steps + 2.0)
            played = state.mean_field[:, None] * state.policy
            return state._replace(memory=(1 - weight) * state.memory + weight * played)
        uniform = problem.uniform()
        share = min(_INTERIOR * 2.0 ** float(state.steps - self.responses), 1.0)  # other starts after the first
        start = (1 - share) * state.memory + share * uniform / uniform.size * uniform.shape[1]
        occupancy = follow_central_path(problem, start, max_steps=_MAX_NEWTON)
        response = problem.respond(occupancy.sum(axis=1)).policy
        policy = conditional(occupancy, response)
        mean_field = problem.settle(policy, occupancy.sum(axis=1))
        return state._replace(policy=policy, mean_field=mean_field)

    @override
    def certify(self, problem: Any, state: StationaryState) -> tuple[StationaryState, Certificate]:
        gain: Any = state.gain  # of NumPy, so that it stays in double precision
        mean_return: Any = state.mean_return
        return state, Certificate(gain, mean_return)

    @override
    def policy_at(self, problem: Any, state: StationaryState) -> Any:
        return state.best_policy, state.best_mean_field


def softmax(logits: Table) -> Table:
    """The softmax over actions."""
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def conditional(occupancy: Table, elsewhere: Table) -> Table:
    """The policy of occupancies, and another policy in states that nobody is in."""
    mass = occupancy.sum(axis=1, keepdims=True)
    populated = mass > 1e-13
    return np.where(populated, occupancy / np.where(populated, mass, 1), elsewhere)
