"""Lists of successors and sparse matrices: the one module that touches BCOO and BCSR.

The static number of stored elements must bound the number of distinct entries, or `sum_duplicates` drops some without
a message; `branching` of a kernel is that proven bound for a row.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax.experimental.sparse import BCOO as BCOO
from jax.experimental.sparse import BCSR as BCSR
from jaxtyping import Array, Float, Int

from structmfg._checks import as_indices, check_rows_of_matrix, concrete
from structmfg._flags import constants
from structmfg.operators._rows import Rows, grouped

# Outside jit, a function below is one program instead of one for each of its operations; inside, it is spelled out.
_compiled = functools.partial(jax.jit, inline=True)


class Successors(NamedTuple):
    """The nonzero transitions as padded lists; a successor may be named twice or carry probability zero.

    `indices` and `probabilities` have shape (S, A, K) for a kernel and (S, K) for an operator.
    """

    indices: Int[Array, "states *actions width"]
    probabilities: Float[Array, "states *actions width"]

    def followed_by(self, successors_of: Callable[[Array], "Successors"]) -> "Successors":
        """The successors after one more transition, (..., K * L), where `successors_of(states)` lists L for each."""
        second = successors_of(self.indices.ravel())
        shape = (*self.indices.shape[:-1], -1)
        probabilities = self.probabilities.ravel()[:, None] * second.probabilities
        return Successors(second.indices.reshape(shape), probabilities.reshape(shape))

    @functools.partial(_compiled, static_argnames="width")
    def merged(self, width: int) -> "Successors":
        """The lists (S, K) with the probabilities of equal successors added up, in `width` slots."""
        return jax.vmap(functools.partial(_merge_row, width=width))(self)


def _merge_row(row: Successors, *, width: int) -> Successors:
    """Merge the list (K,) of one state.

    An unused slot names the first successor with weight 0: any other state might lie beyond the span.
    """
    order = jnp.argsort(row.indices)
    indices, probabilities = row.indices[order], row.probabilities[order]
    slots = jnp.cumsum(jnp.diff(indices, prepend=indices[:1]) > 0)
    merged = jnp.zeros(width, probabilities.dtype).at[slots].add(probabilities)
    return Successors(jnp.full(width, indices[0]).at[slots].set(indices), merged)


def dense_successors(probabilities: Float[Array, "*rows states"]) -> Successors:
    """Every state in every row of a dense array, for small problems."""
    return Successors(jnp.broadcast_to(jnp.arange(probabilities.shape[-1]), probabilities.shape), probabilities)


@functools.partial(_compiled, static_argnames=("num_states", "row_bound"))
def assemble(successors: Successors, num_states: int, *, row_bound: int) -> BCOO:
    """The matrix of a list of successors, (S, K) or (S, A, K), with one row for each leading index.

    Duplicates are merged and indices sorted; entries that happen to be zero stay, or their gradient would be lost.
    `row_bound` bounds the distinct successors in a row; the static nse is rows * min(row_bound, K, S). Unused slots
    carry zero at an index out of range, as JAX has it.
    """
    width = successors.indices.shape[-1]
    count = int(np.prod(successors.indices.shape[:-1]))
    # A user's own kernel may list its successors in a type that cannot count all rows.
    columns = as_indices("successors", successors.indices, last=num_states, room=count, checks=False)
    columns = columns.reshape(-1, width)
    rows = jnp.broadcast_to(jnp.arange(columns.shape[0], dtype=columns.dtype)[:, None], columns.shape)
    indices = jnp.stack([rows.ravel(), columns.ravel()], axis=-1)
    matrix = BCOO((successors.probabilities.ravel(), indices), shape=(columns.shape[0], num_states))
    return matrix.sum_duplicates(nse=columns.shape[0] * min(row_bound, width, num_states), remove_zeros=False)


@_compiled
def to_dense(matrix: BCOO) -> Float[Array, "rows columns"]:
    """The dense matrix. JAX's own `todense` has a derivative in the entries that fails under vmap (JAX 0.10)."""
    row, column = matrix.indices[:, 0], matrix.indices[:, 1]
    return jnp.zeros(matrix.shape, matrix.dtype).at[row, column].add(matrix.data, mode="drop")


