"""What a linear solve returns, and the ways it can end."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class LINEAR_RESULTS(eqx.Enumeration):  # noqa: N801 (as lineax and optimistix name theirs)
    """How a linear solve ended, also as a traced value; `LINEAR_RESULTS[result]` is the whole message."""

    converged = "The residual is within the tolerance."
    max_steps = "The step limit was reached before the tolerance; the value is the one reached."
    precision = "The residual stopped falling above the tolerance, at rounding or a breakdown of the method."
    not_unique = "There are several closed classes: the value is stationary, and so is one for each other class."
    nonfinite = "The data or the value is not finite."
    residual = "The residual is within the tolerance; the error of the value is not known."


def where(condition: Any, then: Any, otherwise: Any) -> LINEAR_RESULTS:
    """One of two members, as a traced value; type checkers take a member for its message."""
    return LINEAR_RESULTS.where(condition, then, otherwise)


class LinearSolution(eqx.Module):
    """`value` (S,); `result`, a member of `LINEAR_RESULTS`; `stats`: see the function that solved."""

    value: Float[Array, " states"]
    result: LINEAR_RESULTS
    stats: dict[str, Any]

    @property
    def succeeded(self) -> Bool[Array, ""]:
        """Whether `value` is the solution that was asked for."""
        return jnp.asarray(self.result == LINEAR_RESULTS.converged)


def is_traced(tree: Any) -> bool:
    """Whether any array is still being traced."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))
