"""Explicit operators: the one module that touches BCOO and BCSR.

The static number of stored elements must bound the number of distinct entries, or `sum_duplicates` drops some without
a word; `branching` of a kernel is that proven bound for a row.
"""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jax.experimental import sparse
from jaxtyping import Array, Float

from structmfg._checks import as_indices, check_integer, check_matrix, check_shape, concrete
from structmfg.operators._base import Successors, TransitionKernel, TransitionOperator
from structmfg.operators._rows import Rows, grouped, padded


def assemble(successors: Successors, num_states: int, *, row_bound: int) -> sparse.BCOO:
    """The matrix of a list of successors, (S, K) or (S, A, K), with one row for each leading index.

    Duplicates are merged and indices sorted; entries that happen to be zero stay, or their gradient would be lost.
    `row_bound` bounds the distinct successors in a row; the static nse is rows * min(row_bound, K, S). Unused slots
    carry zero at an index out of range, as JAX has it.
    """
    width = successors.indices.shape[-1]
    count = int(np.prod(successors.indices.shape[:-1]))
    # A kernel of one's own may list its successors in a type that does not count all rows.
    columns = as_indices("successors", successors.indices, last=num_states, room=count, checks=False)
    columns = columns.reshape(-1, width)
    rows = jnp.broadcast_to(jnp.arange(columns.shape[0], dtype=columns.dtype)[:, None], columns.shape)
    indices = jnp.stack([rows.ravel(), columns.ravel()], axis=-1)
    shape = (columns.shape[0], num_states)
    matrix = sparse.BCOO((successors.probabilities.ravel(), indices), shape=shape)
    return matrix.sum_duplicates(nse=columns.shape[0] * min(row_bound, width, num_states), remove_zeros=False)


def filled(matrix: sparse.BCOO) -> Float[Array, "rows columns"]:
    """The dense matrix. JAX's own `todense` has a derivative in the entries that fails under vmap (JAX 0.10)."""
    row, column = matrix.indices[:, 0], matrix.indices[:, 1]
    return jnp.zeros(matrix.shape, matrix.dtype).at[row, column].add(matrix.data, mode="drop")


def to_bcsr(matrix: sparse.BCOO) -> sparse.BCSR:
    """Compressed rows of a matrix without duplicates; unused slots fall behind the last row."""
    rows = sparse.BCSR.from_bcoo(matrix)
    # JAX drops what it knows of the indices on the way.
    return sparse.BCSR(
        (rows.data, rows.indices, rows.indptr), shape=rows.shape, indices_sorted=True, unique_indices=True
    )


def merged(matrix: sparse.BCOO) -> sparse.BCOO:
    """The matrix with duplicates merged and indices sorted; itself where its flags say that it is so already."""
    if matrix.indices_sorted and matrix.unique_indices:
        return matrix
    return matrix.sum_duplicates(nse=matrix.nse, remove_zeros=False)


def from_csr(matrix: scipy.sparse.csr_array) -> sparse.BCOO:
    """The same matrix in JAX, in its own dtype where JAX's precision allows."""
    matrix = matrix.copy()
    matrix.sum_duplicates()  # sorts, too
    rows, columns = matrix.tocoo().coords
    indices = jnp.stack([jnp.asarray(rows), jnp.asarray(columns)], axis=-1)
    return sparse.BCOO(
        (jnp.asarray(matrix.data), indices), shape=matrix.shape, indices_sorted=True, unique_indices=True
    )


def as_csr(matrix: Any) -> scipy.sparse.csr_array:
    """A copy in SciPy of a matrix of SciPy, NumPy or JAX with known values, floating-point, duplicates summed."""
    if isinstance(matrix, sparse.BCOO | sparse.BCSR) and not (matrix.n_batch or matrix.n_dense):
        matrix = matrix.to_bcoo() if isinstance(matrix, sparse.BCSR) else matrix
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


def to_scipy(matrix: sparse.BCOO) -> scipy.sparse.csr_array:
    """The same matrix in SciPy, without JAX's unused slots and zeros."""
    data, indices = np.asarray(matrix.data), np.asarray(matrix.indices)
    used = (indices[:, 0] < matrix.shape[0]) & (data != 0)
    return scipy.sparse.csr_array((data[used], (indices[used, 0], indices[used, 1])), shape=matrix.shape)


def to_linear_operator(operator: TransitionOperator) -> scipy.sparse.linalg.LinearOperator:
    """SciPy's matrix-free form: matvec is A v, rmatvec is A^T mu."""
    dtype = np.asarray(operator.mv(jnp.zeros(operator.num_states))).dtype
    return scipy.sparse.linalg.LinearOperator(
        shape=(operator.num_states, operator.num_states),
        matvec=lambda v: np.asarray(operator.mv(jnp.asarray(v.reshape(-1), dtype))),
        rmatvec=lambda m: np.asarray(operator.rmv(jnp.asarray(m.reshape(-1), dtype))),
        dtype=dtype,
    )


