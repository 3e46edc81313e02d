"""What kernels and operators share: vectors of any type, methods that `jax.jit` takes, and the habits of a matrix."""

import abc
import functools
import inspect
import operator
import types
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float, Int
from typing_extensions import override

from structmfg._checks import as_indices, as_reals, check_shape
from structmfg.operators._sparse import Successors

Vector: TypeAlias = Float[Array, " states"]  # (S,), a number for each state
Table: TypeAlias = Float[Array, "states actions"]  # (S, A), a number for each state and action

ROUNDING = 1e-5  # how far below zero a probability may lie that is the rest of a sum
# The products of kernels and operators, with the number of axes of each argument: (S,) or (S, A).
PRODUCTS = {
    "mv": (1,),
    "rmv": (1,),
    "move": (1,),
    "expect": (1,),
    "push": (2,),
    "expect_under": (2, 1),
    "push_under": (2, 1),
}


def delegate(path: str) -> Any:
    """Make a property that reads an attribute of a field: `delegate("move.num_states")` for `self.move.num_states`."""
    return property(operator.attrgetter(path))


def as_vector(owner: Any, name: str, values: Any) -> jax.Array:
    """The values as an array of JAX, in the precision of a kernel or operator or their own, whichever is the wider.

    Whole numbers and booleans would take the weights they are multiplied with for whole numbers, too: they become
    floating, of 32 bits at least. A floating array of JAX that is wide enough is returned as it is.
    """
    kinds = [getattr(leaf, "dtype", None) for leaf in jax.tree.leaves(owner)]
    floating = [kind for kind in kinds if kind is not None and jnp.issubdtype(kind, jnp.floating)]
    own = functools.reduce(jnp.promote_types, floating) if floating else None
    given = getattr(values, "dtype", None)
    if given is None:  # nested sequences of Python's numbers
        given = jnp.result_type(float)
    elif not jnp.issubdtype(given, jnp.floating):
        given, own = np.dtype(np.float32), jnp.result_type(float) if own is None else own
    wide = given if own is None else jnp.promote_types(given, own)
    allowed = jnp.result_type(float) if wide == np.float64 else wide  # in the precision that JAX is set to
    if isinstance(values, jax.Array) and values.dtype in (wide, allowed):
        return values
    # In the dtype at once: a number of 64 bits would lose its upper ones on the way through whole numbers of 32.
    return as_reals(name, values, allowed)


def without_ends(mass: Vector, margin: int) -> Vector:
    """Mass (S,) without that of the first and the last `margin` states."""
    if not margin:
        return mass
    states = jnp.arange(mass.shape[0])
    return jnp.where((states >= margin) & (states < mass.shape[0] - margin), mass, 0)


def takes_vectors(product: Callable[..., Any], axes: Sequence[int]) -> Callable[..., Any]:
    """Make a product take any arrays of numbers or nested sequences of them, and check their shapes.

    Its arguments are vectors (S,) where they have one of the `axes`, and tables (S, A) where they have two.
    """
    axes_of = dict(zip(list(inspect.signature(product).parameters)[1:], axes, strict=False))

    @functools.wraps(product)
    def checked(self: Any, *vectors: Any, **named: Any) -> Any:
        def convert(name: str, values: Any) -> jax.Array:
            vector = as_vector(self, name, values)
            shape = (self.num_states,) if axes_of[name] == 1 else (self.num_states, self.num_actions)
            check_shape(name, vector, shape)
            return vector

        given = [convert(name, values) for name, values in zip(axes_of, vectors, strict=False)]
        named = {name: convert(name, values) if name in axes_of else values for name, values in named.items()}
        return product(self, *given, *vectors[len(given) :], **named)

    return checked


def takes_states(successors_of: Callable[..., Any]) -> Callable[..., Any]:
    """The method, for states in any type of whole numbers, which are checked where they are known."""

    @functools.wraps(successors_of)
    def of_any(self: Any, states: Any) -> Any:
        return successors_of(self, as_indices("states", states, last=self.num_states - 1))

    return of_any


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


