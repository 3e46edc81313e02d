"""Operators and kernels made of matrices of SciPy, of NumPy, and of JAX's own formats."""

from typing import Any, overload

import numpy as np

from structmfg._checks import check_integer, check_rows_of_matrix
from structmfg.operators import _sparse as sparse
from structmfg.operators._kernel import ExplicitKernel
from structmfg.operators._operator import CompressedOperator, laid_out


@overload
def from_scipy(matrix: Any, *, num_actions: None = None, checks: bool = True) -> CompressedOperator: ...
@overload
def from_scipy(matrix: Any, *, num_actions: int, checks: bool = True) -> ExplicitKernel: ...
def from_scipy(
    matrix: Any, *, num_actions: int | None = None, checks: bool = True
) -> CompressedOperator | ExplicitKernel:
    """Return the operator of a matrix (S, S) whose rows are distributions, or the kernel of a matrix (S*A, S).

    Entries that are named twice are summed. Numbers keep their dtype where JAX's precision allows; whole numbers become
    floating-point ones. Values must be known: inside jit, make an `ExplicitOperator` of a BCOO matrix.

    Args:
        matrix: A sparse matrix or array of SciPy in any format, a NumPy or JAX array (rows, S), a BCOO or a BCSR.
        num_actions: A, for a kernel, whose row s * A + a is the distribution of the next state; None for an operator.
        checks: Whether to refuse rows that are not distributions, within 1e-5; takes time linear in the entries.

    Returns:
        A `CompressedOperator`, whose products are the fastest explicit ones on CPU, or an `ExplicitKernel`.

    Raises:
        ValueError: The matrix is of another kind or shape, or a row, which is named, is not a distribution.

    >>> import scipy.sparse
    >>> A = from_scipy(scipy.sparse.csr_array([[0.5, 0.5], [0.2, 0.8]]))
    >>> A @ [1.0, 0.0], [1.0, 0.0] @ A
    (Array([0.5, 0.2], dtype=float32), Array([0.5, 0.5], dtype=float32))
    """
    matrix = sparse.as_csr(matrix)
    if num_actions is not None:
        num_actions = check_integer("num_actions", num_actions, at_least=1)
    sparse.check_size(matrix.shape, num_actions)
    height, size = matrix.shape
    columns = matrix.indices
    if matrix.nnz and not 0 <= columns.min() <= columns.max() < size:
        raise ValueError(f"columns must lie in 0..{size - 1}, but go from {columns.min()} to {columns.max()}")
    row = np.repeat(np.arange(height), np.diff(matrix.indptr))
    if checks:
        places = np.stack([row, columns], axis=1)
        check_rows_of_matrix(matrix.data, places, matrix.shape, num_actions=num_actions, least=0.0, tolerance=1e-5)
    if num_actions is not None:
        return ExplicitKernel(sparse.from_csr(matrix), num_actions, checks=False)
    return laid_out(matrix.data, row, columns, size)
