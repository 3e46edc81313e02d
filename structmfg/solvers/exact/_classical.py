"""The classical iterations for mean field games, on noise trees: best responses, averages and mirror steps.

Each step is a sweep backward against the mean fields that agents expect, and a sweep forward under the policy that it
gives. With finite common noise everything is done at every node of the tree; without it these are the tabular solvers
of OpenSpiel and MFGLib.

- fixed point: the best response to mean fields that are averaged with damping; Boltzmann's at a temperature
  (Cui & Koeppl 2021, arXiv 2102.01585).
- fictitious play: the best response to the average of all mean fields so far (Perrin et al. 2020, arXiv 2007.03458).
- online mirror descent: softmax of the sum of all action values so far (Perolat et al. 2021, arXiv 2103.00623).
- Munchausen mirror descent: the same with soft values, a step that pays KL divergence from the policy before it
  (Lauriere et al. 2022, arXiv 2203.11973).
- prior descent: soft responses relative to a prior, which now and then becomes the policy reached (Cui & Koeppl 2021).
- policy iteration: the greedy policy in the values of the one before (Cacace, Camilli & Goffi 2021,
  doi:10.1051/cocv/2021081); Boltzmann's at a temperature.
"""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from structmfg._checks import check_between, check_integer, check_positive
from structmfg.evaluation import Flow, Information, Table, TreeProblem, greedy, soft
from structmfg.solvers._tree_solver import Judged, TreeSolver
from structmfg.solvers.exact._accelerated import LEAST_PROBABILITY, conditional


class Iterate(NamedTuple):
    """`policy` and the mean fields under it; the mean fields that agents `expect`; `memory` (D, S, A), the solver's."""

    policy: Table
    flow: Flow
    expect: Flow
    memory: Table
    steps: Int[Array, ""]


class Classical(TreeSolver):
    """One of the iterations. It starts from the uniform policy."""

    def init(self, problem: TreeProblem) -> Iterate:
        """The uniform policy."""
        policy = problem.uniform()
        flow = problem.push(policy)
        return Iterate(policy, flow, flow, self.remember(problem, flow, policy), jnp.zeros((), int))

    def remember(self, problem: TreeProblem, flow: Flow, policy: Table) -> Table:
        """The memory at the start."""
        return policy

    @abc.abstractmethod
    def respond(self, state: Iterate, page: tuple[Table, Table], q: Array) -> tuple[Array, Array]:
        """The policy (B, S, A) in action values (B, S, A), and what it is worth (B, S); `page`: policy and memory."""

    def average(self, problem: TreeProblem, state: Iterate, response: Table) -> Iterate:
        """What follows from a response: by default it is the policy, and its mean fields are what agents expect."""
        flow = problem.push(response)
        return state._replace(policy=response, flow=flow, expect=flow)

    def step(self, problem: TreeProblem, state: Iterate) -> Iterate:
        """A response, and what follows from it."""

        def choose(page: Any, q: Array) -> tuple[Array, Array, Array]:
            policy, worth = self.respond(state, page, q)
            return policy, worth, policy

        _, response = problem.backward(state.expect, choose, (state.policy, state.memory))
        return self.average(problem, state, response)._replace(steps=state.steps + 1)

    def judge(self, problem: TreeProblem, state: Iterate) -> tuple[Iterate, Judged]:
        """The certificate of the policy."""
        policy, flow = problem.settled(state.policy, state.flow)
        return state, Judged.of(problem.certify(flow, policy))

    def table(self, problem: TreeProblem, state: Iterate) -> Table:
        """The policy reached."""
        return state.policy


def _best(q: Array, temperature: float) -> tuple[Array, Array]:
    """The greedy policy, or softmax(q / temperature) in optimal action values; both worth the maximum."""
    best = jnp.max(q, axis=-1)
    return (greedy(q) if temperature == 0 else jax.nn.softmax(q / temperature)), best


class FixedPoint(Classical):
    """`damping`: the weight of the new mean fields; `temperature`: zero for best responses, else Boltzmann's."""

    damping: float = 1.0
    temperature: float = eqx.field(static=True, default=0.0)
    tolerance: float = 0.0
    information: Information = eqx.field(static=True, default="full")

    def __check_init__(self) -> None:
        check_between("damping", self.damping, 0, 1, open_low=True)
        check_between("temperature", self.temperature, 0, float("inf"))

    def respond(self, state: Iterate, page: tuple[Table, Table], q: Array) -> tuple[Array, Array]:
        """The best response."""
        return _best(q, self.temperature)

    def average(self, problem: TreeProblem, state: Iterate, response: Table) -> Iterate:
        """The damped mean fields."""
        flow = problem.push(response)
        expect = (1 - self.damping) * state.expect + self.damping * flow
        return state._replace(policy=response, flow=flow, expect=expect)


