"""Transition operators, the matrices A that a policy closes a law of motion into: their algebra and explicit forms."""

import abc
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg
from jaxtyping import Array, Float
from typing_extensions import override

from structmfg._checks import check_integer, check_kind, concrete
from structmfg.operators import _sparse as sparse
from structmfg.operators._base import SquareMatrix, Transitions, Vector, branching_in_a_row, delegate, span_in_a_row
from structmfg.operators._rows import Rows, grouped, padded
from structmfg.operators._sparse import BCOO, BCSR, Successors

_UNROLLED = 4  # products that are written out, where a loop would cost more than it saves


class TransitionOperator(Transitions, SquareMatrix):
    """A row-stochastic S x S matrix A: `mv` pulls values back, `rmv` and `T.mv` push a mean field forward.

    `A @ v` and `v @ A` are `mv` and `rmv` for a vector (S,), and take blocks of vectors, too: `A @ V` with V (S, k),
    `V @ A` with V (k, S). `A @ B` and `A ** n` are operators, matrix-free. To write an operator of your
    own, define `num_states`, `mv`, `rmv` and `successors`; `TransitionKernel` shows how.
    """

    @property
    @override
    def dtype(self) -> np.dtype:
        return np.dtype(jax.eval_shape(self.successors).probabilities.dtype)

    @abc.abstractmethod
    def mv(self, values: Vector) -> Vector:
        """Return A v (S,), the expected next value of every state, for values v (S,)."""

    @abc.abstractmethod
    def rmv(self, mass: Vector) -> Vector:
        """Return A^T mu (S,), the mean field one step after mu (S,); the same as `T.mv`."""

    @property
    def T(self) -> "TransposedOperator":  # noqa: N802 (the name of the transpose across NumPy, JAX and lineax)
        """The transposed operator."""
        return TransposedOperator(self)

    def move(self, mean_field: Vector) -> Vector:
        """Return A^T mu (S,), the mean field one step later, scaled to sum to one where rounding has added up.

        Each product rounds, and so do the rows of A; over 1e5 steps in single precision that adds up to a drift of the
        mass by 5e-3. Mass within 4 epsilon of one is left alone, so that nothing changes before it has to. Mass off by
        more than 8 sqrt(S) epsilon in a step is a fault of A or of mu, and left as it is.
        """
        arrived = self.rmv(mean_field)
        total = jnp.sum(arrived)
        off, epsilon = jnp.abs(total - 1), jnp.finfo(arrived.dtype).eps
        rounding = (off > 4 * epsilon) & (off <= 8 * self.num_states**0.5 * epsilon)
        return arrived / jnp.where(rounding, total, 1)

    def explicit(self) -> "ExplicitOperator":
        """Return the same operator, held as a sparse matrix."""
        return ExplicitOperator(self.as_bcoo(), checks=False)

    def compressed(self) -> "CompressedOperator":
        """Return the same operator, with A and A^T held by rows, for the fastest explicit products on CPU."""
        return compress(self.as_bcoo(), row_bound=self.branching)

    @override
    def _times(self, other: Any) -> "TransitionOperator":
        return ProductOperator((self, other))

    def __pow__(self, exponent: int) -> "TransitionOperator":
        """Return A^n, n >= 0, matrix-free: a product with a vector is n of A's. `operators.power` makes it explicit.

        >>> import structmfg as smfg
        >>> A = smfg.operators.LatticeNoise(4, (0, 1), (0.5, 0.5))
        >>> (A**2) @ [0, 0, 1, 1]
        Array([0.25, 0.75, 1.  , 1.  ], dtype=float32)
        """
        return PowerOperator(self, exponent)

    def as_bcoo(self) -> BCOO:
        """Return the (S, S) matrix with static nse = S * `branching`, merged and sorted; works inside jit."""
        return sparse.assemble(self.successors(), self.num_states, row_bound=self.branching)

    def as_bcsr(self) -> BCSR:
        """Return the (S, S) matrix in compressed rows, for which JAX has a native product on CPU."""
        return sparse.to_bcsr(self.as_bcoo())

    def as_dense(self) -> Float[Array, "states states"]:
        """Return the dense matrix A[s, s'] (S, S)."""
        return sparse.to_dense(self.as_bcoo())

    def as_scipy(self) -> scipy.sparse.csr_array:
        """Return the (S, S) matrix as `scipy.sparse.csr_array` (concrete values only)."""
        return sparse.to_scipy(self.as_bcoo())

    def as_linear_operator(self) -> scipy.sparse.linalg.LinearOperator:
        """Return a matrix-free `scipy.sparse.linalg.LinearOperator` (matvec A v, rmatvec A^T mu)."""
        dtype = np.asarray(self.mv(jnp.zeros(self.num_states))).dtype
        return scipy.sparse.linalg.LinearOperator(
            shape=self.shape,
            matvec=lambda v: np.asarray(self.mv(jnp.asarray(v.reshape(-1), dtype))),
            rmatvec=lambda m: np.asarray(self.rmv(jnp.asarray(m.reshape(-1), dtype))),
            dtype=dtype,
        )


