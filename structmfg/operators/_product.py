"""Products of operators along a path, matrix-free and explicit, and powers of one operator.

Moves by A_0, then A_1, ..., then A_{n-1} make up one move by A_0 A_1 ... A_{n-1}. An explicit product fills in, up to a
dense matrix; so each multiplication here counts its elements, and stops before it holds more than it was granted.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jaxtyping import Array, Float

from structmfg._checks import check_integer, check_kind, check_shape
from structmfg.operators._base import Successors, TransitionOperator
from structmfg.operators._explicit import ExplicitOperator, from_csr

MAX_ELEMENTS = 10_000_000  # 240 MB of doubles with their two indices
_FULL = 0.25  # of the entries: from here on dense products are the faster ones
_Matrix: TypeAlias = scipy.sparse.csr_array | np.ndarray


class ProductOperator(TransitionOperator):
    """A_0 A_1 ... A_{n-1}, matrix-free: each product with a vector applies the factors one after another."""

    factors: tuple[TransitionOperator, ...]

    def __init__(self, factors: Sequence[TransitionOperator]) -> None:
        """Products among the factors are taken apart."""
        check_factors(factors)
        self.factors = tuple(
            part
            for factor in factors
            for part in (factor.factors if isinstance(factor, ProductOperator) else (factor,))
        )

    @property
    def num_states(self) -> int:
        """S."""
        return self.factors[0].num_states

    @property
    def dtype(self) -> np.dtype:
        """Of the entries."""
        return np.dtype(jnp.result_type(*(factor.dtype for factor in self.factors)))

    @property
    def structure(self) -> str:
        """See `TransitionKernel.structure`."""
        return " @ ".join(f"({factor.structure})" for factor in self.factors)

    @property
    def span(self) -> int | None:
        """Spans add up: states at distance d are at most d + span_0 apart after A_0, and each factor adds its own."""
        spans = [factor.span for factor in self.factors]
        known = [span for span in spans if span is not None]
        return sum(known) if len(known) == len(spans) else None

    @property
    def branching(self) -> int:
        """The product of all branchings; on a line, the span + 1 places that successors of one state lie in."""
        return _branching(self.factors)

    def mv(self, values: Float[Array, " states"]) -> Float[Array, " states"]:
        """A_0 (A_1 (... (A_{n-1} v)))."""
        check_shape("values", values, (self.num_states,))
        return functools.reduce(lambda v, factor: factor.mv(v), reversed(self.factors), values)

    def rmv(self, mass: Float[Array, " states"]) -> Float[Array, " states"]:
        """A_{n-1}^T (... (A_1^T (A_0^T mu)))."""
        check_shape("mass", mass, (self.num_states,))
        return functools.reduce(lambda mu, factor: factor.rmv(mu), self.factors, mass)

    def successors(self) -> Successors:
        """Lists of width `branching`: those of A_0, each followed by those of A_1, merged, and so on.

        Where no bound below S is proven, the rows of the dense matrix: its explicit form has to have room for them.
        """
        size = self.num_states
        if self.branching == size:
            return dense_rows(self)
        reached = self.factors[0].successors()
        for i, factor in enumerate(self.factors[1:], start=2):
            following = factor.successors()
            indices = following.indices[reached.indices].reshape(size, -1)
            probabilities = reached.probabilities[..., None] * following.probabilities[reached.indices]
            merge = functools.partial(_merge, width=_branching(self.factors[:i]))
            reached = jax.vmap(merge)(Successors(indices, probabilities.reshape(size, -1)))
        return reached


def dense_rows(operator: TransitionOperator) -> Successors:
    """Every state in every row, (S, S): the dense matrix, by S products with A^T."""
    rows = jax.vmap(operator.rmv)(jnp.eye(operator.num_states, dtype=operator.dtype))
    return Successors(jnp.broadcast_to(jnp.arange(operator.num_states), rows.shape), rows)


def _branching(factors: Sequence[TransitionOperator]) -> int:
    size = factors[0].num_states
    bound, span = 1, 0
    for factor in factors:
        bound = min(size, bound * factor.branching)
        span = size if factor.span is None else span + factor.span
    return min(bound, span + 1)


def _merge(row: Successors, *, width: int) -> Successors:
    """One row's list (K,) with equal successors added up, in `width` slots.

    An unused slot names the first successor with weight 0: any other state might lie beyond the span.
    """
    order = jnp.argsort(row.indices)
    indices, probabilities = row.indices[order], row.probabilities[order]
    slots = jnp.cumsum(jnp.diff(indices, prepend=indices[:1]) > 0)
    merged = jnp.zeros(width, probabilities.dtype).at[slots].add(probabilities)
    return Successors(jnp.full(width, indices[0]).at[slots].set(indices), merged)


def check_factors(factors: Sequence[TransitionOperator]) -> None:
    """Raise `ValueError` unless there is a factor, all are operators, and all share their states."""
    check_kind("factors", factors, Sequence)
    if not factors:
        raise ValueError("a product needs at least one factor, but has none")
    for i, factor in enumerate(factors):
        if not isinstance(factor, TransitionOperator):
            raise ValueError(f"factors must be transition operators, but factor {i} is a {type(factor).__name__}")
        if factor.num_states != factors[0].num_states:
            raise ValueError(
                f"factors must share their states, but factor 0 has {factors[0].num_states} "
                f"and factor {i} has {factor.num_states}"
            )


def product(operators: Sequence[TransitionOperator], *, max_elements: int = MAX_ELEMENTS) -> ExplicitOperator:
    """The explicit A_0 A_1 ... A_{n-1} of operators with concrete values, from left to right.

    SciPy multiplies: it stores the elements there are, where JAX would need a static bound on them, and its own (the
    product of both counts) is out of reach. Inside jit, use `A @ B`, whose explicit form has a proven bound.

    Raises `ValueError` if the product of the first k >= 2 factors has more than `max_elements` elements, naming k.
    """
    check_factors(operators)
    check_integer("max_elements", max_elements, at_least=1)
    result = _as_scipy(operators[0])
    for i, operator in enumerate(operators[1:], start=2):
        result = multiply(result, _as_scipy(operator), max_elements, f"the product of the first {i} factors")
    return ExplicitOperator(from_csr(result), checks=False)


def power(operator: TransitionOperator, exponent: int, *, max_elements: int = MAX_ELEMENTS) -> ExplicitOperator:
    """The explicit A^n of an operator with concrete values, n >= 0, by repeated squaring: at most 2 log2 n products.

    In double precision, on rows that are made to sum to one after every product; as a dense array once a quarter of the
    S^2 entries are there, where all of them may be. Each row of the result is off by at most about n (S + 2) eps in the
    1-norm, with eps of double precision, before it is rounded to JAX's default type.

    Raises `ValueError` if a power on the way has more than `max_elements` elements, naming it and its elements.
    """
    check_kind("operator", operator, TransitionOperator)
    exponent = check_integer("exponent", exponent, at_least=0)
    check_integer("max_elements", max_elements, at_least=1)
    square: _Matrix = _rows_scaled(_as_scipy(operator))
    result: _Matrix = scipy.sparse.eye_array(operator.num_states, dtype=np.float64, format="csr")
    reached = 0
    for bit in range(exponent.bit_length()):
        if bit:
            square = _times(square, square, max_elements, f"power {2**bit}")
        if exponent >> bit & 1:
            reached += 2**bit
            result = _times(square, result, max_elements, f"power {reached}") if reached != 2**bit else square
    return ExplicitOperator(from_csr(scipy.sparse.csr_array(result)), checks=False)


def _times(left: _Matrix, right: _Matrix, max_elements: int, name: str) -> _Matrix:
    """The product of two powers, with rows that sum to one."""
    size = left.shape[0]
    if size**2 <= max_elements and max(_filled(left), _filled(right)) >= _FULL * size**2:
        dense = [part if isinstance(part, np.ndarray) else part.toarray() for part in (left, right)]
        return _rows_scaled(dense[0] @ dense[1])
    return _rows_scaled(multiply(left, right, max_elements, name))


def _filled(matrix: _Matrix) -> int:
    return int(matrix.size if isinstance(matrix, np.ndarray) else matrix.nnz)


def _rows_scaled(matrix: _Matrix) -> _Matrix:
    """Rows sum to one up to rounding, which would double with every squaring."""
    scale = 1 / np.maximum(matrix.sum(axis=1), np.finfo(float).tiny)
    return matrix * scale[:, None] if isinstance(matrix, np.ndarray) else (matrix.T * scale).T.tocsr()


def _as_scipy(operator: TransitionOperator) -> scipy.sparse.csr_array:
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(eqx.filter(operator, eqx.is_array))):
        raise ValueError("an explicit product needs concrete values, but is traced; inside jit, use A @ B")
    return operator.as_scipy().astype(np.float64)


def multiply(
    left: scipy.sparse.csr_array, right: scipy.sparse.csr_array, max_elements: int, name: str
) -> scipy.sparse.csr_array:
    """`left @ right`, or `ValueError` that says how many elements it has, if these are more than `max_elements`.

    It multiplies a block of rows at a time, no block with room for more than `max_elements` (but for a single row), and
    past the limit only counts: it never holds more than twice `max_elements`.
    """
    blocks: list[scipy.sparse.csr_array] = []
    elements = 0
    for rows in _blocks(left, right, max_elements):
        block = left[rows] @ right
        elements += block.nnz
        if elements > max_elements:
            blocks.clear()
        else:
            blocks.append(block)
    if elements > max_elements:
        raise ValueError(f"{name} fills in to {elements} elements, above max_elements, {max_elements}")
    return scipy.sparse.vstack(blocks, format="csr")


def _blocks(left: scipy.sparse.csr_array, right: scipy.sparse.csr_array, room: int) -> Iterator[slice]:
    """Slices of rows whose products have at most `room` elements; one row at a time where a row alone may have more."""
    terms = np.concatenate([[0], np.cumsum(np.diff(right.indptr)[left.indices], dtype=np.int64)])[left.indptr]
    bound = np.concatenate([[0], np.cumsum(np.minimum(np.diff(terms), right.shape[1]))])
    start, size = 0, left.shape[0]
    while start < size:
        stop = max(start + 1, int(np.searchsorted(bound, bound[start] + room, side="right")) - 1)
        yield slice(start, stop)
        start = stop