class ExplicitOperator(TransitionOperator):
    """A in explicit form: an (S, S) BCOO matrix. `from_scipy` takes matrices of other kinds.

    Where the entries are known and many, the first product A v lays them out by rows, for those after it.
    """

    matrix: sparse.BCOO

    def __init__(self, matrix: sparse.BCOO, *, checks: bool = True) -> None:
        _check_matrix(matrix)
        rows, columns = matrix.shape
        if rows != columns:
            raise ValueError(f"the matrix of an operator must be square, (S, S), but has shape {(rows, columns)}")
        if checks:
            check_matrix(matrix.data, matrix.indices, matrix.shape)
        self.matrix = matrix

    @property
    def num_states(self) -> int:
        """S."""
        return int(self.matrix.shape[-1])

    @property
    def dtype(self) -> np.dtype:
        """Of the entries."""
        return np.dtype(self.matrix.dtype)

    @property
    def structure(self) -> str:
        """None but sparsity."""
        return f"sparse matrix of {self.matrix.nse} stored entries"

    def mv(self, values: Float[Array, " states"]) -> Float[Array, " states"]:
        """A v."""
        check_shape("values", values, (self.num_states,))
        return pulled(self.matrix, values) if self._rows is None else self._rows @ values

    def rmv(self, mass: Float[Array, " states"]) -> Float[Array, " states"]:
        """A^T mu."""
        check_shape("mass", mass, (self.num_states,))
        return pushed(self.matrix, mass)

    @functools.cached_property
    def _rows(self) -> Rows | None:
        return _known_rows(self.matrix)

    def as_bcoo(self) -> sparse.BCOO:
        """The matrix itself, merged and sorted."""
        return merged(self.matrix)

    def successors(self) -> Successors:
        """Every state in every row, (S, S): the dense matrix, for checks on small problems."""
        return _dense_successors(filled(self.matrix))


class CompressedOperator(TransitionOperator):
    """A in explicit form, for the fastest products on CPU: the entries of every row of A and, beside them, of A^T.

    Rows with equally many entries lie side by side, so that no product needs a scatter (see `operators._rows`): on one
    core, one with a vector takes about as long as SciPy's, where `ExplicitOperator` takes 5 to 10 times as long. It
    needs twice the memory of one form, and two sorts to build.

    Built inside jit, where rows cannot be counted, it has room for `branching` entries in each row of A, and does
    without A^T: `columns` is None, and A^T mu is a scatter.
    """

    rows: Rows
    columns: Rows | None
    num_states: int = eqx.field(static=True)

    @property
    def dtype(self) -> np.dtype:
        """Of the entries."""
        return np.dtype(jnp.result_type(*(data.dtype for data in self.rows.data if data is not None)))

    @property
    def structure(self) -> str:
        """None but sparsity."""
        stored = sum(columns.size for columns in self.rows.columns)
        return f"rows of A{'' if self.columns is None else ' and A^T'} by their length, {stored} stored entries each"

    def mv(self, values: Float[Array, " states"]) -> Float[Array, " states"]:
        """A v."""
        check_shape("values", values, (self.num_states,))
        return self.rows @ values

    def rmv(self, mass: Float[Array, " states"]) -> Float[Array, " states"]:
        """A^T mu."""
        check_shape("mass", mass, (self.num_states,))
        if self.columns is not None:
            return self.columns @ mass
        data, row, column = self.rows.entries()
        return _scattered(data, column, row, mass, self.num_states)

    def as_bcoo(self) -> sparse.BCOO:
        """The matrix by coordinates, merged and sorted."""
        data, row, column = self.rows.entries()
        shape = (self.num_states, self.num_states)
        return merged(sparse.BCOO((data, jnp.stack([row, column], axis=-1)), shape=shape))

    def successors(self) -> Successors:
        """Every state in every row, (S, S): the dense matrix, for checks on small problems."""
        return _dense_successors(self.as_dense())


def compress(matrix: sparse.BCOO, *, row_bound: int) -> CompressedOperator:
    """The rows of an (S, S) matrix without duplicates, at most `row_bound` entries each, and of its transpose.

    Works inside jit.
    """
    size, places = matrix.shape[0], concrete(matrix.indices)
    if places is None:
        row, column = matrix.indices.T
        return CompressedOperator(padded(matrix.data, row, column, size, row_bound), None, size)
    used = places[:, 0] < size
    row, column = places[used].T
    known = concrete(matrix.data)
    data: Any = (matrix.data if known is None else known)[np.flatnonzero(used)]
    return CompressedOperator(grouped(data, row, column, size), grouped(data, column, row, size), size)


