"""Kernels and matrices of which every device has the rows of its own states, wherever they lead.

Expected values take the values of all states, which are gathered: a device holds S numbers for a while, and receives
S (P - 1) / P of them. Mass may arrive in all states: what all devices send is summed up and parted, at the same cost.
"""

import functools
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from structmfg._checks import concrete
from structmfg.operators import DenseKernel, LotteryKernel, SuccessorKernel


class Entries(eqx.Module):
    """The entries of a sparse matrix, (S A, S) of a kernel or (S, S) of an operator, by device.

    Args:
        data: P times as many places as the device with the most entries needs; unused ones have a row out of range.
        row: The number of the row within the rows of its device.
        column: The number of the column in the whole matrix.
        rows_of_state: A of a kernel; None of an operator.
    """

    data: Float[Array, " places"]
    row: Int[Array, " places"]
    column: Int[Array, " places"]
    rows_of_state: int | None = eqx.field(static=True)


def spread_entries(matrix: Any, devices: int, rows_of_state: int | None) -> Entries:
    """The entries of a BCOO matrix, (S A, S) or (S, S), with known places, by device; its values may be traced.

    Raises:
        ValueError: The places of its entries are traced, so that they cannot be counted.
    """
    places = concrete(matrix.indices)
    if places is None:
        raise ValueError(
            "the places of a sparse matrix must be known to be spread over devices, but are traced; inside jit, spread "
            "the kernel itself, or a SuccessorKernel of its successors()"
        )
    rows = matrix.shape[0] // devices  # of a device
    used = np.flatnonzero(places[:, 0] < matrix.shape[0])
    device, row = np.divmod(places[used, 0], rows)
    order = np.argsort(device, kind="stable")
    counts = np.bincount(device, minlength=devices)
    width, starts = max(1, int(counts.max())), np.cumsum(counts) - counts
    slot = device[order] * width + np.arange(used.size) - starts[device[order]]
    own_row, column = np.full(devices * width, rows, np.int32), np.zeros(devices * width, np.int32)
    own_row[slot], column[slot] = row[order], places[used[order], 1]
    data = jnp.zeros(devices * width, matrix.dtype).at[slot].set(matrix.data[used[order]])
    return Entries(data, jnp.asarray(own_row), jnp.asarray(column), rows_of_state)


@functools.singledispatch
def expect_rows(law: Any, values: Float[Array, " states"], first: Int[Array, ""], size: int) -> Array:
    """The expected values (n, A), of an operator (n,), of n states from `first` on, given the values of all states."""
    raise NotImplementedError(type(law).__name__)  # `spread` refuses such a law, by name, before it comes here


@functools.singledispatch
def push_rows(law: Any, mass: Array, first: Int[Array, ""], num_states: int) -> Float[Array, " states"]:
    """What arrives in all states from the mass (n, A), of an operator (n,), of n states from `first` on."""
    raise NotImplementedError(type(law).__name__)  # `spread` refuses such a law, by name, before it comes here


@expect_rows.register
def _(law: SuccessorKernel, values: Float[Array, " states"], first: Int[Array, ""], size: int) -> Array:
    return jnp.sum(law.probabilities * values[law.indices], axis=-1)


@push_rows.register
def _(law: SuccessorKernel, mass: Array, first: Int[Array, ""], num_states: int) -> Array:
    sent = mass[:, :, None] * law.probabilities
    return jnp.zeros(num_states, sent.dtype).at[law.indices].add(sent)


@expect_rows.register
def _(law: DenseKernel, values: Float[Array, " states"], first: Int[Array, ""], size: int) -> Array:
    return jnp.matmul(law.probabilities, values, precision="highest")


@push_rows.register
def _(law: DenseKernel, mass: Array, first: Int[Array, ""], num_states: int) -> Array:
    return jnp.einsum("sa,sat->t", mass, law.probabilities, precision="highest")


def _lower(law: LotteryKernel, first: Int[Array, ""], num_states: int) -> tuple[Int[Array, "rows actions"], int]:
    """The lower of the two successors of every row, and how many states the upper one lies above it."""
    inner = num_states // law.num_outer
    own = (first + jnp.arange(law.index.shape[0])) % inner
    return law.index * inner + own[:, None], inner


@expect_rows.register
def _(law: LotteryKernel, values: Float[Array, " states"], first: Int[Array, ""], size: int) -> Array:
    lower, inner = _lower(law, first, values.shape[0])
    left = values[lower]
    return left + law.weight * (values[lower + inner] - left)


@push_rows.register
def _(law: LotteryKernel, mass: Array, first: Int[Array, ""], num_states: int) -> Array:
    lower, inner = _lower(law, first, num_states)
    up = mass * law.weight
    return jnp.zeros(num_states, up.dtype).at[lower].add(mass - up).at[lower + inner].add(up)


@expect_rows.register
def _(law: Entries, values: Float[Array, " states"], first: Int[Array, ""], size: int) -> Array:
    terms = law.data * values[law.column]
    sums = jnp.zeros(size * (law.rows_of_state or 1), terms.dtype).at[law.row].add(terms, mode="drop")
    return sums if law.rows_of_state is None else sums.reshape(size, law.rows_of_state)


@push_rows.register
def _(law: Entries, mass: Array, first: Int[Array, ""], num_states: int) -> Array:
    sent = law.data * mass.reshape(-1).at[law.row].get(mode="fill", fill_value=0)
    return jnp.zeros(num_states, sent.dtype).at[law.column].add(sent)
