"""The law of motion of a game from arrays, by the state of the noise chain: dense, sparse, kernels, or a function."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jaxtyping import Array, Float, Int

from structmfg._checks import as_reals, brief
from structmfg.games._aggregate import AggregateState
from structmfg.operators import DenseKernel, TransitionKernel, from_scipy

TOLERANCE = 1e-5  # of the sum of a row
_FORMS = (
    "kernel must be an array (S, A, S), a sparse matrix (S*A, S), a TransitionKernel, or a function of the aggregate "
    "state; with a noise chain of Z states also an array (Z, S, A, S) or a list of Z matrices or kernels"
)


@dataclasses.dataclass(frozen=True, eq=False)
class Dense:
    """Arrays (Z, S, A, S), or (1, S, A, S) where all states of the noise have one."""

    probabilities: Float[np.ndarray, "noises states actions states"]

    @property
    def shape(self) -> tuple[int, int]:
        """S and A."""
        return self.probabilities.shape[1], self.probabilities.shape[2]

    def at(self, aggregate: AggregateState, index: Int[Array, ""]) -> TransitionKernel:
        """The kernel in a state of the noise."""
        return DenseKernel(picked(self.probabilities, index), checks=False)


@dataclasses.dataclass(frozen=True, eq=False)
class Sparse:
    """Sparse matrices (S * A, S) with their entries (Z, n), or (1, n), all in the same `places`, row by row."""

    entries: Float[np.ndarray, "noises entries"]
    places: scipy.sparse.csr_array
    shape: tuple[int, int]

    def at(self, aggregate: AggregateState, index: Int[Array, ""]) -> TransitionKernel:
        """The kernel in a state of the noise."""
        kernel = from_scipy(self.places, num_actions=self.shape[1], checks=False)
        return eqx.tree_at(lambda k: k.matrix.data, kernel, picked(self.entries, index))


@dataclasses.dataclass(frozen=True, eq=False)
class Kernels:
    """One kernel, or Z kernels that differ in their numbers only."""

    kernels: tuple[TransitionKernel, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """S and A."""
        return self.kernels[0].num_states, self.kernels[0].num_actions

    def at(self, aggregate: AggregateState, index: Int[Array, ""]) -> TransitionKernel:
        """The kernel in a state of the noise."""
        if len(self.kernels) == 1:
            return self.kernels[0]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves)[index], *self.kernels)


@dataclasses.dataclass(frozen=True, eq=False)
class Function:
    """A function of the aggregate state, which returns a kernel or an array (S, A, S)."""

    function: Callable[[AggregateState], Any]

    def at(self, aggregate: AggregateState, index: Int[Array, ""]) -> TransitionKernel:
        """The kernel at an aggregate state."""
        returned = self.function(aggregate)
        return returned if isinstance(returned, TransitionKernel) else DenseKernel(returned, checks=False)


Law = Dense | Sparse | Kernels | Function


def picked(arrays: np.ndarray, index: Int[Array, ""]) -> Array:
    """The array of a state of the noise; the one that there is where all states have the same."""
    return jnp.asarray(arrays[0], float) if len(arrays) == 1 else jnp.asarray(arrays, float)[index]


def law_of(kernel: Any, num_noises: int | None) -> Law:
    """The law of motion that was given, with its rows checked as far as they are known.

    Args:
        kernel: What `from_arrays` was given.
        num_noises: The number of states of the noise chain, if there is one.

    Raises:
        ValueError: If it is none of the forms, or a row, which is named, is not a distribution.
    """
    if isinstance(kernel, TransitionKernel):
        return _of_kernels([kernel])
    if _is_sparse(kernel):
        return _of_matrices([kernel])
    if isinstance(kernel, Sequence) and kernel and all(isinstance(each, TransitionKernel) for each in kernel):
        check_count("kernel", len(kernel), num_noises)
        return _of_kernels(list(kernel))
    if isinstance(kernel, Sequence) and kernel and all(map(_is_sparse, kernel)):
        check_count("kernel", len(kernel), num_noises)
        return _of_matrices(list(kernel))
    if callable(kernel):
        return Function(kernel)
    if kernel is None or isinstance(kernel, str | dict):
        raise ValueError(f"{_FORMS}; but is {brief(kernel)}")
    return _of_array(np.array(as_reals("kernel", kernel) if isinstance(kernel, Sequence) else kernel), num_noises)


def check_count(name: str, count: int, num_noises: int | None) -> None:
    """Check that there is one table for each state of the noise.

    Raises:
        ValueError: If there is not.
    """
    if num_noises is None:
        raise ValueError(f"{name} has {count} tables, one for each state of a noise chain: say noise=NoiseChain(...)")
    if count != num_noises:
        raise ValueError(f"{name} must have a table for each of the {num_noises} states of the noise, but has {count}")


def _is_sparse(matrix: Any) -> bool:
    return scipy.sparse.issparse(matrix) or hasattr(matrix, "n_sparse")


def _of_array(array: np.ndarray, num_noises: int | None) -> Dense:
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{_FORMS}; but is an array of {array.dtype}")
    if array.ndim not in (3, 4) or array.shape[-1] != array.shape[-3] or 0 in array.shape:
        raise ValueError(f"{_FORMS}; but is an array of shape {array.shape}")
    if array.ndim == 4:
        check_count("kernel", len(array), num_noises)
    by_noise = array.astype(float).reshape(-1, *array.shape[-3:])
    with np.errstate(invalid="ignore"):
        sums = by_noise.sum(-1)
        good = (by_noise >= 0).all(-1) & (np.abs(sums - 1) <= TOLERANCE)
    if not good.all():
        noise, state, action = map(int, np.argwhere(~good)[0])
        where = f" and state {noise} of the noise" if array.ndim == 4 else ""
        row = ", ".join(f"{entry:g}" for entry in by_noise[noise, state, action, :8])
        raise ValueError(
            f"kernel must have nonnegative rows that sum to 1 within {TOLERANCE:g}, but in state {state} under action "
            f"{action}{where} it is [{row}{', ...' if by_noise.shape[-1] > 8 else ''}], with sum "
            f"{sums[noise, state, action]:.8g}"
        )
    return Dense(by_noise)


def _of_kernels(kernels: list[TransitionKernel]) -> Kernels:
    for kernel in kernels:
        kernel.validate(tolerance=TOLERANCE)
    shapes = [jax.tree.map(jnp.shape, kernel) for kernel in kernels]
    kinds = [str(jax.tree.structure(kernel)) for kernel in kernels]
    if len(set(kinds)) > 1 or any(shape != shapes[0] for shape in shapes):
        raise ValueError(
            "kernels for the states of the noise must be of one kind and differ in their numbers only; give a function "
            "of the aggregate state instead"
        )
    return Kernels(tuple(kernels))


def _of_matrices(matrices: list[Any]) -> Sparse:
    """Matrices with the places of any of them as places of all."""
    found = []
    for matrix in matrices:
        shape = tuple(matrix.shape)
        if len(shape) != 2 or not shape[1] or shape[0] % shape[1] or not shape[0]:
            raise ValueError(f"{_FORMS}; but a matrix has shape {shape}")
        kernel = from_scipy(matrix, num_actions=shape[0] // shape[1])
        found.append((kernel.num_states, kernel.num_actions))
    if len(set(found)) > 1:
        raise ValueError(f"the matrices of kernel must have the same states and actions, but have {found}")
    listed = [_entries(matrix) for matrix in matrices]
    place = np.unique(np.concatenate([places for places, _ in listed]))
    entries = np.zeros((len(listed), len(place)))
    for row, (places, values) in zip(entries, listed, strict=True):
        np.add.at(row, np.searchsorted(place, places), values)
    states, actions = found[0]
    pattern = scipy.sparse.csr_array((np.ones(len(place)), divmod(place, states)), shape=(states * actions, states))
    return Sparse(entries, pattern, found[0])


def _entries(matrix: Any) -> tuple[Int[np.ndarray, " entries"], Float[np.ndarray, " entries"]]:
    """The places of a matrix's entries, row by row, and the entries in double precision."""
    if hasattr(matrix, "n_sparse"):
        matrix = matrix if hasattr(matrix, "indptr") is False else matrix.to_bcoo()
        values, (row, column) = np.asarray(matrix.data), np.asarray(matrix.indices).T
        used = (row < matrix.shape[0]) & (column < matrix.shape[1])
        row, column, values = row[used], column[used], values[used]
    else:
        coordinates = matrix.tocoo()
        row, column, values = coordinates.row, coordinates.col, coordinates.data
    return row.astype(np.int64) * matrix.shape[1] + column, values.astype(float)