@_compiled
def to_bcsr(matrix: BCOO) -> BCSR:
    """Compressed rows of a matrix without duplicates; unused slots fall behind the last row."""
    rows = BCSR.from_bcoo(matrix)
    # JAX drops what it knows of the indices on the way.
    return BCSR((rows.data, rows.indices, rows.indptr), shape=rows.shape, indices_sorted=True, unique_indices=True)


def merge_duplicates(matrix: BCOO) -> BCOO:
    """The matrix with duplicates merged and indices sorted; itself where its flags say that it is so already."""
    if matrix.indices_sorted and matrix.unique_indices:
        return matrix
    return _sum_duplicates(matrix)


@_compiled
def _sum_duplicates(matrix: BCOO) -> BCOO:
    return matrix.sum_duplicates(nse=matrix.nse, remove_zeros=False)


def from_coordinates(data: Array, row: Array, column: Array, size: int) -> BCOO:
    """The (S, S) matrix of entries in any order, merged and sorted."""
    return merge_duplicates(BCOO((data, jnp.stack([row, column], axis=-1)), shape=(size, size)))


def from_csr(matrix: scipy.sparse.csr_array) -> BCOO:
    """The matrix of SciPy in JAX, in its own dtype where JAX's precision allows."""
    matrix = matrix.copy()
    matrix.sum_duplicates()  # sorts, too
    rows, columns = matrix.tocoo().coords
    indices = jnp.stack([jnp.asarray(rows), jnp.asarray(columns)], axis=-1)
    return BCOO((jnp.asarray(matrix.data), indices), shape=matrix.shape, indices_sorted=True, unique_indices=True)


def as_csr(matrix: Any) -> scipy.sparse.csr_array:
    """A copy in SciPy of a matrix of SciPy, NumPy or JAX with known values, floating-point, duplicates summed."""
    if isinstance(matrix, BCOO | BCSR) and not (matrix.n_batch or matrix.n_dense):
        matrix = matrix.to_bcoo() if isinstance(matrix, BCSR) else matrix
        if any(isinstance(part, jax.core.Tracer) for part in (matrix.data, matrix.indices)):
            raise ValueError("from_scipy needs known values, but is traced; inside jit, make an ExplicitOperator")
        place, known = np.asarray(matrix.indices), np.asarray(matrix.data)
        used = (place < np.array(matrix.shape)).all(-1)  # JAX keeps unused slots out of range
        matrix = scipy.sparse.coo_array((known[used], tuple(place[used].T)), shape=matrix.shape)
    elif not scipy.sparse.issparse(matrix):
        if isinstance(matrix, jax.core.Tracer):
            raise ValueError("from_scipy needs known values, but is traced; inside jit, make a DenseKernel")
        array = np.asarray(matrix) if isinstance(matrix, np.ndarray | jax.Array | list | tuple) else None
        if array is None or array.ndim != 2:
            shape = f" of shape {tuple(matrix.shape)}" if hasattr(matrix, "shape") else ""
            raise ValueError(
                "from_scipy takes a sparse matrix of SciPy, an array (rows, S), or a BCOO or BCSR without batch or "
                f"dense dimensions, but was given a {type(matrix).__name__}{shape}"
            )
        matrix = array
    if matrix.dtype.kind not in "fiub" and not jnp.issubdtype(matrix.dtype, jnp.floating):
        raise ValueError(f"transition probabilities must be real numbers, but are of {matrix.dtype}")
    if matrix.ndim != 2:
        raise ValueError(f"the matrix must have two dimensions, but has shape {tuple(matrix.shape)}")
    dtype = np.float32 if jnp.issubdtype(matrix.dtype, jnp.floating) and matrix.dtype.itemsize <= 4 else np.float64
    rows = scipy.sparse.csr_array(matrix.astype(dtype), copy=True)
    rows.sum_duplicates()
    return rows


