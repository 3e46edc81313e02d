"""Transition kernels and the operators that a policy closes them into.

At one aggregate state (mu, z, t) a game moves its agents by a **transition kernel** P, the linear map

    expect : R^S -> R^{S x A}     (P v)(s, a)  = sum_s' P(s' | s, a) v(s')
    push   : R^{S x A} -> R^S     (P^T m)(s')  = sum_{s,a} P(s' | s, a) m(s, a)

and a policy pi(a | s) closes it into the row-stochastic **transition operator** A^pi on R^S,

    A^pi v       = sum_a pi(a | .) (P v)(., a)      `A.mv(v)`, the expected value
    (A^pi)^T mu  = P^T (mu * pi)                    `A.T.mv(mu)`, the mean-field update.

A law of motion and its transpose are one object: a kernel implements both maps, and the list of successors from which
every explicit form is assembled. Uncontrolled noise is an operator too, so a controlled move followed by noise is a
kernel followed by an operator (`FactoredKernel`).
"""

import abc
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from structmfg._checks import as_floats, check_kind, check_rows, check_shape
from structmfg.operators._habits import SquareMatrix, WithMethods
from structmfg.operators._vectors import PRODUCTS, as_vector, takes_states, takes_vectors

if TYPE_CHECKING:
    import scipy.sparse
    import scipy.sparse.linalg
    from jax.experimental import sparse

    from structmfg.operators._explicit import CompressedOperator, ExplicitKernel, ExplicitOperator


ROUNDING = 1e-5  # how far below zero a probability may lie that is the rest of a sum


class Successors(NamedTuple):
    """The nonzero transitions as padded lists; a successor may be named twice or carry probability zero.

    `indices` and `probabilities` have shape (S, A, K) for a kernel and (S, K) for an operator.
    """

    indices: Int[Array, "states *actions width"]
    probabilities: Float[Array, "states *actions width"]


class _Convertible(WithMethods):
    """What kernels and operators share: explicit forms, assembled from the list of successors.

    Their products take vectors of any numbers, NumPy's and lists too, and return arrays of JAX. Constructors look at
    the values that they are given, where these are known, outside `jit`: indices lie in range, probabilities are finite
    and not negative, and their rows sum to one. It takes one pass over them; `checks=False` leaves it out.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Each product that a class defines is made to take vectors of any kind, in one place."""
        super().__init_subclass__(**options)
        for name in PRODUCTS:
            if name in cls.__dict__:
                setattr(cls, name, takes_vectors(cls.__dict__[name]))
        if "successors_of" in cls.__dict__:
            cls.successors_of = takes_states(cls.successors_of)  # type: ignore[method-assign]

    # Subclasses define it as a field or as a property. Type checkers would take an abstract variable for a field.
    if TYPE_CHECKING:

        @property
        @abc.abstractmethod
        def num_states(self) -> int:
            """S."""
    else:
        num_states: eqx.AbstractVar[int]

    @abc.abstractmethod
    def successors(self) -> Successors:
        """The nonzero transitions, as padded lists."""

    @takes_states
    def successors_of(self, states: Int[Array, " some"]) -> Successors:
        """The successors of some states only."""
        return Successors(*(array[states] for array in self.successors()))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """With the numbers, where `repr` tells shapes only: for the counter-examples of hypothesis, and IPython."""
        printer.text(eqx.tree_pformat(self, short_arrays=False))

    @property
    def structure(self) -> str:
        """What is known of the structure, in words; `structmfg.operators.cost` tells what it saves."""
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


