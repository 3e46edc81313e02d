"""A method, and another one that makes steps as well where the first one fails again and again.

In games that are not monotone the path of soft fixed points may end, and mirror descent may go round in circles. So
where the first method has failed eight times, the second one makes some steps after each further failure, from where
it ended before. The result is the policy of the least exploitability of both. The programs of the second method are
compiled when they are needed, which is seldom.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from structmfg.evaluation import Certificate, Table, TreeProblem
from structmfg.solvers.exact._accelerated import STEPS_PER_CERTIFICATE, Accelerated, AcceleratedState
from structmfg.solvers.exact._annealed import AnnealedState
from structmfg.solvers.exact._continuation import CurveState

_PATIENCE = 8  # failures of the first method before those after which the second one makes steps
_ROUNDING = 1e-12  # relative to the return: an exploitability that is no failure
_CERTIFICATES = 2  # of the second method, after each failure of the first


class AlternatingState(NamedTuple):
    """The states of both methods; the exploitability of the second is infinite until it begins.

    Attributes:
        first, second: The states.
        answered: The failures of the first method up to the latest certificate.
    """

    first: AnnealedState | AcceleratedState
    second: AcceleratedState | CurveState
    answered: Int[Array, ""]


class Alternating(eqx.Module):
    """Both methods, with their settings.

    Attributes:
        first, second: The methods.
        both: Whether the second one makes steps, see `needs_both`.
    """

    first: Any  # Annealed or Accelerated, with states of their own kind
    second: Any  # Accelerated or Continuation
    both: bool = eqx.field(static=True, default=False)

    def init(self, problem: TreeProblem) -> AlternatingState:
        """The state of the uniform policy."""
        first = self.first.init(problem)
        return AlternatingState(first, self.second.empty(problem, first.damped), jnp.zeros((), int))

    def step(self, problem: TreeProblem, state: AlternatingState) -> AlternatingState:
        """The state after a step of the first method."""
        return state._replace(first=self.first.step(problem, state.first))

    def certify(self, problem: TreeProblem, state: AlternatingState) -> tuple[AlternatingState, Certificate]:
        """The least exploitability; where the first method has failed since the last time, the second makes steps."""
        (first, _), second = self.first.certify(problem, state.first), state.second
        if self.both:
            failed = first.failures > state.answered
            second = jax.lax.cond(failed, self._go_on, lambda _, second: second, problem, second)
        better = second.gain < first.gain
        gain = jnp.where(better, second.gain, first.gain)
        mean_return = jnp.where(better, second.mean_return, first.mean_return)
        return AlternatingState(first, second, first.failures), Certificate(gain[None], mean_return[None])

    def _go_on(self, problem: TreeProblem, second: Any) -> Any:
        """The state of the second method after some steps."""
        second = jax.lax.cond(jnp.isinf(second.gain), self.second.init, lambda _: second, problem)
        count = STEPS_PER_CERTIFICATE if isinstance(self.second, Accelerated) else 1

        def until_certified(_: int, second: Any) -> Any:
            second = jax.lax.fori_loop(0, count, lambda _, second: self.second.step(problem, second), second)
            return self.second.certify(problem, second)[0]

        return jax.lax.fori_loop(0, _CERTIFICATES, until_certified, second)

    def policy_at(self, problem: TreeProblem, state: AlternatingState) -> Table:
        """The policy of the least exploitability."""
        of_second = state.second.gain < state.first.gain
        return jnp.where(of_second, state.second.best, self.first.policy_at(problem, state.first))


def needs_both(state: AlternatingState) -> bool:
    """Whether the first method has failed so often that the second one is to make steps, too."""
    first = state.first
    return int(first.failures) >= _PATIENCE and float(first.gain) > _ROUNDING * (1 + abs(float(first.mean_return)))
