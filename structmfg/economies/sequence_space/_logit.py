"""`LogitBlock`: a discrete choice with taste shocks, along paths of its inputs (McFadden 1974; Rust 1987).

With an independent shock of scale tau on every action, of the extreme-value distribution with mean zero,

    v_t(s) = tau log sum_a exp(q_t(s, a) / tau),   q_t = r(x_t) + beta P(x_t) v_{t+1},

and pi_t(a | s) = exp((q_t(s, a) - v_t(s)) / tau). Rust (1987), doi:10.2307/1911259.
"""

import abc

import jax
import jax.numpy as jnp
from jaxtyping import Float
from typing_extensions import override

from structmfg._checks import check_between, check_positive
from structmfg.economies.sequence_space._block import HouseholdBlock, Inputs
from structmfg.economies.sequence_space._paths import AnyArray
from structmfg.operators import ControlledOperator, TransitionKernel

Table = Float[AnyArray, "states actions"]
Vector = Float[AnyArray, " states"]


class LogitBlock(HouseholdBlock):
    """A household who chooses among actions under taste shocks; see the module. The choice is pi (S, A).

    Subclasses write `reward`, `kernel` and `outcomes`. An action is forbidden in a state by the reward -inf.

    Attributes:
        scale: tau, in units of the reward, above 0.
        discount: beta, in [0, 1).
    """

    scale: float
    discount: float

    def __check_init__(self) -> None:
        check_positive("scale", self.scale)
        check_between("discount", self.discount, 0, 1)
        check_positive("1 - discount", 1 - self.discount)

    @abc.abstractmethod
    def reward(self, inputs: Inputs) -> Table:
        """Return r (S, A)."""

    @abc.abstractmethod
    def kernel(self, inputs: Inputs) -> TransitionKernel:
        """Return P, the transition kernel of states and actions."""

    @override
    def backward(self, later: Vector, inputs: Inputs) -> tuple[Vector, Table]:
        values = self.reward(inputs) + self.discount * self.kernel(inputs).expect(later)
        scaled = values / self.scale
        return self.scale * jax.nn.logsumexp(scaled, axis=-1), jax.nn.softmax(scaled, axis=-1)

    @override
    def operator(self, choice: Table, inputs: Inputs) -> ControlledOperator:
        return self.kernel(inputs).under(choice)

    @override
    def first_value(self, inputs: Inputs, near: Vector | None = None) -> Vector:
        return jnp.zeros(self.reward(inputs).shape[0]) if near is None else near
