"""Moves of two indices that are made independently, on the product states s = outer * m + inner."""

from collections.abc import Callable
from typing import Any, overload

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float
from typing_extensions import override

from structmfg._checks import as_floats, check_integer, check_kind, check_rows
from structmfg.operators._base import ROUNDING, Table, Vector, delegate
from structmfg.operators._kernel import TransitionKernel
from structmfg.operators._operator import ProductOperator, TransitionOperator
from structmfg.operators._sparse import Successors


class LiftedKernel(TransitionKernel):
    """P (x) I: the outer index of a product state, s = outer * inner_size + inner, moves by `move`; the inner stays.

    Args:
        move: P, a kernel of the outer index.
        inner_size: The number of values of the inner index.
    """

    move: TransitionKernel
    inner_size: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        check_kind("move", self.move, TransitionKernel)
        check_integer("inner_size", self.inner_size, at_least=1)

    @property
    @override
    def num_states(self) -> int:
        return self.move.num_states * self.inner_size

    num_actions = delegate("move.num_actions")
    branching = delegate("move.branching")

    @property
    @override
    def structure(self) -> str:
        return f"({self.move.structure}) on the outer index"

    def _split(self, array: Array) -> Array:
        """The inner index first, so that it can be mapped over: (inner, outer, ...)."""
        return jnp.moveaxis(jnp.reshape(array, (-1, self.inner_size, *array.shape[1:])), 1, 0)

    def _join(self, array: Array) -> Array:
        return jnp.moveaxis(array, 0, 1).reshape(self.num_states, *array.shape[2:])

    @override
    def expect(self, values: Vector) -> Table:
        return self._join(jax.vmap(self.move.expect)(self._split(values)))

    @override
    def push(self, mass: Table) -> Vector:
        return self._join(jax.vmap(self.move.push)(self._split(mass)))

    @override
    def expect_under(self, policy: Table, values: Vector) -> Vector:
        return self._join(jax.vmap(self.move.expect_under)(self._split(policy), self._split(values)))

    @override
    def push_under(self, policy: Table, mass: Vector) -> Vector:
        return self._join(jax.vmap(self.move.push_under)(self._split(policy), self._split(mass)))

    @override
    def successors(self) -> Successors:
        indices, probabilities = self.move.successors()
        inner = jnp.arange(self.inner_size)[None, :, None, None]
        shape = (self.num_states, *indices.shape[1:])
        return Successors(
            (indices[:, None] * self.inner_size + inner).reshape(shape),
            jnp.repeat(probabilities, self.inner_size, axis=0),
        )


class LiftedOperator(TransitionOperator):
    """I (x) A (x) I: of a state s = (outer * S_A + middle) * inner_size + inner, the middle index moves by A.

    The other two indices stay. A product with a vector is one with A for each of their values, all at once.

    Args:
        move_by: A.
        outer_size: The number of values of the outer index.
        inner_size: The number of values of the inner index.
    """

    move_by: TransitionOperator
    outer_size: int = eqx.field(static=True)
    inner_size: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        check_kind("move_by", self.move_by, TransitionOperator)
        check_integer("outer_size", self.outer_size, at_least=1)
        check_integer("inner_size", self.inner_size, at_least=1)

    @property
    @override
    def num_states(self) -> int:
        return self.outer_size * self.move_by.num_states * self.inner_size

    dtype = delegate("move_by.dtype")
    branching = delegate("move_by.branching")

    @property
    @override
    def span(self) -> int | None:
        known = self.move_by.span
        return None if known is None or self.outer_size > 1 else known * self.inner_size + 2 * (self.inner_size - 1)

    @property
    @override
    def structure(self) -> str:
        place = "outer" if self.outer_size == 1 else "inner" if self.inner_size == 1 else "middle"
        return f"({self.move_by.structure}) on the {place} index"

    def _each(self, product: Callable[[Array], Array], vector: Array) -> Array:
        array = jnp.reshape(vector, (self.outer_size, self.move_by.num_states, self.inner_size))
        if self.inner_size == 1:
            return jax.vmap(product)(array[:, :, 0]).reshape(-1)
        over_inner = jax.vmap(product, in_axes=1, out_axes=1)
        return (over_inner(array[0]) if self.outer_size == 1 else jax.vmap(over_inner)(array)).reshape(-1)

    @override
    def mv(self, values: Vector) -> Vector:
        return self._each(self.move_by.mv, values)

    @override
    def rmv(self, mass: Vector) -> Vector:
        return self._each(self.move_by.rmv, mass)

    @override
    def successors(self) -> Successors:
        indices, probabilities = self.move_by.successors()
        size, width = indices.shape
        outer = jnp.arange(self.outer_size)[:, None, None, None]
        inner = jnp.arange(self.inner_size)[:, None]
        states = (outer * size + indices[:, None, :]) * self.inner_size + inner
        shape = (self.outer_size, size, self.inner_size, width)
        weights = jnp.broadcast_to(probabilities[:, None, :], shape)
        return Successors(jnp.broadcast_to(states, shape).reshape(-1, width), weights.reshape(-1, width))


