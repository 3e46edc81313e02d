"""Explicit operators: the one module that touches BCOO and BCSR.

The static number of stored elements must bound the number of distinct entries, or `sum_duplicates` drops some without
a word; `branching` of a kernel is that proven bound for a row.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jax.experimental import sparse
from jaxtyping import Array, Float

from structmfg._checks import as_indices, check_matrix, check_shape
from structmfg.operators._base import Successors, TransitionKernel, TransitionOperator


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


def from_scipy(matrix: scipy.sparse.csr_array) -> sparse.BCOO:
    """The same matrix in JAX, in its own dtype where JAX's precision allows."""
    matrix = matrix.copy()
    matrix.sum_duplicates()  # sorts, too
    rows, columns = matrix.tocoo().coords
    indices = jnp.stack([jnp.asarray(rows), jnp.asarray(columns)], axis=-1)
    return sparse.BCOO(
        (jnp.asarray(matrix.data), indices), shape=matrix.shape, indices_sorted=True, unique_indices=True
    )


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
    """A in explicit form: an (S, S) BCOO matrix."""

    matrix: sparse.BCOO

    def __init__(self, matrix: sparse.BCOO, *, checks: bool = True) -> None:
        self.matrix = matrix
        if checks and isinstance(matrix, sparse.BCOO):
            check_matrix(matrix.data, matrix.indices, matrix.shape)

    @property
    def num_states(self) -> int:
        """S."""
        return int(self.matrix.shape[-1])

    @property
    def structure(self) -> str:
        """None but sparsity."""
        return f"sparse matrix of {self.matrix.nse} stored entries"

    def mv(self, values: Float[Array, " states"]) -> Float[Array, " states"]:
        """A v."""
        check_shape("values", values, (self.num_states,))
        return self.matrix @ values

    def rmv(self, mass: Float[Array, " states"]) -> Float[Array, " states"]:
        """A^T mu."""
        check_shape("mass", mass, (self.num_states,))
        return mass @ self.matrix

    def as_bcoo(self) -> sparse.BCOO:
        """The matrix itself, merged and sorted."""
        return merged(self.matrix)

    def successors(self) -> Successors:
        """Every state in every row, (S, S): the dense matrix, for checks on small problems."""
        return _dense_successors(self.matrix.todense())


class CompressedOperator(TransitionOperator):
    """A in explicit form, as the compressed rows of A and, beside them, of A^T (both (S, S); see `compressed`).

    JAX has a native CPU product only for compressed rows that are not batched, and only with the matrix on the left:
    A^T mu is such a product if A^T is stored. It costs twice the memory of one form, and one more sort to build. For
    many vectors at once it is about twice as fast as `ExplicitOperator` (16 of them, JAX 0.10), for one vector 5 to 10
    times slower: the native product has no fast path for so few columns.
    """

    matrix: sparse.BCSR
    transposed: sparse.BCSR

    @property
    def num_states(self) -> int:
        """S."""
        return int(self.matrix.shape[-1])

    @property
    def structure(self) -> str:
        """None but sparsity."""
        return f"compressed rows of A and A^T, {self.matrix.nse} stored entries each"

    def mv(self, values: Float[Array, " states"]) -> Float[Array, " states"]:
        """A v."""
        check_shape("values", values, (self.num_states,))
        return self.matrix @ values

    def rmv(self, mass: Float[Array, " states"]) -> Float[Array, " states"]:
        """A^T mu."""
        check_shape("mass", mass, (self.num_states,))
        return self.transposed @ mass

    def as_bcoo(self) -> sparse.BCOO:
        """The matrix by coordinates."""
        rows = self.matrix.to_bcoo()
        return sparse.BCOO((rows.data, rows.indices), shape=rows.shape, indices_sorted=True, unique_indices=True)

    def as_bcsr(self) -> sparse.BCSR:
        """The compressed rows themselves."""
        return self.matrix

    def successors(self) -> Successors:
        """Every state in every row, (S, S): the dense matrix, for checks on small problems."""
        return _dense_successors(self.as_dense())


def compress(matrix: sparse.BCOO) -> CompressedOperator:
    """Compressed rows of a matrix without duplicates and of its transpose. Works inside jit."""
    return CompressedOperator(to_bcsr(matrix), to_bcsr(matrix.T.sort_indices()))


class ExplicitKernel(TransitionKernel):
    """P in explicit form: an (S*A, S) BCOO matrix whose row s*A + a is the distribution of the next state."""

    matrix: sparse.BCOO
    num_actions: int = eqx.field(static=True)

    def __init__(self, matrix: sparse.BCOO, num_actions: int, *, checks: bool = True) -> None:
        self.matrix, self.num_actions = matrix, num_actions
        if checks and isinstance(matrix, sparse.BCOO):
            check_matrix(matrix.data, matrix.indices, matrix.shape)

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
        return (self.matrix @ values).reshape(self.num_states, self.num_actions)

    def push(self, mass: Float[Array, "states actions"]) -> Float[Array, " states"]:
        """P^T m."""
        check_shape("mass", mass, (self.num_states, self.num_actions))
        return mass.reshape(-1) @ self.matrix

    def as_bcoo(self) -> sparse.BCOO:
        """The matrix itself."""
        return self.matrix

    def successors(self) -> Successors:
        """Every state in every row, (S, A, S): the dense array, for checks on small problems."""
        return _dense_successors(self.matrix.todense().reshape(self.num_states, self.num_actions, self.num_states))


def _dense_successors(probabilities: Float[Array, "*rows states"]) -> Successors:
    return Successors(jnp.broadcast_to(jnp.arange(probabilities.shape[-1]), probabilities.shape), probabilities)