class TransposedOperator(SquareMatrix):
    """A^T of a transition operator A, with `@` for vectors, blocks of vectors and other transposed operators."""

    T: TransitionOperator

    num_states = delegate("T.num_states")
    dtype = delegate("T.dtype")

    @override
    def mv(self, mass: Vector) -> Vector:
        return self.T.rmv(mass)

    @override
    def rmv(self, values: Vector) -> Vector:
        return self.T.mv(values)

    @override
    def _times(self, other: Any) -> "TransposedOperator":
        """A^T B^T = (B A)^T, matrix-free."""
        check_kind("a factor of a transposed operator", other, TransposedOperator)
        return (other.T @ self.T).T

    def __pow__(self, exponent: int) -> "TransposedOperator":
        return (self.T**exponent).T

    def as_bcoo(self) -> BCOO:
        """Return the (S, S) matrix A^T with sorted indices."""
        return self.T.as_bcoo().T.sort_indices()

    def as_dense(self) -> Float[Array, "states states"]:
        """Return the dense matrix A^T (S, S)."""
        return self.T.as_dense().T

    def as_scipy(self) -> scipy.sparse.csr_array:
        """Return the matrix A^T as `scipy.sparse.csr_array` (concrete values only)."""
        return self.T.as_scipy().T.tocsr()


class ExplicitOperator(TransitionOperator):
    """A in explicit form: an (S, S) BCOO matrix. `from_scipy` takes matrices of other kinds.

    Where the entries are known and many, the first product A v lays them out by rows, for those after it.
    """

    matrix: BCOO

    def __init__(self, matrix: BCOO, *, checks: bool = True) -> None:
        sparse.check_matrix(matrix, None, checks=checks)
        self.matrix = matrix

    @property
    @override
    def num_states(self) -> int:
        return int(self.matrix.shape[-1])

    dtype = delegate("matrix.dtype")

    @property
    @override
    def structure(self) -> str:
        return f"sparse matrix of {self.matrix.nse} stored entries"

    @override
    def mv(self, values: Vector) -> Vector:
        return sparse.pull(self.matrix, values) if self._rows is None else self._rows @ values

    @override
    def rmv(self, mass: Vector) -> Vector:
        return sparse.push(self.matrix, mass)

    @functools.cached_property
    def _rows(self) -> Rows | None:
        return sparse.known_rows(self.matrix)

    @override
    def as_bcoo(self) -> BCOO:
        return sparse.merge_duplicates(self.matrix)

    @override
    def successors(self) -> Successors:
        return sparse.dense_successors(sparse.to_dense(self.matrix))


class CompressedOperator(TransitionOperator):
    """A in explicit form, for the fastest products on CPU: the entries of every row of A, and of every row of A^T.

    Rows with equally many entries lie side by side, so that no product needs a scatter (see `operators._rows`): on one
    core, a product with a vector takes about as long as SciPy's, where `ExplicitOperator` takes 5 to 10 times as long.
    It needs twice the memory of one form, and two sorts to build.

    Built inside jit, where rows cannot be counted, it has room for `branching` entries in each row of A, and does
    without A^T: `columns` is None, and A^T mu is a scatter.
    """

    rows: Rows
    columns: Rows | None
    num_states: int = eqx.field(static=True)

    dtype = delegate("rows.dtype")

    @property
    @override
    def structure(self) -> str:
        forms = "A" if self.columns is None else "A and A^T"
        return f"rows of {forms} by their length, {self.rows.size} stored entries each"

    @override
    def mv(self, values: Vector) -> Vector:
        return self.rows @ values

    @override
    def rmv(self, mass: Vector) -> Vector:
        if self.columns is not None:
            return self.columns @ mass
        data, row, column = self.rows.entries()
        return sparse.gather_scatter(data, column, row, mass, self.num_states)

    @override
    def as_bcoo(self) -> BCOO:
        return sparse.from_coordinates(*self.rows.entries(), self.num_states)

    @override
    def successors(self) -> Successors:
        return sparse.dense_successors(self.as_dense())


def compress(matrix: BCOO, *, row_bound: int) -> CompressedOperator:
    """Lay out an (S, S) matrix without duplicates, at most `row_bound` entries in a row; works inside jit."""
    size, places = matrix.shape[0], concrete(matrix.indices)
    if places is None:
        row, column = matrix.indices.T
        return CompressedOperator(padded(matrix.data, row, column, size, row_bound), None, size)
    used = places[:, 0] < size
    known = concrete(matrix.data)
    data: Any = (matrix.data if known is None else known)[np.flatnonzero(used)]
    row, column = places[used].T
    return laid_out(data, row, column, size)


def laid_out(data: Any, row: np.ndarray, column: np.ndarray, size: int) -> CompressedOperator:
    """The operator of entries with known places, no place named twice; `data` may be traced."""
    return CompressedOperator(grouped(data, row, column, size), grouped(data, column, row, size), size)