def to_scipy(matrix: BCOO) -> scipy.sparse.csr_array:
    """The same matrix in SciPy, without JAX's unused slots and zeros."""
    data, indices = np.asarray(matrix.data), np.asarray(matrix.indices)
    used = (indices[:, 0] < matrix.shape[0]) & (data != 0)
    return scipy.sparse.csr_array((data[used], (indices[used, 0], indices[used, 1])), shape=matrix.shape)


def check_matrix(matrix: Any, num_actions: int | None, *, checks: bool) -> None:
    """Raise `ValueError` unless it is a BCOO matrix (S, S), or (S*A, S) of a kernel, whose rows are distributions.

    The values of its entries are looked at only with `checks`.
    """
    if not isinstance(matrix, BCOO):
        raise ValueError(
            f"an explicit form holds a BCOO matrix, but was given a {type(matrix).__name__}; operators.from_scipy "
            "takes matrices of SciPy, NumPy arrays and BCSR"
        )
    if matrix.n_batch or matrix.n_dense or matrix.n_sparse != 2:
        raise ValueError(
            "an explicit form holds a BCOO matrix with two sparse dimensions and no other, but was given one of shape "
            f"{tuple(matrix.shape)} with {matrix.n_batch} batch, {matrix.n_sparse} sparse and {matrix.n_dense} dense; "
            "make one operator of each matrix, or map over them with jax.vmap"
        )
    if not jnp.issubdtype(matrix.dtype, jnp.floating):
        raise ValueError(f"transition probabilities must be floating-point numbers, but are of {matrix.dtype}")
    check_size(matrix.shape, num_actions)
    if checks:
        check_rows_of_matrix(matrix.data, matrix.indices, matrix.shape, num_actions=num_actions)


def check_size(shape: tuple[int, ...], num_actions: int | None) -> None:
    """Raise `ValueError` unless it is the shape (S, S) of an operator's matrix, or (S*A, S) of a kernel's."""
    if not shape[1] or shape[0] != shape[1] * (num_actions or 1):
        allowed = "(S, S) for an operator; for a kernel, (S*A, S), say num_actions"
        if num_actions is not None:
            allowed = f"(S*{num_actions}, S) for a kernel of {num_actions} actions"
        raise ValueError(f"the matrix must have shape {allowed}, but has shape {tuple(shape)}")


def pull(matrix: BCOO, values: Float[Array, " columns"]) -> Float[Array, " rows"]:
    """M v. JAX's own product has a derivative in the entries that fails under vmap (JAX 0.10)."""
    row, column = matrix.indices[:, 0], matrix.indices[:, 1]
    return gather_scatter(matrix.data, row, column, values, matrix.shape[0], matrix.indices_sorted)


def push(matrix: BCOO, mass: Float[Array, " rows"]) -> Float[Array, " columns"]:
    """Return M^T m."""
    row, column = matrix.indices[:, 0], matrix.indices[:, 1]
    return gather_scatter(matrix.data, column, row, mass, matrix.shape[1])


@functools.partial(jax.jit, static_argnums=(4, 5))
def gather_scatter(
    data: Array, targets: Array, sources: Array, vector: Array, size: int, is_sorted: bool = False
) -> Array:
    """Sum data * vector[source] into out[target]; entries out of range are unused slots, and count for nothing."""
    terms = data * vector.at[sources].get(mode="fill", fill_value=0)
    return jnp.zeros(size, terms.dtype).at[targets].add(terms, mode="drop", indices_are_sorted=is_sorted)


_MANY = 10_000  # entries from which on laying them out by rows pays
_MOST_LENGTHS = 8  # of rows: each compiles a loop of its own


def known_rows(matrix: BCOO) -> Rows | None:
    """The rows of M where its entries are known, merged and many, and its rows of few lengths; else None."""
    places, data = concrete(matrix.indices), concrete(matrix.data)
    if places is None or data is None or matrix.nse < _MANY or not (matrix.indices_sorted and matrix.unique_indices):
        return None
    used = places[:, 0] < matrix.shape[0]
    row, column = places[used].T
    if np.count_nonzero(np.bincount(np.bincount(row, minlength=matrix.shape[0]))) > _MOST_LENGTHS:
        return None
    return constants(lambda: grouped(data[used], row, column, matrix.shape[0]))
