"""Moves of two indices that are made independently, on their product s = outer * m + inner."""

from collections.abc import Callable
from typing import overload

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from structmfg._checks import check_integer, check_kind, check_shape
from structmfg.operators._base import Successors, TransitionKernel, TransitionOperator
from structmfg.operators._composite import KroneckerOperator, LiftedKernel, square
from structmfg.operators._product import ProductOperator


class LiftedOperator(TransitionOperator):
    """I (x) A (x) I: of a state s = (outer * S_A + middle) * inner_size + inner, the middle index moves by A.

    The other two stay. A product is one with A for each of their values, all at once.
    """

    move_by: TransitionOperator
    outer_size: int = eqx.field(static=True)
    inner_size: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        check_kind("move_by", self.move_by, TransitionOperator)
        check_integer("outer_size", self.outer_size, at_least=1)
        check_integer("inner_size", self.inner_size, at_least=1)

    @property
    def num_states(self) -> int:
        """S = outer * S_A * inner."""
        return self.outer_size * self.move_by.num_states * self.inner_size

    @property
    def dtype(self) -> np.dtype:
        """Of the entries."""
        return self.move_by.dtype

    @property
    def branching(self) -> int:
        """That of A."""
        return self.move_by.branching

    @property
    def span(self) -> int | None:
        """Where no index is outer, a step of the middle one is `inner_size` on the line; the inner one adds to it."""
        known = self.move_by.span
        return None if known is None or self.outer_size > 1 else known * self.inner_size + 2 * (self.inner_size - 1)

    @property
    def structure(self) -> str:
        """See `TransitionKernel.structure`."""
        place = "outer" if self.outer_size == 1 else "inner" if self.inner_size == 1 else "middle"
        return f"({self.move_by.structure}) on the {place} index"

    def _each(self, product: Callable[[Array], Array], vector: Array) -> Array:
        array = jnp.reshape(vector, (self.outer_size, self.move_by.num_states, self.inner_size))
        if self.inner_size == 1:
            return jax.vmap(product)(array[:, :, 0]).reshape(-1)
        over_inner = jax.vmap(product, in_axes=1, out_axes=1)
        return (over_inner(array[0]) if self.outer_size == 1 else jax.vmap(over_inner)(array)).reshape(-1)

    def mv(self, values: Float[Array, " states"]) -> Float[Array, " states"]:
        """(I (x) A (x) I) v."""
        check_shape("values", values, (self.num_states,))
        return self._each(self.move_by.mv, values)

    def rmv(self, mass: Float[Array, " states"]) -> Float[Array, " states"]:
        """(I (x) A^T (x) I) mu."""
        check_shape("mass", mass, (self.num_states,))
        return self._each(self.move_by.rmv, mass)

    def successors(self) -> Successors:
        """Those of A, with the same outer and inner index."""
        indices, probabilities = self.move_by.successors()
        size, width = indices.shape
        outer = jnp.arange(self.outer_size)[:, None, None, None]
        inner = jnp.arange(self.inner_size)[:, None]
        states = (outer * size + indices[:, None, :]) * self.inner_size + inner
        shape = (self.outer_size, size, self.inner_size, width)
        weights = jnp.broadcast_to(probabilities[:, None, :], shape)
        return Successors(jnp.broadcast_to(states, shape).reshape(-1, width), weights.reshape(-1, width))


Chain = TransitionOperator | Float[ArrayLike, "inner inner"]


@overload
def kron(move: TransitionKernel, chain: Chain, *, checks: bool = True) -> TransitionKernel: ...
@overload
def kron(move: TransitionOperator, chain: Chain, *, checks: bool = True) -> TransitionOperator: ...
def kron(
    move: TransitionKernel | TransitionOperator, chain: Chain, *, checks: bool = True
) -> TransitionKernel | TransitionOperator:
    """P (x) Q: the outer index moves by a kernel or operator and the inner one by another operator, independently.

    Matrix-free: with n outer and m inner states, a product is m products with P and n with Q.

    Args:
        move: P, a kernel or an operator, for the outer index.
        chain: Q, an operator, or a Markov chain as a small dense matrix (m, m), for the inner index.
        checks: Whether to refuse rows of a matrix that are no distributions.

    Returns:
        A kernel where `move` is one, else an operator; on the states outer * m + inner.

    >>> import structmfg as smfg
    >>> walk = smfg.operators.LatticeNoise(3, (0, 1), (0.5, 0.5))
    >>> kron(walk, walk).shape
    (9, 9)
    """
    check_kind("move", move, TransitionKernel | TransitionOperator)
    inner = chain if isinstance(chain, TransitionOperator) else _small(chain)
    size = inner.num_states if isinstance(inner, TransitionOperator) else inner.shape[0]
    if isinstance(inner, TransitionOperator):
        second: TransitionOperator = LiftedOperator(inner, move.num_states, 1)
    else:
        second = KroneckerOperator(move.num_states * size, inner, checks=checks)
    if isinstance(move, TransitionKernel):
        return LiftedKernel(move, size) >> second
    return ProductOperator((LiftedOperator(move, 1, size), second))


def _small(chain: Float[ArrayLike, "inner inner"]) -> Float[Array, "inner inner"]:
    if isinstance(chain, TransitionKernel):
        raise ValueError(
            f"chain must be an operator or a square matrix, but is a {type(chain).__name__}; close it "
            "with a policy, chain.under(policy)"
        )
    return square("chain", chain)
