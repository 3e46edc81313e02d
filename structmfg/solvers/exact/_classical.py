"""The classical iterations for mean field games, on noise trees: best responses, averages and mirror steps.

Each step is a sweep backward against the mean fields that agents expect, and a sweep forward under the policy that it
gives. With finite common noise everything is done at every node of the tree; without it these are the tabular solvers
of OpenSpiel and MFGLib.

- fixed point: the best response to mean fields that are averaged with damping; Boltzmann's at a temperature
  (Cui & Koeppl 2021, arXiv 2102.01585).
- fictitious play: the best response to the average of all mean fields so far (Perrin et al. 2020, arXiv 2007.03458),
  or to one in which older ones fade.
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
from jaxtyping import Array, Float, Int
from typing_extensions import override

from structmfg._checks import check_between, check_integer, check_positive
from structmfg.evaluation import Certificate, Flow, Information, Table, TreeProblem, greedy, soft
from structmfg.solvers._base import TreeSolver
from structmfg.solvers.exact._accelerated import LEAST_PROBABILITY, conditional

_FASTER, _SLOWER = 1.2, 0.5  # factors of an adaptive learning rate


class Iterate(NamedTuple):
    """The state of a classical iteration.

    Attributes:
        policy, flow: The policy, and the mean fields under it.
        expect: The mean fields that agents expect.
        memory: What the solver keeps besides.
        steps: The number of steps made.
        pace: The factor of the learning rate where that is adaptive, else one.
        gain: The exploitability that was certified last where the learning rate is adaptive, else infinite.
    """

    policy: Table
    flow: Flow
    expect: Flow
    memory: Table
    steps: Int[Array, ""]
    pace: Float[Array, ""]
    gain: Float[Array, ""]


class Classical(TreeSolver):
    """A classical iteration. It starts from the uniform policy."""

    @override
    def init(self, problem: TreeProblem) -> Iterate:
        policy, flow = problem.play(problem.uniform())
        memory, start = self.remember(problem, flow, policy), jnp.zeros((), int)
        return Iterate(policy, flow, flow, memory, start, jnp.ones(()), jnp.asarray(jnp.inf))

    def remember(self, problem: TreeProblem, flow: Flow, policy: Table) -> Table:
        """The memory at the start."""
        return policy

    @abc.abstractmethod
    def respond(self, state: Iterate, before: tuple[Table, Table], q: Array) -> tuple[Array, Array]:
        """The policy (B, S, A) for action values q (B, S, A), and its value (B, S).

        `before`: the policy and the memory of the state at the same nodes.
        """

    def average(self, problem: TreeProblem, state: Iterate, response: Table) -> Iterate:
        """The state after a response: by default it is the policy, and its mean fields are what agents expect."""
        policy, flow = problem.play(response)
        return state._replace(policy=policy, flow=flow, expect=flow)

    @override
    def step(self, problem: TreeProblem, state: Iterate) -> Iterate:
        def choose(before: Any, q: Array) -> tuple[Array, Array, Array]:
            policy, value = self.respond(state, before, q)
            return policy, value, policy

        _, response = problem.backward(state.expect, choose, (state.policy, state.memory))
        return self.average(problem, state, response)._replace(steps=state.steps + 1)

    @override
    def certify(self, problem: TreeProblem, state: Iterate) -> tuple[Iterate, Certificate]:
        policy, flow = problem.settled(state.policy, state.flow)
        return state, problem.certify(flow, policy)

    @override
    def policy_at(self, problem: TreeProblem, state: Iterate) -> Table:
        return state.policy


def _best(q: Array, temperature: float) -> tuple[Array, Array]:
    """The greedy policy, or softmax(q / temperature), and the maximum of the optimal action values."""
    best = jnp.max(q, axis=-1)
    return (greedy(q) if temperature == 0 else jax.nn.softmax(q / temperature)), best


class FixedPoint(Classical):
    """Best responses to damped mean fields (Cui & Koeppl 2021).

    Attributes:
        damping: The weight of the new mean fields.
        temperature: Zero for best responses, else Boltzmann's, in units of the return.
        tolerance, information: See `TreeSolver`.
    """

    damping: float = 1.0
    temperature: float = eqx.field(static=True, default=0.0)
    tolerance: float = 0.0
    information: Information = eqx.field(static=True, default="full")

    def __check_init__(self) -> None:
        check_between("damping", self.damping, 0, 1, open_low=True)
        check_between("temperature", self.temperature, 0, float("inf"))

    @override
    def respond(self, state: Iterate, before: tuple[Table, Table], q: Array) -> tuple[Array, Array]:
        return _best(q, self.temperature)

    @override
    def average(self, problem: TreeProblem, state: Iterate, response: Table) -> Iterate:
        response, flow = problem.play(response)
        expect = (1 - self.damping) * state.expect + self.damping * flow
        return state._replace(policy=response, flow=flow, expect=expect)


class FictitiousPlay(Classical):
    """Best responses to the average of all mean fields so far (Perrin et al. 2020).

    The policy is that of the averaged occupancies. Its mean fields are the averages, unless moves depend on the mean
    field.

    Attributes:
        weight: The weight of the newest response in the average; None for the same weight of all so far. With a fixed
            weight, older responses fade: it does not settle where an equilibrium mixes actions, but where one does not
            it may end there quickly, also in games that are not monotone.
        tolerance, information: See `TreeSolver`.
    """

    weight: float | None = None
    tolerance: float = 0.0
    information: Information = eqx.field(static=True, default="full")

    def __check_init__(self) -> None:
        if self.weight is not None:
            check_between("weight", self.weight, 0, 1, open_low=True)

    @override
    def remember(self, problem: TreeProblem, flow: Flow, policy: Table) -> Table:
        return problem.occupancy(flow, policy)

    @override
    def respond(self, state: Iterate, before: tuple[Table, Table], q: Array) -> tuple[Array, Array]:
        return _best(q, 0.0)

    @override
    def average(self, problem: TreeProblem, state: Iterate, response: Table) -> Iterate:
        # Where all count alike, the k-th response has 1 / (k + 1): the uniform policy is the first of all.
        weight = 1 / (state.steps + 2.0) if self.weight is None else self.weight
        response, flow = problem.play(response)
        played = problem.occupancy(flow, response)
        occupancy = (1 - weight) * state.memory + weight * played
        return super().average(problem, state, conditional(occupancy))._replace(memory=occupancy)


class _MirrorStep(Classical):
    """A step from the policy before it."""

    learning_rate: eqx.AbstractVar[float]

    def __check_init__(self) -> None:
        check_positive("learning_rate", self.learning_rate)

    def relative(self, policy: Table, q: Array, pace: Array | float = 1.0) -> tuple[Array, Array]:
        """The soft response relative to the policy, at so many times the learning rate."""
        temperature = jnp.asarray(1 / (pace * self.learning_rate))
        return soft(q, temperature[None], jnp.maximum(policy, LEAST_PROBABILITY))


class OnlineMirrorDescent(_MirrorStep):
    """Softmax of the sum of all action values so far (Perolat et al. 2021).

    Attributes:
        learning_rate: The weight of the sum, per unit of reward.
        adaptive: Whether the learning rate changes: a fifth more after a step that lowered the exploitability, half of
            it after one that did not. Then `learning_rate` is that of the first step, and the least: in games where
            steps go round an equilibrium, the rate would otherwise vanish on the way.
        tolerance, information: See `TreeSolver`.
    """

    learning_rate: float = 0.1
    adaptive: bool = eqx.field(static=True, default=False)
    tolerance: float = 0.0
    information: Information = eqx.field(static=True, default="full")

    @override
    def respond(self, state: Iterate, before: tuple[Table, Table], q: Array) -> tuple[Array, Array]:
        return self.relative(before[0], q, state.pace)[0], jnp.sum(before[0] * q, axis=-1)

    @override
    def certify(self, problem: TreeProblem, state: Iterate) -> tuple[Iterate, Certificate]:
        state, certificate = super().certify(problem, state)
        if self.adaptive:
            gain = jnp.sum(certificate.gain)
            pace = jnp.where(gain < state.gain, _FASTER * state.pace, jnp.maximum(_SLOWER * state.pace, 1))
            state = state._replace(pace=pace, gain=gain)
        return state, certificate


class MunchausenMirrorDescent(_MirrorStep):
    """Mirror steps in soft action values (Lauriere et al. 2022).

    Attributes:
        learning_rate: The inverse of the weight of the KL divergence from the policy before, per unit of reward.
        tolerance, information: See `TreeSolver`.
    """

    learning_rate: float = 0.1
    tolerance: float = 0.0
    information: Information = eqx.field(static=True, default="full")

    @override
    def respond(self, state: Iterate, before: tuple[Table, Table], q: Array) -> tuple[Array, Array]:
        return self.relative(before[0], q)


class PriorDescent(Classical):
    """Soft responses relative to a prior (Cui & Koeppl 2021).

    Attributes:
        temperature: The temperature of the soft responses, in units of the return.
        inner: Steps after which the policy reached becomes the prior.
        tolerance, information: See `TreeSolver`.
    """

    temperature: float = 1.0
    inner: int = 10
    tolerance: float = 0.0
    information: Information = eqx.field(static=True, default="full")

    def __check_init__(self) -> None:
        check_positive("temperature", self.temperature)
        check_integer("inner", self.inner, at_least=1)

    @override
    def respond(self, state: Iterate, before: tuple[Table, Table], q: Array) -> tuple[Array, Array]:
        return soft(q, jnp.asarray(self.temperature)[None], jnp.maximum(before[1], LEAST_PROBABILITY))

    @override
    def average(self, problem: TreeProblem, state: Iterate, response: Table) -> Iterate:
        state = super().average(problem, state, response)
        renew = (state.steps + 1) % self.inner == 0
        return state._replace(memory=jnp.where(renew, response, state.memory))


class PolicyIteration(Classical):
    """Greedy policies in the values of the policy before (Cacace, Camilli & Goffi 2021).

    Attributes:
        temperature: Zero for greedy policies, else Boltzmann's, in units of the return.
        tolerance, information: See `TreeSolver`.
    """

    temperature: float = eqx.field(static=True, default=0.0)
    tolerance: float = 0.0
    information: Information = eqx.field(static=True, default="full")

    def __check_init__(self) -> None:
        check_between("temperature", self.temperature, 0, float("inf"))

    @override
    def respond(self, state: Iterate, before: tuple[Table, Table], q: Array) -> tuple[Array, Array]:
        return _best(q, self.temperature)[0], jnp.sum(before[0] * q, axis=-1)