class ExplicitKernel(TransitionKernel):
    """P in explicit form: an (S*A, S) BCOO matrix whose row s*A + a is the distribution of the next state.

    `from_scipy` takes matrices of other kinds.
    """

    matrix: sparse.BCOO
    num_actions: int = eqx.field(static=True)

    def __init__(self, matrix: sparse.BCOO, num_actions: int, *, checks: bool = True) -> None:
        _check_matrix(matrix)
        check_integer("num_actions", num_actions, at_least=1)
        rows, columns = matrix.shape
        if rows != columns * num_actions:
            raise ValueError(
                f"the matrix of a kernel with {num_actions} actions must have shape (S*{num_actions}, S), "
                f"but has shape {(rows, columns)}"
            )
        if checks:
            check_matrix(matrix.data, matrix.indices, matrix.shape)
        self.matrix, self.num_actions = matrix, num_actions

    @property
    def num_states(self) -> int:
        """S."""
        return int(self.matrix.shape[-1])

    @property
    def structure(self) -> str:
        """None but sparsity."""
        return f"sparse matrix of {self.matrix.nse} stored entries"

    def expect(self, values: Float[Array, " states"]) -> Float[Array, "states actions"]:
        """P v."""
        check_shape("values", values, (self.num_states,))
        return pulled(self.matrix, values).reshape(self.num_states, self.num_actions)

    def push(self, mass: Float[Array, "states actions"]) -> Float[Array, " states"]:
        """P^T m."""
        check_shape("mass", mass, (self.num_states, self.num_actions))
        return pushed(self.matrix, mass.reshape(-1))

    def as_bcoo(self) -> sparse.BCOO:
        """The matrix itself."""
        return self.matrix

    def successors(self) -> Successors:
        """Every state in every row, (S, A, S): the dense array, for checks on small problems."""
        return _dense_successors(filled(self.matrix).reshape(self.num_states, self.num_actions, self.num_states))


def _check_matrix(matrix: Any) -> None:
    """Raise `ValueError` unless it is a BCOO matrix of real numbers, without batch or dense dimensions."""
    if not isinstance(matrix, sparse.BCOO):
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


def pulled(matrix: sparse.BCOO, values: Float[Array, " columns"]) -> Float[Array, " rows"]:
    """M v. JAX's own product has a derivative in the entries that fails under vmap (JAX 0.10)."""
    row, column = matrix.indices[:, 0], matrix.indices[:, 1]
    return _scattered(matrix.data, row, column, values, matrix.shape[0], matrix.indices_sorted)


def pushed(matrix: sparse.BCOO, mass: Float[Array, " rows"]) -> Float[Array, " columns"]:
    """M^T m."""
    row, column = matrix.indices[:, 0], matrix.indices[:, 1]
    return _scattered(matrix.data, column, row, mass, matrix.shape[1])


@functools.partial(jax.jit, static_argnums=(4, 5))
def _scattered(data: Array, targets: Array, sources: Array, vector: Array, size: int, is_sorted: bool = False) -> Array:
    """Out[target] = sum of data * vector[source]; entries out of range are unused slots, and count for nothing."""
    terms = data * vector.at[sources].get(mode="fill", fill_value=0)
    return jnp.zeros(size, terms.dtype).at[targets].add(terms, mode="drop", indices_are_sorted=is_sorted)


_MANY = 10_000  # entries from which on laying them out by rows pays
_MOST_LENGTHS = 8  # of rows: each compiles a loop of its own


def _known_rows(matrix: sparse.BCOO) -> Rows | None:
    """The rows of M where its entries are known, merged and many, and its rows of few lengths; else None."""
    places, data = concrete(matrix.indices), concrete(matrix.data)
    if places is None or data is None or matrix.nse < _MANY or not (matrix.indices_sorted and matrix.unique_indices):
        return None
    used = places[:, 0] < matrix.shape[0]
    row, column = places[used].T
    if np.count_nonzero(np.bincount(np.bincount(row, minlength=matrix.shape[0]))) > _MOST_LENGTHS:
        return None
    with jax.ensure_compile_time_eval():
        return grouped(data[used], row, column, matrix.shape[0])


def _dense_successors(probabilities: Float[Array, "*rows states"]) -> Successors:
    return Successors(jnp.broadcast_to(jnp.arange(probabilities.shape[-1]), probabilities.shape), probabilities)