class FictitiousPlay(Classical):
    """The policy is that of the averaged occupancies.

    Its mean fields are the averages, unless moves depend on the mean field.
    """

    tolerance: float = 0.0
    information: Information = eqx.field(static=True, default="full")

    def remember(self, problem: TreeProblem, flow: Flow, policy: Table) -> Table:
        """Occupancies."""
        return problem.occupancy(flow, policy)

    def respond(self, state: Iterate, page: tuple[Table, Table], q: Array) -> tuple[Array, Array]:
        """The best response."""
        return _best(q, 0.0)

    def average(self, problem: TreeProblem, state: Iterate, response: Table) -> Iterate:
        """The k-th response has weight 1 / (k + 1); the uniform policy is the first of all."""
        weight = 1 / (state.steps + 2.0)
        played = problem.occupancy(problem.push(response), response)
        occupancy = (1 - weight) * state.memory + weight * played
        return super().average(problem, state, conditional(occupancy))._replace(memory=occupancy)


class _MirrorStep(Classical):
    """A step from the policy before, at a learning rate per unit of reward."""

    learning_rate: eqx.AbstractVar[float]

    def __check_init__(self) -> None:
        check_positive("learning_rate", self.learning_rate)

    def relative(self, policy: Table, q: Array) -> tuple[Array, Array]:
        """The soft response relative to the policy."""
        return soft(q, jnp.asarray(1 / self.learning_rate)[None], jnp.maximum(policy, LEAST_PROBABILITY))


class OnlineMirrorDescent(_MirrorStep):
    """`learning_rate`: of the sum of action values, per unit of reward."""

    learning_rate: float = 0.1
    tolerance: float = 0.0
    information: Information = eqx.field(static=True, default="full")

    def respond(self, state: Iterate, page: tuple[Table, Table], q: Array) -> tuple[Array, Array]:
        """A mirror step in the policy's own action values."""
        return self.relative(page[0], q)[0], jnp.sum(page[0] * q, axis=-1)


class MunchausenMirrorDescent(_MirrorStep):
    """`learning_rate`: the inverse of the weight of the KL divergence from the policy before."""

    learning_rate: float = 0.1
    tolerance: float = 0.0
    information: Information = eqx.field(static=True, default="full")

    def respond(self, state: Iterate, page: tuple[Table, Table], q: Array) -> tuple[Array, Array]:
        """A mirror step in soft action values."""
        return self.relative(page[0], q)


class PriorDescent(Classical):
    """`temperature`: of soft responses relative to the prior, which becomes the policy after every `inner` steps."""

    temperature: float = 1.0
    inner: int = 10
    tolerance: float = 0.0
    information: Information = eqx.field(static=True, default="full")

    def __check_init__(self) -> None:
        check_positive("temperature", self.temperature)
        check_integer("inner", self.inner, at_least=1)

    def respond(self, state: Iterate, page: tuple[Table, Table], q: Array) -> tuple[Array, Array]:
        """The soft response relative to the prior."""
        return soft(q, jnp.asarray(self.temperature)[None], jnp.maximum(page[1], LEAST_PROBABILITY))

    def average(self, problem: TreeProblem, state: Iterate, response: Table) -> Iterate:
        """A new prior after every `inner` steps."""
        state = super().average(problem, state, response)
        renew = (state.steps + 1) % self.inner == 0
        return state._replace(memory=jnp.where(renew, response, state.memory))


class PolicyIteration(Classical):
    """`temperature`: zero for greedy policies, else Boltzmann's."""

    temperature: float = eqx.field(static=True, default=0.0)
    tolerance: float = 0.0
    information: Information = eqx.field(static=True, default="full")

    def __check_init__(self) -> None:
        check_between("temperature", self.temperature, 0, float("inf"))

    def respond(self, state: Iterate, page: tuple[Table, Table], q: Array) -> tuple[Array, Array]:
        """Greedy in the values of the policy."""
        return _best(q, self.temperature)[0], jnp.sum(page[0] * q, axis=-1)
