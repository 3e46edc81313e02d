"""Powers of an operator, matrix-free: one product after another."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from structmfg._checks import check_integer, check_kind, check_shape
from structmfg.operators._base import Successors, TransitionOperator
from structmfg.operators._product import ProductOperator, dense_rows

_UNROLLED = 4  # products that are written out, where a loop would cost more than it saves


class PowerOperator(TransitionOperator):
    """A^n with a static n >= 0, matrix-free: a product with a vector is n products with A, in a loop.

    `operators.power` multiplies the matrices out, by repeated squaring: that pays where n is large and A^n is used
    again, and where A^n is sparse or small enough to be dense.
    """

    base: TransitionOperator
    exponent: int = eqx.field(static=True)

    def __init__(self, base: TransitionOperator, exponent: int) -> None:
        """(A^m)^n becomes A^(m n)."""
        check_kind("base", base, TransitionOperator)
        exponent = check_integer("exponent", exponent, at_least=0)
        inner = base if isinstance(base, PowerOperator) else None
        self.base = base if inner is None else inner.base
        self.exponent = exponent if inner is None else inner.exponent * exponent

    @property
    def num_states(self) -> int:
        """S."""
        return self.base.num_states

    @property
    def dtype(self) -> np.dtype:
        """Of the entries."""
        return self.base.dtype

    @property
    def span(self) -> int | None:
        """Spans add up."""
        return 0 if not self.exponent else None if self.base.span is None else self.exponent * self.base.span

    @property
    def branching(self) -> int:
        """That of A to the power n; on a line, the span + 1 places that successors of one state lie in."""
        bound = 1
        for _ in range(self.exponent):
            bound *= self.base.branching
            if bound == 1 or bound >= self.num_states:
                break
        room = self.num_states if self.span is None else self.span + 1
        return min(self.num_states, bound, room)

    @property
    def structure(self) -> str:
        """See `TransitionKernel.structure`."""
        return f"({self.base.structure}) to the power {self.exponent}"

    def mv(self, values: Float[Array, " states"]) -> Float[Array, " states"]:
        """A (A (... (A v)))."""
        check_shape("values", values, (self.num_states,))
        return self._repeat(self.base.mv, values)

    def rmv(self, mass: Float[Array, " states"]) -> Float[Array, " states"]:
        """A^T (A^T (... (A^T mu)))."""
        check_shape("mass", mass, (self.num_states,))
        return self._repeat(self.base.rmv, mass)

    def _repeat(self, move: Callable[[Array], Array], vector: Float[Array, " states"]) -> Float[Array, " states"]:
        if self.exponent <= _UNROLLED:
            for _ in range(self.exponent):
                vector = move(vector)
            return vector
        # One product before the loop: what is carried has the dtype of a product from then on.
        return lax.fori_loop(1, self.exponent, lambda _, x: move(x), move(vector))

    def successors(self) -> Successors:
        """Lists of width `branching`; where no bound below S is proven, the rows of the dense matrix."""
        if not self.exponent:
            states = jnp.arange(self.num_states)[:, None]
            return Successors(states, jnp.ones(states.shape, self.dtype))
        if self.branching == self.num_states:
            return dense_rows(self)
        return ProductOperator([self.base] * self.exponent).successors()