class ProductOperator(TransitionOperator):
    """A_0 A_1 ... A_{n-1}, matrix-free: each product with a vector applies the factors one after another."""

    factors: tuple[TransitionOperator, ...]

    def __init__(self, factors: Sequence[TransitionOperator]) -> None:
        check_factors(factors)
        nested = (factor.factors if isinstance(factor, ProductOperator) else (factor,) for factor in factors)
        self.factors = tuple(itertools.chain.from_iterable(nested))

    @property
    @override
    def num_states(self) -> int:
        return self.factors[0].num_states

    @property
    @override
    def dtype(self) -> np.dtype:
        return np.dtype(jnp.result_type(*(factor.dtype for factor in self.factors)))

    @property
    @override
    def structure(self) -> str:
        return " @ ".join(f"({factor.structure})" for factor in self.factors)

    @property
    @override
    def span(self) -> int | None:
        return span_in_a_row(self.factors)

    @property
    @override
    def branching(self) -> int:
        return branching_in_a_row(self.factors, self.num_states)

    @override
    def mv(self, values: Vector) -> Vector:
        return functools.reduce(lambda v, factor: factor.mv(v), reversed(self.factors), values)

    @override
    def rmv(self, mass: Vector) -> Vector:
        return functools.reduce(lambda mu, factor: factor.rmv(mu), self.factors, mass)

    @override
    def successors(self) -> Successors:
        """Follow the successors of A_0 by those of A_1, merge, and so on, in lists of width `branching`.

        Where no bound below S is proven, list the rows of the dense matrix: its explicit form needs room for them.
        """
        if self.branching == self.num_states:
            return _rows_of(self)
        successors = self.factors[0].successors()
        for i, factor in enumerate(self.factors[1:], start=2):
            width = branching_in_a_row(self.factors[:i], self.num_states)
            successors = successors.followed_by(factor.successors_of).merged(width)
        return successors


def _rows_of(operator: TransitionOperator) -> Successors:
    """The rows of the dense matrix, by S products with A^T."""
    return sparse.dense_successors(jax.vmap(operator.rmv)(jnp.eye(operator.num_states, dtype=operator.dtype)))


def check_factors(factors: Sequence[TransitionOperator]) -> None:
    """Raise `ValueError` unless there is a factor, all are operators, and all share their states."""
    check_kind("factors", factors, Sequence)
    if not factors:
        raise ValueError("a product needs at least one factor, but has none")
    for i, factor in enumerate(factors):
        check_kind(f"factor {i}", factor, TransitionOperator)
        if factor.num_states != factors[0].num_states:
            sizes = f"factor 0 has {factors[0].num_states} and factor {i} has {factor.num_states}"
            raise ValueError(f"factors must share their states, but {sizes}")


class PowerOperator(TransitionOperator):
    """A^n with a static n >= 0, matrix-free: a product with a vector is n products with A, in a loop.

    `operators.power` multiplies the matrices out, by repeated squaring: that pays where n is large and A^n is used
    again, and where A^n is sparse or small enough to be dense.
    """

    base: TransitionOperator
    exponent: int = eqx.field(static=True)

    def __init__(self, base: TransitionOperator, exponent: int) -> None:
        check_kind("base", base, TransitionOperator)
        exponent = check_integer("exponent", exponent, at_least=0)
        if isinstance(base, PowerOperator):  # (A^m)^n is A^(m n)
            exponent *= base.exponent
            base = base.base
        self.base, self.exponent = base, exponent

    num_states = delegate("base.num_states")
    dtype = delegate("base.dtype")

    @property
    @override
    def span(self) -> int | None:
        return 0 if not self.exponent else None if self.base.span is None else self.exponent * self.base.span

    @property
    @override
    def branching(self) -> int:
        bound = self.base.branching ** min(self.exponent, 31)  # 2^31 is beyond every number of states
        return min(self.num_states, bound, self.num_states if self.span is None else self.span + 1)

    @property
    @override
    def structure(self) -> str:
        return f"({self.base.structure}) to the power {self.exponent}"

    @override
    def mv(self, values: Vector) -> Vector:
        return self._repeat(self.base.mv, values)

    @override
    def rmv(self, mass: Vector) -> Vector:
        return self._repeat(self.base.rmv, mass)

    def _repeat(self, move: Callable[[Array], Array], vector: Vector) -> Vector:
        if self.exponent <= _UNROLLED:
            for _ in range(self.exponent):
                vector = move(vector)
            return vector
        # One product before the loop: what is carried has the dtype of a product from then on.
        return jax.lax.fori_loop(1, self.exponent, lambda _, x: move(x), move(vector))

    @override
    def successors(self) -> Successors:
        if not self.exponent:
            states = jnp.arange(self.num_states)[:, None]
            return Successors(states, jnp.ones(states.shape, self.dtype))
        if self.branching == self.num_states:
            return _rows_of(self)
        return ProductOperator([self.base] * self.exponent).successors()
