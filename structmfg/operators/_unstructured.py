"""Unstructured kernels: dense arrays and lists of successors. They hold any game, and check every structured form."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from typing_extensions import override

from structmfg._checks import as_array, as_floats, as_indices, check_rows, check_shape
from structmfg.operators._base import ROUNDING, Table, Vector
from structmfg.operators._kernel import TransitionKernel
from structmfg.operators._sparse import Successors


class DenseKernel(TransitionKernel):
    """P as a dense array, for small state spaces.

    Args:
        probabilities: P[s, a, s'] (S, A, S).
        checks: Whether to refuse rows that are not distributions.
    """

    probabilities: Float[Array, "states actions states"]

    def __init__(self, probabilities: Any, *, checks: bool = True) -> None:
        self.probabilities = as_floats("probabilities", probabilities)
        shape = self.probabilities.shape
        if len(shape) != 3 or shape[0] != shape[2] or 0 in shape:
            raise ValueError(
                f"probabilities must have shape (S, A, S), at least one state and one action, but have shape {shape}"
            )
        if checks:
            check_rows("probabilities", self.probabilities, least=-ROUNDING)

    @property
    @override
    def num_states(self) -> int:
        return int(self.probabilities.shape[0])

    @property
    @override
    def num_actions(self) -> int:
        return int(self.probabilities.shape[1])

    structure = "dense array"

    @override
    def expect(self, values: Vector) -> Table:
        return jnp.matmul(self.probabilities, values, precision="highest")

    @override
    def push(self, mass: Table) -> Vector:
        return jnp.einsum("sa,sat->t", mass, self.probabilities, precision="highest")

    @override
    def successors(self) -> Successors:
        return Successors(jnp.broadcast_to(jnp.arange(self.num_states), self.probabilities.shape), self.probabilities)


class SuccessorKernel(TransitionKernel):
    """P as lists of K successors of every state and action: gather to expect, scatter-add to push.

    Args:
        indices: The successors (S, A, K), whole numbers in 0..S-1.
        probabilities: Their probabilities (S, A, K). An unused place in a list names any state, with probability 0.
        checks: Whether to refuse indices out of range and lists whose probabilities are not a distribution.
    """

    indices: Int[Array, "states actions width"]
    probabilities: Float[Array, "states actions width"]

    def __init__(self, indices: Any, probabilities: Any, *, checks: bool = True) -> None:
        given = as_array("indices", indices)
        shape = tuple(given.shape)
        if len(shape) != 3 or 0 in shape:
            raise ValueError(f"indices must have shape (S, A, K), each at least 1, but have shape {shape}")
        states, room, hint = shape[0], shape[0] * shape[1], "; states are counted from 0"
        self.indices = as_indices("indices", given, last=states - 1, room=room, checks=checks, hint=hint)
        self.probabilities = as_floats("probabilities", probabilities)
        check_shape("probabilities", self.probabilities, shape)
        if checks:
            check_rows("probabilities", self.probabilities, least=-ROUNDING)

    @property
    @override
    def num_states(self) -> int:
        return int(self.indices.shape[0])

    @property
    @override
    def num_actions(self) -> int:
        return int(self.indices.shape[1])

    @property
    @override
    def structure(self) -> str:
        return f"list of {self.indices.shape[2]} successors of every state and action"

    @override
    def expect(self, values: Vector) -> Table:
        return jnp.sum(self.probabilities * values[self.indices], axis=-1)

    @override
    def push(self, mass: Table) -> Vector:
        contributions = mass[:, :, None] * self.probabilities
        return jnp.zeros(self.num_states, contributions.dtype).at[self.indices].add(contributions)

    @override
    def successors(self) -> Successors:
        return Successors(self.indices, self.probabilities)