class TransitionKernel(_Convertible):
    """A controlled law of motion P(s' | s, a) at one aggregate state, over S states and A actions."""

    if TYPE_CHECKING:

        @property
        @abc.abstractmethod
        def num_actions(self) -> int:
            """A."""
    else:
        num_actions: eqx.AbstractVar[int]

    @abc.abstractmethod
    def expect(self, values: Float[Array, " states"]) -> Float[Array, "states actions"]:
        """The expected next value of every state and action: values (S,) to (S, A)."""

    @abc.abstractmethod
    def push(self, mass: Float[Array, "states actions"]) -> Float[Array, " states"]:
        """The mass that arrives in every state: the adjoint of `expect`, (S, A) to (S,)."""

    def expect_under(
        self, policy: Float[Array, "states actions"], values: Float[Array, " states"]
    ) -> Float[Array, " states"]:
        """The expected next value of every state under a policy, (S,): A^pi v.

        Kernels that need not hold all state-action values for it override it, and `push_under` with it.
        """
        return jnp.sum(policy * self.expect(values), axis=-1)

    def push_under(
        self, policy: Float[Array, "states actions"], mass: Float[Array, " states"]
    ) -> Float[Array, " states"]:
        """The mean field one step later under a policy: (A^pi)^T mu, the adjoint of `expect_under`."""
        check_shape("mass", mass, (self.num_states,))
        return self.push(mass[:, None] * policy)

    def __rshift__(self, noise: "TransitionOperator") -> "TransitionKernel":
        """`move >> noise`: this move, followed by noise that nobody controls."""
        from structmfg.operators._composite import FactoredKernel

        return FactoredKernel(self, noise)

    def under(self, policy: Any, *, checks: bool = True) -> "ControlledOperator":
        """The transition operator A^pi of a policy.

        Args:
            policy: The probabilities (S, A) of the actions in every state: an array of JAX or NumPy, or nested lists.
            checks: Whether to look at its values, where they are known.

        Raises:
            ValueError: It is not of this shape, or a row is not a distribution.
        """
        return ControlledOperator(self, policy, checks=checks)

    def explicit(self) -> "ExplicitKernel":
        """The same kernel, held as a sparse matrix."""
        from structmfg.operators._explicit import ExplicitKernel

        return ExplicitKernel(self.as_bcoo(), self.num_actions, checks=False)

    def as_bcoo(self) -> "sparse.BCOO":
        """The (S*A, S) matrix, row s*A + a; duplicates merged, indices sorted, static nse."""
        from structmfg.operators._explicit import assemble

        return assemble(self.successors(), self.num_states, row_bound=self.num_states)

    def as_dense(self) -> Float[Array, "states actions states"]:
        """The dense array P[s, a, s']."""
        from structmfg.operators._explicit import filled

        return filled(self.as_bcoo()).reshape(self.num_states, self.num_actions, self.num_states)


class TransitionOperator(_Convertible, SquareMatrix):
    """A row-stochastic S x S matrix A: `mv` pulls values back, `T.mv` pushes a mean field forward.

    `mv` and `rmv` take a vector (S,). `A @ v` and `v @ A` are the same for a vector, and take blocks of vectors, too:
    `A @ V` with V (S, k), `V @ A` with V (k, S). `A @ B` and `A ** n` are operators, matrix-free.
    """

    @property
    def dtype(self) -> np.dtype:
        """Of the entries, as `as_dense` gives them."""
        return np.dtype(jax.eval_shape(self.successors).probabilities.dtype)

    @abc.abstractmethod
    def mv(self, values: Float[Array, " states"]) -> Float[Array, " states"]:
        """A v, the expected next value of every state."""

    @abc.abstractmethod
    def rmv(self, mass: Float[Array, " states"]) -> Float[Array, " states"]:
        """A^T mu, the mean field one step later; the same as `T.mv`."""

    @property
    def T(self) -> "TransposedOperator":  # noqa: N802 (the name of the transpose across NumPy, JAX and lineax)
        """The transposed operator."""
        return TransposedOperator(self)

    def move(self, mean_field: Float[Array, " states"]) -> Float[Array, " states"]:
        """The mean field one step later: A^T mu, scaled to sum to one where rounding has added up.

        Each product rounds, and so do the rows of A; over 1e5 steps in single precision that adds up to a drift of the
        mass by 5e-3. Mass within 4 epsilon of one is left alone, so that nothing changes before it has to. Mass off by
        more than 8 sqrt(S) epsilon in a step is a fault of A or of mu, and left to be seen.
        """
        arrived = self.rmv(mean_field)
        total = jnp.sum(arrived)
        off, epsilon = jnp.abs(total - 1), jnp.finfo(arrived.dtype).eps
        rounding = (off > 4 * epsilon) & (off <= 8 * self.num_states**0.5 * epsilon)
        return arrived / jnp.where(rounding, total, 1)

    def explicit(self) -> "ExplicitOperator":
        """The same operator, held as a sparse matrix."""
        from structmfg.operators._explicit import ExplicitOperator

        return ExplicitOperator(self.as_bcoo(), checks=False)

    def compressed(self) -> "CompressedOperator":
        """The same operator, with A and A^T held by rows, for the fastest explicit products on CPU."""
        from structmfg.operators._explicit import compress

        return compress(self.as_bcoo(), row_bound=self.branching)

    def _times(self, other: Any) -> "TransitionOperator":
        """A B, matrix-free: a move by A, then one by B."""
        from structmfg.operators._product import ProductOperator

        return ProductOperator((self, other))

    def __pow__(self, exponent: int) -> "TransitionOperator":
        """A^n, matrix-free, n >= 0: its products with a vector are n of A's. See `operators.power` for an explicit one.

        >>> import structmfg as smfg
        >>> A = smfg.operators.LatticeNoise(4, (0, 1), (0.5, 0.5))
        >>> (A**2) @ [0, 0, 1, 1]
        Array([0.25, 0.75, 1.  , 1.  ], dtype=float32)
        """
        from structmfg.operators._powers import PowerOperator

        return PowerOperator(self, exponent)

    def as_bcoo(self) -> "sparse.BCOO":
        """The (S, S) matrix with static nse = S * `branching`; duplicates merged, indices sorted. Works inside jit."""
        from structmfg.operators._explicit import assemble

        return assemble(self.successors(), self.num_states, row_bound=self.branching)

    def as_bcsr(self) -> "sparse.BCSR":
        """The (S, S) matrix in compressed rows, for which JAX has a native product on CPU."""
        from structmfg.operators._explicit import to_bcsr

        return to_bcsr(self.as_bcoo())

    def as_dense(self) -> Float[Array, "states states"]:
        """The dense matrix A[s, s']."""
        from structmfg.operators._explicit import filled

        return filled(self.as_bcoo())

    def as_scipy(self) -> "scipy.sparse.csr_array":
        """The matrix as `scipy.sparse.csr_array` (concrete values only)."""
        from structmfg.operators._explicit import to_scipy

        return to_scipy(self.as_bcoo())

    def as_linear_operator(self) -> "scipy.sparse.linalg.LinearOperator":
        """A matrix-free `scipy.sparse.linalg.LinearOperator` (matvec A v, rmatvec A^T mu)."""
        from structmfg.operators._explicit import to_linear_operator

        return to_linear_operator(self)


