"""Operators and kernels of matrices that others hold: SciPy, NumPy, and JAX's own formats."""

from typing import Any, overload

import numpy as np
import scipy.sparse

from structmfg._checks import check_integer
from structmfg.operators._explicit import CompressedOperator, ExplicitKernel, as_csr, from_csr
from structmfg.operators._rows import grouped


@overload
def from_scipy(matrix: Any, *, num_actions: None = None, checks: bool = True) -> CompressedOperator: ...
@overload
def from_scipy(matrix: Any, *, num_actions: int, checks: bool = True) -> ExplicitKernel: ...
def from_scipy(
    matrix: Any, *, num_actions: int | None = None, checks: bool = True
) -> CompressedOperator | ExplicitKernel:
    """The operator of an (S, S) matrix whose rows are distributions, or the kernel of one of shape (S*A, S).

    Entries that are named twice are summed. Numbers keep their dtype where JAX's precision allows; whole numbers become
    floating-point ones. Values must be known: inside jit, make an `ExplicitOperator` of a BCOO matrix.

    Args:
        matrix: A sparse matrix or array of SciPy in any format, a NumPy or JAX array (rows, S), a BCOO or a BCSR.
        num_actions: A, for a kernel, whose row s*A + a is the distribution of the next state; None for an operator.
        checks: Whether to refuse rows that are no distributions, within 1e-5. In time linear in the entries.

    Returns:
        A `CompressedOperator`, whose products are the fastest explicit ones on CPU, or an `ExplicitKernel`.

    Raises:
        ValueError: Where the kind or the shape of the matrix is another, or a row is no distribution, naming it.

    >>> import scipy.sparse
    >>> A = from_scipy(scipy.sparse.csr_array([[0.5, 0.5], [0.2, 0.8]]))
    >>> A @ [1.0, 0.0], [1.0, 0.0] @ A
    (Array([0.5, 0.2], dtype=float32), Array([0.5, 0.5], dtype=float32))
    """
    rows = as_csr(matrix)
    height, size = rows.shape
    if num_actions is not None:
        num_actions = check_integer("num_actions", num_actions, at_least=1)
        allowed = f"(S*{num_actions}, S) for a kernel of {num_actions} actions"
    else:
        allowed = "(S, S) for an operator; for a kernel, (S*A, S), say num_actions"
    if not size or height != size * (num_actions or 1):
        raise ValueError(f"the matrix must have shape {allowed}, but has shape {(height, size)}")
    if rows.nnz and not 0 <= rows.indices.min() <= rows.indices.max() < size:
        raise ValueError(f"columns must lie in 0..{size - 1}, but go from {rows.indices.min()} to {rows.indices.max()}")
    if checks:
        _check_distributions(rows, num_actions)
    if num_actions is not None:
        return ExplicitKernel(from_csr(rows), num_actions, checks=False)
    row = np.repeat(np.arange(size), np.diff(rows.indptr))
    return CompressedOperator(
        grouped(rows.data, row, rows.indices, size), grouped(rows.data, rows.indices, row, size), size
    )


def _check_distributions(rows: scipy.sparse.csr_array, num_actions: int | None, tolerance: float = 1e-5) -> None:
    sums = np.asarray(rows.sum(axis=1, dtype=np.float64))
    wrong = ~(np.abs(sums - 1) <= tolerance)
    entries = np.flatnonzero(~(rows.data >= 0))  # not so where it is NaN
    if entries.size:
        wrong[np.searchsorted(rows.indptr, entries[:1], side="right") - 1] = True
    if not wrong.any():
        return
    row = int(np.argmax(wrong))
    where = f"row {row}" + ("" if num_actions is None else f" (state {row // num_actions}, action {row % num_actions})")
    given = rows.data[rows.indptr[row] : rows.indptr[row + 1]]
    shown = ", ".join(f"{entry:g}" for entry in given[:8]) + (", ..." if given.size > 8 else "")
    raise ValueError(
        f"rows must be nonnegative and sum to 1 within {tolerance:g}, but {where} has the entries [{shown}], with sum "
        f"{sums[row]:.8g}; divide each row by its sum, or transpose the matrix if columns sum to 1, or say checks=False"
    )