class KroneckerOperator(TransitionOperator):
    """I (x) Q: a small Markov chain Q moves the inner index of a product state, s = outer * m + inner.

    Args:
        num_states: S, a multiple of m.
        chain: Q (m, m).
        checks: Whether to refuse rows of Q that are not distributions.
    """

    num_states: int = eqx.field(static=True)
    chain: Float[Array, "inner inner"]

    def __init__(self, num_states: int, chain: Any, *, checks: bool = True) -> None:
        self.num_states = check_integer("num_states", num_states, at_least=1)
        self.chain = _square(chain)
        if self.num_states % self._inner:
            raise ValueError(f"num_states must be a multiple of the chain's {self._inner}, but is {self.num_states}")
        if checks:
            check_rows("the chain", self.chain, least=-ROUNDING)

    @property
    @override
    def structure(self) -> str:
        return f"chain of {self._inner} on the inner index"

    @property
    def _inner(self) -> int:
        return int(self.chain.shape[0])

    @override
    def mv(self, values: Vector) -> Vector:
        return self._along_chain(values, self.chain.T)

    @override
    def rmv(self, mass: Vector) -> Vector:
        return self._along_chain(mass, self.chain)

    def _along_chain(self, vector: Vector, matrix: Float[Array, "inner inner"]) -> Vector:
        """In full precision, as GPUs would round the factors to 11 bits: mass would be lost."""
        return jnp.matmul(vector.reshape(-1, self._inner), matrix, precision="highest").reshape(-1)

    @override
    def successors(self) -> Successors:
        states = jnp.arange(self.num_states)
        outer, inner = states // self._inner, states % self._inner
        indices = outer[:, None] * self._inner + jnp.arange(self._inner)
        return Successors(indices, self.chain[inner])


Chain = TransitionOperator | Float[ArrayLike, "inner inner"]


@overload
def kron(move: TransitionKernel, chain: Chain, *, checks: bool = True) -> TransitionKernel: ...
@overload
def kron(move: TransitionOperator, chain: Chain, *, checks: bool = True) -> TransitionOperator: ...
def kron(
    move: TransitionKernel | TransitionOperator, chain: Chain, *, checks: bool = True
) -> TransitionKernel | TransitionOperator:
    """Return P (x) Q: the outer index moves by a kernel or operator and the inner one by another operator.

    Both move independently of each other. It is matrix-free: with n outer and m inner states, a product is m products
    with P and n with Q.

    Args:
        move: P, a kernel or an operator, for the outer index.
        chain: Q, an operator, or a Markov chain as a small dense matrix (m, m), for the inner index.
        checks: Whether to refuse rows of a matrix that are not distributions.

    Returns:
        A kernel where `move` is one, else an operator; on the states outer * m + inner.

    Raises:
        ValueError: `move` or `chain` is of another kind, or a row of the matrix is not a distribution.

    >>> import structmfg as smfg
    >>> walk = smfg.operators.LatticeNoise(3, (0, 1), (0.5, 0.5))
    >>> kron(walk, walk).shape
    (9, 9)
    """
    check_kind("move", move, TransitionKernel | TransitionOperator)
    if isinstance(chain, TransitionKernel):
        raise ValueError(
            f"chain must be an operator or a square matrix, but is a {type(chain).__name__}; close it "
            "with a policy, chain.under(policy)"
        )
    second: TransitionOperator
    if isinstance(chain, TransitionOperator):
        size, second = chain.num_states, LiftedOperator(chain, move.num_states, 1)
    else:
        matrix = _square(chain)
        size, second = matrix.shape[0], KroneckerOperator(move.num_states * matrix.shape[0], matrix, checks=checks)
    if isinstance(move, TransitionKernel):
        return LiftedKernel(move, size) >> second
    return ProductOperator((LiftedOperator(move, 1, size), second))


def _square(chain: Any) -> Float[Array, "inner inner"]:
    """The chain as a square matrix of one state at least, or `ValueError`."""
    array = as_floats("chain", chain)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or not array.size:
        raise ValueError(f"chain must be a square matrix, of one state at least, but has shape {tuple(array.shape)}")
    return array