class TransposedOperator(SquareMatrix):
    """A^T of a transition operator A, with `@` for vectors, blocks of vectors and other transposed operators."""

    T: TransitionOperator

    @property
    def num_states(self) -> int:
        """S."""
        return self.T.num_states

    @property
    def dtype(self) -> np.dtype:
        """Of the entries."""
        return self.T.dtype

    def mv(self, mass: Float[Array, " states"]) -> Float[Array, " states"]:
        """A^T mu."""
        return self.T.rmv(mass)

    def rmv(self, values: Float[Array, " states"]) -> Float[Array, " states"]:
        """(A^T)^T v, the expected next values."""
        return self.T.mv(values)

    def _times(self, other: Any) -> "TransposedOperator":
        """A^T B^T = (B A)^T, matrix-free."""
        check_kind("a factor of a transposed operator", other, TransposedOperator)
        return (other.T @ self.T).T

    def __pow__(self, exponent: int) -> "TransposedOperator":
        """(A^T)^n = (A^n)^T, matrix-free."""
        return (self.T**exponent).T

    def as_bcoo(self) -> "sparse.BCOO":
        """The (S, S) matrix A^T with sorted indices."""
        return self.T.as_bcoo().T.sort_indices()

    def as_dense(self) -> Float[Array, "states states"]:
        """The dense matrix A^T."""
        return self.T.as_dense().T

    def as_scipy(self) -> "scipy.sparse.csr_array":
        """The matrix A^T as `scipy.sparse.csr_array`."""
        return self.T.as_scipy().T.tocsr()


class ControlledOperator(TransitionOperator):
    """A^pi in matrix-free form: a kernel under a policy (S, A); see `TransitionKernel.under`."""

    kernel: TransitionKernel
    policy: Float[Array, "states actions"]

    def __init__(self, kernel: TransitionKernel, policy: Any, *, checks: bool = True) -> None:
        check_kind("kernel", kernel, TransitionKernel)
        given = as_floats("policy", policy)
        check_shape("policy", given, (kernel.num_states, kernel.num_actions))
        if checks:
            check_rows("policy", given, least=-ROUNDING)
        self.kernel, self.policy = kernel, as_vector(kernel, "policy", given)

    @property
    def num_states(self) -> int:
        """S."""
        return self.kernel.num_states

    @property
    def branching(self) -> int:
        """See `TransitionKernel.branching`."""
        return self.kernel.branching

    @property
    def span(self) -> int | None:
        """See `TransitionKernel.span`."""
        return self.kernel.span

    @property
    def structure(self) -> str:
        """See `TransitionKernel.structure`."""
        return self.kernel.structure

    def mv(self, values: Float[Array, " states"]) -> Float[Array, " states"]:
        """A^pi v."""
        return self.kernel.expect_under(self.policy, values)

    def rmv(self, mass: Float[Array, " states"]) -> Float[Array, " states"]:
        """(A^pi)^T mu."""
        return self.kernel.push_under(self.policy, mass)

    def successors(self) -> Successors:
        """The kernel's successors, weighted by the policy: (S, A*K)."""
        indices, probabilities = self.kernel.successors()
        weighted = probabilities * self.policy[:, :, None]
        return Successors(indices.reshape(self.num_states, -1), weighted.reshape(self.num_states, -1))
