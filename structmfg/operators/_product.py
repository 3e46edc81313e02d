"""Explicit products of operators along a path, and explicit powers of one operator, multiplied by SciPy.

Moves by A_0, then A_1, ..., then A_{n-1} make up one move by A_0 A_1 ... A_{n-1}. An explicit product fills in, up to a
dense matrix; so each multiplication here counts its elements, and stops before it holds more than it is allowed to.
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import equinox as eqx
import jax
import numpy as np
import scipy.sparse

from structmfg._checks import check_integer, check_kind
from structmfg.operators._operator import ExplicitOperator, TransitionOperator, check_factors
from structmfg.operators._sparse import from_csr

MAX_ELEMENTS = 10_000_000  # 240 MB of doubles with their two indices
_FULL = 0.25  # of the entries: from here on dense products are the faster ones
_Matrix: TypeAlias = scipy.sparse.csr_array | np.ndarray


def product(operators: Sequence[TransitionOperator], *, max_elements: int = MAX_ELEMENTS) -> ExplicitOperator:
    """Return the explicit A_0 A_1 ... A_{n-1}, multiplied from left to right.

    SciPy stores only the elements there are, where JAX would need a static bound on them. Inside jit, use `A @ B`,
    whose explicit form has a proven bound.

    Args:
        operators: n >= 1 operators on the same states, with concrete values.
        max_elements: The most elements that a product on the way may have.

    Raises:
        ValueError: The product of the first k >= 2 factors has more elements, naming k; or a value is traced.
    """
    check_factors(operators)
    check_integer("max_elements", max_elements, at_least=1)
    result = _as_scipy(operators[0])
    for i, operator in enumerate(operators[1:], start=2):
        result = multiply(result, _as_scipy(operator), max_elements, f"the product of the first {i} factors")
    return ExplicitOperator(from_csr(result), checks=False)


def power(operator: TransitionOperator, exponent: int, *, max_elements: int = MAX_ELEMENTS) -> ExplicitOperator:
    """Return the explicit A^n by repeated squaring: at most 2 log2 n products.

    The products are made in double precision, and their rows are scaled to sum to one. From a quarter of the S^2
    entries on they are dense arrays, if `max_elements` allows. Each row of the result is off by at most about
    n (S + 2) eps in the 1-norm, with eps of double precision, before it is rounded to JAX's default type.

    Args:
        operator: A, with concrete values.
        exponent: n >= 0.
        max_elements: The most elements that a power on the way may have.

    Raises:
        ValueError: A power on the way has more elements, naming it and its elements; or a value is traced.
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
    """Return `left @ right`, or raise `ValueError` with its number of elements, if these are more than `max_elements`.

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
