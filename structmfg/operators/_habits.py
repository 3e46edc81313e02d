"""What users of SciPy and JAX expect of a matrix: `A @ v`, `v @ A`, `A ** n`, `A.shape`, `jax.jit(A.mv)`."""

import abc
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from structmfg._checks import as_reals

if TYPE_CHECKING:
    import lineax as lx


class BoundMethod(eqx.Module):
    """A method of a module, which is a pytree as the module is, and which `jax.jit` takes for a function.

    `jax.jit` keeps what it compiled by the function, so it asks for a hash and for equality. Those of equinox's own
    bound methods are those of the arrays, which have none; here a method is the same where it is the same object's.
    The arrays of the module become constants of the compiled function: `jax.jit(lambda A, v: A.mv(v))`, with A as an
    argument, compiles once for all operators of one kind.
    """

    function: Callable[..., Any] = eqx.field(static=True)
    owner: eqx.Module

    def __init__(self, function: Callable[..., Any], owner: eqx.Module) -> None:
        self.function = function
        self.owner = owner
        for name in ("__name__", "__qualname__", "__doc__"):
            setattr(self, name, getattr(function, name, None))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self.owner, *args, **kwargs)

    def __hash__(self) -> int:
        return hash((self.function, id(self.owner)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BoundMethod) and self.function is other.function and self.owner is other.owner

    @property
    def __wrapped__(self) -> Any:
        """The method as Python binds it, for those who ask for its signature."""
        return types.MethodType(self.function, self.owner)


class WithMethods(eqx.Module):
    """A module whose methods can be handed to `jax.jit`, and to whatever else asks a function for its hash."""

    if not TYPE_CHECKING:

        def __getattribute__(self, name: str) -> Any:
            found = object.__getattribute__(self, name)
            if isinstance(found, types.MethodType) and found.__self__ is self and not name.startswith("__"):
                return BoundMethod(found.__func__, self)
            return found


class SquareMatrix(WithMethods):
    """The habits of a matrix (S, S), on top of its products with a vector, `mv` and `rmv`."""

    # NumPy would take the matrix for a scalar, and multiply every entry of a vector by it.
    __array_ufunc__ = None

    if TYPE_CHECKING:

        @property
        @abc.abstractmethod
        def num_states(self) -> int:
            """S."""

        @property
        @abc.abstractmethod
        def dtype(self) -> np.dtype:
            """Of the entries."""

        @abc.abstractmethod
        def mv(self, values: Any) -> Any:
            """The product with a vector."""

        @abc.abstractmethod
        def rmv(self, mass: Any) -> Any:
            """The product of the transpose with a vector."""

    @property
    def shape(self) -> tuple[int, int]:
        """(S, S)."""
        return self.num_states, self.num_states

    @property
    def ndim(self) -> int:
        """Two: rows and columns."""
        return 2

    @abc.abstractmethod
    def _times(self, other: Any) -> "SquareMatrix":
        """The product with another operator."""

    @abc.abstractmethod
    def __pow__(self, exponent: int) -> "SquareMatrix":
        """A^n."""

    def __matmul__(self, other: Any) -> Any:
        """`A @ v` for a vector (S,), `A @ V` for a block of vectors (S, k), and `A @ B`, matrix-free: A, then B."""
        if isinstance(other, SquareMatrix):
            return self._times(other)
        vectors = _vectors(other, 0, self.num_states, f"({self.num_states},) or ({self.num_states}, k)")
        return self.mv(vectors) if vectors.ndim == 1 else jax.vmap(self.mv, in_axes=1, out_axes=1)(vectors)

    def __rmatmul__(self, other: Any) -> Any:
        """`v @ A` for a row vector (S,), `V @ A` for a block of them (k, S): mass moves on by A."""
        vectors = _vectors(other, -1, self.num_states, f"({self.num_states},) or (k, {self.num_states})")
        return self.rmv(vectors) if vectors.ndim == 1 else jax.vmap(self.rmv)(vectors)

    def as_lineax(self) -> "lx.AbstractLinearOperator":
        """The matrix for the solvers of lineax, matrix-free: its transpose is `rmv`, and it may be differentiated.

        >>> import jax.numpy as jnp, lineax as lx, structmfg as smfg
        >>> A = smfg.operators.LatticeNoise(5, (-1, 0, 1), (0.1, 0.8, 0.1)).as_lineax()
        >>> system = lx.IdentityLinearOperator(A.in_structure()) - 0.9 * A
        >>> lx.linear_solve(system, jnp.ones(5), lx.GMRES(rtol=1e-6, atol=1e-6)).value
        Array([10.0, 10.0, 10.0, 10.0, 10.0], dtype=float32)
        """
        from structmfg.operators._lineax import MatrixFree

        return MatrixFree(self.mv, self.rmv, jax.ShapeDtypeStruct((self.num_states,), self.dtype))


def _vectors(other: Any, axis: int, size: int, allowed: str) -> Float[Array, "..."]:
    """A vector or a block of them, with as many entries as there are states along an axis."""
    if hasattr(other, "tocsr"):
        raise ValueError(
            f"a product is that with vectors or with another operator, but was given a {type(other).__name__}; make "
            "an operator of it by operators.from_scipy, or take A.as_scipy()"
        )
    vectors = as_reals("a factor of a product", other)
    if vectors.ndim not in (1, 2) or vectors.shape[axis] != size:
        raise ValueError(f"vectors must have shape {allowed}, but have shape {vectors.shape}")
    return vectors if jnp.issubdtype(vectors.dtype, jnp.floating) else vectors.astype(float)