class StateModule(eqx.Module):
    """A module over S states, whose methods can be handed to `jax.jit`, and to whatever else asks for their hash."""

    # Subclasses define it as a field or as a property. Type checkers would take an abstract variable for a field.
    if TYPE_CHECKING:

        @property
        @abc.abstractmethod
        def num_states(self) -> int:
            """The number of states S."""
    else:
        num_states: eqx.AbstractVar[int]

        def __getattribute__(self, name: str) -> Any:
            value = object.__getattribute__(self, name)
            if isinstance(value, types.MethodType) and value.__self__ is self and not name.startswith("__"):
                return BoundMethod(value.__func__, self)
            return value


class Transitions(StateModule):
    """What kernels and operators share: explicit forms, assembled from the list of successors.

    Their products take vectors of any numbers, NumPy's and lists too, check their shapes, and return arrays of JAX.
    Constructors look at the values that they are given, where these are known, outside `jit`: indices lie in range,
    probabilities are finite and not negative, and their rows sum to one. This takes one pass over the values, which
    `checks=False` leaves out.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Make each product that a class defines take vectors of any kind and check their shapes, in one place."""
        super().__init_subclass__(**options)
        for name, axes in PRODUCTS.items():
            if name in cls.__dict__:
                setattr(cls, name, takes_vectors(cls.__dict__[name], axes))
        if "successors_of" in cls.__dict__:
            cls.successors_of = takes_states(cls.successors_of)  # type: ignore[method-assign]

    @abc.abstractmethod
    def successors(self) -> Successors:
        """Return the nonzero transitions as padded lists, (S, A, K) for a kernel and (S, K) for an operator."""

    @takes_states
    def successors_of(self, states: Int[Array, " some"]) -> Successors:
        """Return the successors of some states (n,) only, as padded lists with n for S."""
        return Successors(*(array[states] for array in self.successors()))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Print the numbers, where `repr` prints shapes only: for counter-examples of hypothesis, and IPython."""
        printer.text(eqx.tree_pformat(self, short_arrays=False))

    @property
    def structure(self) -> str:
        """What is known of the structure, in words; `structmfg.operators.cost` says what it saves."""
        return type(self).__name__

    @property
    def branching(self) -> int:
        """A proven, static bound on the number of distinct successors of one state under all actions together."""
        shape = jax.eval_shape(self.successors).indices.shape
        return min(self.num_states, int(np.prod(shape[1:])))

    @property
    def span(self) -> int | None:
        """On a line: successors of two states at distance d lie within d + span of each other; None where unknown.

        With d = 0 it bounds the distance between two successors of one state, and spans of moves in a row add up.
        """
        return None

    def validate(self, *, tolerance: float = 1e-5) -> None:
        """Raise `ValueError` unless every row is a probability distribution over the states (for concrete values)."""
        indices, probabilities = (np.asarray(x) for x in self.successors())
        if not np.isfinite(probabilities).all():
            raise ValueError("transition probabilities must be finite, but contain NaN or infinity")
        if probabilities.min() < -tolerance:
            raise ValueError(f"transition probabilities must be nonnegative, but the least is {probabilities.min():g}")
        if indices.min() < 0 or indices.max() >= self.num_states:
            raise ValueError(
                f"successors must lie in 0..{self.num_states - 1}, but range over {indices.min()}..{indices.max()}"
            )
        error = np.abs(probabilities.sum(-1) - 1)
        if error.max() > tolerance:
            row = np.unravel_index(error.argmax(), error.shape)
            raise ValueError(
                f"rows must sum to 1 within {tolerance:g}, but row {tuple(map(int, row))} sums to "
                f"{probabilities.sum(-1)[row]:.8g}"
            )


def span_in_a_row(moves: Iterable[Transitions]) -> int | None:
    """The span of several moves, one after another."""
    spans = [move.span for move in moves]
    known = [span for span in spans if span is not None]
    return sum(known) if len(known) == len(spans) else None


def branching_in_a_row(moves: Iterable[Transitions], num_states: int) -> int:
    """The branching of several moves: the product of theirs; on a line, no more than the span has room for."""
    moves = tuple(moves)
    span = span_in_a_row(moves)
    product = functools.reduce(lambda bound, move: min(num_states, bound * move.branching), moves, 1)
    return min(num_states, product, num_states if span is None else span + 1)


class MatrixFree(lx.FunctionLinearOperator):  # type: ignore[misc]
    """A linear function for lineax whose transpose is known, so that JAX need not make a scatter of a gather."""

    adjoint: Callable[..., Any] = eqx.field()

    def __init__(self, fn: Callable[..., Any], adjoint: Callable[..., Any], structure: jax.ShapeDtypeStruct) -> None:
        super().__init__(fn, structure, closure_convert=False)
        self.adjoint = adjoint

    @override
    def transpose(self) -> "MatrixFree":
        return MatrixFree(self.adjoint, self.fn, self.out_structure())


class SquareMatrix(StateModule):
    """The habits of a matrix (S, S), on top of its products with a vector, `mv` and `rmv`."""

    # NumPy would take the matrix for a scalar, and multiply every entry of a vector by it.
    __array_ufunc__ = None

    @property
    @abc.abstractmethod
    def dtype(self) -> np.dtype:
        """The type of the entries, as `as_dense` gives them."""

    @abc.abstractmethod
    def mv(self, values: Vector) -> Vector:
        """Return the product with a vector (S,)."""

    @abc.abstractmethod
    def rmv(self, mass: Vector) -> Vector:
        """Return the product of the transpose with a vector (S,)."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, (S, S)."""
        return self.num_states, self.num_states

    @property
    def ndim(self) -> int:
        """The number of axes of a matrix, two."""
        return 2

    @abc.abstractmethod
    def _times(self, other: Any) -> "SquareMatrix":
        """The product with another operator."""

    @abc.abstractmethod
    def __pow__(self, exponent: int) -> "SquareMatrix": ...

    def __matmul__(self, other: Any) -> Any:
        """Multiply a vector (S,), a block of vectors (S, k), or another operator: `A @ B` moves by A, then by B."""
        if isinstance(other, SquareMatrix):
            return self._times(other)
        vectors = _as_vectors(other, 0, self.num_states, f"({self.num_states}, k)")
        return self.mv(vectors) if vectors.ndim == 1 else jax.vmap(self.mv, in_axes=1, out_axes=1)(vectors)

    def __rmatmul__(self, other: Any) -> Any:
        """Multiply a row vector (S,), or a block of them (k, S), from the left: mass moves on by A."""
        vectors = _as_vectors(other, -1, self.num_states, f"(k, {self.num_states})")
        return self.rmv(vectors) if vectors.ndim == 1 else jax.vmap(self.rmv)(vectors)

    def as_lineax(self) -> lx.AbstractLinearOperator:
        """Return the matrix for the solvers of lineax, matrix-free: its transpose is `rmv`.

        >>> import jax.numpy as jnp, lineax as lx, structmfg as smfg
        >>> A = smfg.operators.LatticeNoise(5, (-1, 0, 1), (0.1, 0.8, 0.1)).as_lineax()
        >>> system = lx.IdentityLinearOperator(A.in_structure()) - 0.9 * A
        >>> lx.linear_solve(system, jnp.ones(5), lx.GMRES(rtol=1e-6, atol=1e-6)).value
        Array([10.0, 10.0, 10.0, 10.0, 10.0], dtype=float32)
        """
        return MatrixFree(self.mv, self.rmv, jax.ShapeDtypeStruct((self.num_states,), self.dtype))


def _as_vectors(other: Any, axis: int, size: int, block: str) -> Float[Array, "..."]:
    """A vector or a block of them, with as many entries as there are states along an axis."""
    if hasattr(other, "tocsr"):
        raise ValueError(
            f"a product is that with vectors or with another operator, but was given a {type(other).__name__}; "
            "make an operator of it by operators.from_scipy, or take A.as_scipy()"
        )
    vectors = as_reals("a factor of a product", other)
    if vectors.ndim not in (1, 2) or vectors.shape[axis] != size:
        raise ValueError(f"vectors must have shape ({size},) or {block}, but have shape {vectors.shape}")
    return vectors if jnp.issubdtype(vectors.dtype, jnp.floating) else vectors.astype(float)
