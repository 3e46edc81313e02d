"""Sums over the entries of each row of a sparse matrix, without a scatter: rows of equal length are summed together.

A matrix by coordinates needs a scatter-add to sum up the products of its entries with a vector, and a scatter is slow
on CPU. Rows with K entries each need none: entry k of all of them is one vector, and the K products of such vectors are
added up in one loop, which reads the vector in its indexed places. So rows are grouped by their number of entries. A
row with more than `_WIDEST` is cut into pieces of at most so many, and the sums of its pieces are summed in turn.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

_WIDEST = 32  # no loop adds up more products than this


class Rows(eqx.Module):
    """A sparse matrix M (R, C) by groups of rows, each with its number K of entries in a row.

    - `data`, `columns`: of every group, (K, rows in the group): entry k of every row, and its column.
    - `order` (R,): where a row stands when the groups are laid one after another; None where in its own place.
    - `pieces`: where rows are cut, the matrix (R, number of pieces) that sums the pieces up, and `order` is None.

    `data` is None where all entries are one.
    """

    data: tuple[Float[Array, "_ _"] | None, ...]
    columns: tuple[Int[Array, "_ _"], ...]
    order: Int[Array, " rows"] | None = None
    pieces: "Rows | None" = None

    def __matmul__(self, vector: Float[Array, "columns *more"]) -> Float[Array, "rows *more"]:
        """M v, or M V for a block of vectors (C, k)."""
        return _product(self, vector)

    @property
    def size(self) -> int:
        """The number of stored entries."""
        return sum(columns.size for columns in self.columns)

    @property
    def dtype(self) -> np.dtype:
        """The type of the entries."""
        return np.dtype(jnp.result_type(*(data.dtype for data in self.data if data is not None)))

    def entries(self) -> tuple[Float[Array, " nse"], Int[Array, " nse"], Int[Array, " nse"]]:
        """List all entries, as (data, row, column), in no order."""
        rows, start = self._row_of_places(), 0
        parts = []
        for data, columns in zip(self.data, self.columns, strict=True):
            count = columns.shape[1]
            row = jnp.broadcast_to(rows[start : start + count], columns.shape)
            parts.append((jnp.ones(columns.shape) if data is None else data, row, columns))
            start += count
        data, row, column = (jnp.concatenate([x.ravel() for x in part]) for part in zip(*parts, strict=True))
        return data, row, column

    def _row_of_places(self) -> Int[Array, " places"]:
        """The row that each place of the groups, laid one after another, belongs to."""
        count = sum(columns.shape[1] for columns in self.columns)
        if self.pieces is not None:
            _, row, place = self.pieces.entries()
            return jnp.zeros(count, row.dtype).at[place].set(row)
        places = jnp.arange(count, dtype=jnp.int32)
        return places if self.order is None else jnp.zeros_like(places).at[self.order].set(places)


@jax.jit
def _product(matrix: Rows, vector: Float[Array, "columns *more"]) -> Float[Array, "rows *more"]:
    parts = [_sums(data, columns, vector) for data, columns in zip(matrix.data, matrix.columns, strict=True)]
    sums = jnp.concatenate(parts) if len(parts) > 1 else parts[0]
    if matrix.pieces is not None:
        return matrix.pieces @ sums
    return sums if matrix.order is None else sums.at[matrix.order].get(mode="promise_in_bounds")


def _sums(data: Array | None, columns: Int[Array, "entries rows"], vector: Array) -> Array:
    """The sum of every row of one group."""
    count, rows = columns.shape
    if not count:
        dtype = vector.dtype if data is None else jnp.result_type(data, vector)
        return jnp.zeros((rows, *vector.shape[1:]), dtype)
    total: Any = 0
    # `split`, as the derivative of slices would be a sum of as many arrays as there are slices.
    slots = [None] * count if data is None else lax.split(data, (1,) * count)
    for weight, places in zip(slots, lax.split(columns, (1,) * count), strict=True):
        term = vector.at[places[0]].get(mode="promise_in_bounds")
        if weight is not None:
            term = weight[0].reshape(rows, *[1] * (vector.ndim - 1)) * term
        total = total + term
    return total


def grouped(data: Any, rows: np.ndarray, columns: np.ndarray, num_rows: int) -> Rows:
    """The matrix of entries with known places, in any order, no place named twice; `data` may be traced, or None."""
    order = np.argsort(rows, kind="stable") if (np.diff(rows) < 0).any() else slice(None)
    rows, columns = rows[order], columns[order]
    data = data if data is None or isinstance(order, slice) else data[order]
    counts = np.bincount(rows, minlength=num_rows)
    if counts.max(initial=0) <= _WIDEST:
        return _by_length(data, columns, counts)[0]
    starts = np.cumsum(counts) - counts
    pieces = -(-counts // _WIDEST)
    piece = (np.cumsum(pieces) - pieces)[rows] + (np.arange(rows.size) - starts[rows]) // _WIDEST
    first, place = _by_length(data, columns, np.bincount(piece))
    whole = grouped(None, np.repeat(np.arange(num_rows), pieces), place, num_rows)
    return Rows(first.data, first.columns, None, whole)


def _by_length(data: Any, columns: np.ndarray, counts: np.ndarray) -> tuple[Rows, np.ndarray]:
    """Groups of rows of `counts` entries, which follow each other; and the place of every row in them."""
    starts, groups = np.cumsum(counts) - counts, []
    lengths = np.flatnonzero(np.bincount(counts)) if counts.size else np.zeros(1, int)
    for length in lengths:
        member = np.flatnonzero(counts == length)
        at = starts[member] + np.arange(length)[:, None]
        entries = None if data is None else jnp.asarray(data[at])
        groups.append((member, entries, jnp.asarray(columns[at].astype(np.int32))))
    members, entries_of, columns_of = zip(*groups, strict=True)
    place = np.empty(counts.size, np.int32)
    place[np.concatenate(members)] = np.arange(counts.size, dtype=np.int32)
    order = None if len(members) == 1 else jnp.asarray(place)
    return Rows(tuple(entries_of), tuple(columns_of), order), place


def padded(data: Array, rows: Int[Array, " nse"], columns: Int[Array, " nse"], num_rows: int, width: int) -> Rows:
    """The matrix of sorted entries whose places may be traced, with at most `width` in a row: one group, of all rows.

    Entries of rows beyond the last are dropped. A slot that is left names the first column of its row, with weight 0.
    """
    counts = jnp.zeros(num_rows, jnp.int32).at[rows].add(1, mode="drop")
    starts = jnp.cumsum(counts) - counts
    slots = jnp.arange(rows.shape[0], dtype=jnp.int32) - starts[jnp.minimum(rows, num_rows - 1)]
    shape = (width, num_rows)
    first = columns[jnp.minimum(starts, rows.shape[0] - 1)].astype(jnp.int32)
    first = jnp.where(counts > 0, first, 0)
    filled = jnp.broadcast_to(first, shape).at[slots, rows].set(columns.astype(jnp.int32), mode="drop")
    return Rows((jnp.zeros(shape, data.dtype).at[slots, rows].set(data, mode="drop"),), (filled,))
