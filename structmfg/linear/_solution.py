"""What a linear solve returns, and the ways it can end; operators as SciPy's matrices in double precision."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jaxtyping import Array, Bool, Float

from structmfg.operators import TransitionOperator


class LINEAR_RESULTS(eqx.Enumeration):  # noqa: N801 (as lineax and optimistix name theirs)
    """How a linear solve ended, also as a traced value; `LINEAR_RESULTS[result]` is the whole message.

    Linear solves run inside `jit`, so that their results are arrays; all other solves end on the host, with `RESULTS`.
    """

    converged = "The error of the value is proven to be within the tolerance."
    residual = "The residual is within the tolerance; the error of the value is not known."
    max_steps = "The step limit was reached before the tolerance; the value is the one reached."
    precision = "The error could not be shown to be within the tolerance: rounding, or a breakdown of the method."
    not_unique = "There are several closed classes: the value is stationary, and so is one for each other class."
    nonfinite = "The data or the value is not finite."


def where(condition: Any, then: Any, otherwise: Any) -> LINEAR_RESULTS:
    """One of two members, as a traced value; type checkers take a member for its message."""
    return LINEAR_RESULTS.where(condition, then, otherwise)


class LinearSolution(eqx.Module):
    """`value` (S,) or (S, m); `result`, a member of `LINEAR_RESULTS`; `stats`: see the function that solved."""

    value: Float[Array, " states *columns"]
    result: LINEAR_RESULTS
    stats: dict[str, Any]

    @property
    def succeeded(self) -> Bool[Array, ""]:
        """Whether the error of `value` is proven to be within the tolerance."""
        return jnp.asarray(self.result == LINEAR_RESULTS.converged)


def is_traced(tree: Any) -> bool:
    """Whether any array is still being traced."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def in_double(operator: TransitionOperator) -> TransitionOperator:
    """The operator with its numbers in double precision; call it, and what it returns, under `jax.enable_x64`."""

    def wider(leaf: Any) -> Any:
        if not eqx.is_inexact_array_like(leaf) or isinstance(leaf, float):
            return leaf
        return jnp.asarray(np.asarray(leaf).astype(np.float64))

    return jax.tree.map(wider, operator)


def as_matrix(operator: TransitionOperator) -> scipy.sparse.csr_array:
    """The (S, S) matrix of concrete numbers, made up in double precision; zeros are not stored."""
    with jax.enable_x64(True):
        operator = in_double(operator)
        if type(operator).as_bcoo is not TransitionOperator.as_bcoo:  # it holds a matrix
            return operator.as_scipy().astype(np.float64)
        columns, probabilities = map(np.array, operator.successors())
    size = operator.num_states
    starts = np.arange(size + 1) * columns.shape[1]
    matrix = scipy.sparse.csr_array((probabilities.ravel(), columns.ravel(), starts), shape=(size, size))
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix


def dtype_of(operator: TransitionOperator) -> np.dtype:
    """The least precise floating-point type among the operator's numbers; JAX's default where it has none."""
    kinds = [leaf.dtype for leaf in jax.tree.leaves(operator) if eqx.is_inexact_array(leaf)]
    return np.dtype(min(kinds, key=lambda kind: -float(jnp.finfo(kind).eps), default=jnp.zeros(()).dtype))


def terms_of(operator: TransitionOperator) -> int:
    """A bound on the terms that are added up in a row of A v."""
    if type(operator).as_bcoo is TransitionOperator.as_bcoo:
        return operator.branching
    matrix = operator.as_bcoo()
    if is_traced(matrix.indices):
        return operator.num_states
    return int(np.bincount(np.asarray(matrix.indices)[:, 0]).max(initial=1))
