"""Operators for the solvers of lineax; apart, because only those who ask for it need to import lineax."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import lineax as lx


class MatrixFree(lx.FunctionLinearOperator):  # type: ignore[misc]
    """A linear function whose transpose is known, so that JAX need not transpose it: a gather into a scatter."""

    adjoint: Callable[..., Any] = eqx.field()

    def __init__(self, fn: Callable[..., Any], adjoint: Callable[..., Any], structure: jax.ShapeDtypeStruct) -> None:
        super().__init__(fn, structure, closure_convert=False)
        self.adjoint = adjoint

    def transpose(self) -> "MatrixFree":
        """The two functions change places."""
        return MatrixFree(self.adjoint, self.fn, self.out_structure())
