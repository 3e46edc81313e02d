"""Transition kernels, the laws of motion of a game at one aggregate state, and operators under a policy.

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
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from typing_extensions import override

from structmfg._checks import as_floats, check_integer, check_kind, check_rows, check_shape
from structmfg.operators import _sparse as sparse
from structmfg.operators._base import (
    ROUNDING,
    Table,
    Transitions,
    Vector,
    as_vector,
    branching_in_a_row,
    delegate,
    span_in_a_row,
    without_ends,
)
from structmfg.operators._operator import TransitionOperator
from structmfg.operators._sparse import BCOO, Successors


class TransitionKernel(Transitions):
    """A controlled law of motion P(s' | s, a) at one aggregate state, over S states and A actions.

    To write a kernel of your own, subclass this class, which is an `equinox.Module`, and define

    - `num_states` and `num_actions`, S and A, as static fields or as properties;
    - `expect(values)`, from v (S,) to P v (S, A);
    - `push(mass)`, its adjoint, from m (S, A) to P^T m (S,);
    - `successors()`, the same law as lists: `Successors` of indices and probabilities, each (S, A, K).

    All else follows: `under`, `>>`, explicit forms. Callers may pass any arrays or lists of numbers; your methods get
    arrays of JAX whose shapes have been checked. Optional overrides are

    - `expect_under(policy, values)` and `push_under(policy, mass)`, where they need no array (S, A);
    - `successors_of(states)`, where the lists of some states are cheaper than all;
    - `branching` and `span`, proven bounds that make explicit forms smaller;
    - `structure`, a description in words.

    >>> import equinox as eqx, jax.numpy as jnp, numpy as np, structmfg as smfg
    >>> class Ring(smfg.operators.TransitionKernel):
    ...     '''On a ring of S states, action 0 stays and action 1 goes to the next state.'''
    ...
    ...     num_states: int = eqx.field(static=True)
    ...     num_actions: int = eqx.field(static=True, default=2)
    ...
    ...     def expect(self, values):
    ...         return jnp.stack([values, jnp.roll(values, -1)], axis=1)
    ...
    ...     def push(self, mass):
    ...         return mass[:, 0] + jnp.roll(mass[:, 1], 1)
    ...
    ...     def successors(self):
    ...         states = jnp.arange(self.num_states)
    ...         indices = jnp.stack([states, (states + 1) % self.num_states], axis=1)[:, :, None]
    ...         return smfg.operators.Successors(indices, jnp.ones(indices.shape))
    >>> kernel = Ring(4)
    >>> kernel.validate()  # every list of successors is a distribution
    >>> kernel.under(np.full((4, 2), 0.5)).move([1, 0, 0, 0])
    Array([0.5, 0.5, 0. , 0. ], dtype=float32)
    >>> matrix = kernel.explicit()  # assembled from the lists: both forms of both products should agree
    >>> bool(jnp.allclose(kernel.expect(jnp.arange(4)), matrix.expect(jnp.arange(4))))
    True
    >>> mass = jnp.arange(8).reshape(4, 2)
    >>> bool(jnp.allclose(kernel.push(mass), matrix.push(mass)))
    True
    """

    if TYPE_CHECKING:  # see `StateModule.num_states`

        @property
        @abc.abstractmethod
        def num_actions(self) -> int:
            """The number of actions A."""
    else:
        num_actions: eqx.AbstractVar[int]

    @abc.abstractmethod
    def expect(self, values: Vector) -> Table:
        """Return P v (S, A), the expected next value of every state and action, for values v (S,)."""

    @abc.abstractmethod
    def push(self, mass: Table) -> Vector:
        """Return P^T m (S,), the mass that arrives in every state, for mass m (S, A): the adjoint of `expect`."""

    def expect_under(self, policy: Table, values: Vector) -> Vector:
        """Return A^pi v (S,), the expected next value of every state under a policy (S, A), for values v (S,)."""
        return jnp.sum(policy * self.expect(values), axis=-1)

    def push_under(self, policy: Table, mass: Vector) -> Vector:
        """Return (A^pi)^T mu (S,), the mean field one step later under a policy: the adjoint of `expect_under`."""
        return self.push(mass[:, None] * policy)

    def push_inside(self, policy: Table, mass: Vector, margin: int) -> Vector:
        """Return `push_under` of the mass without that of the first and the last `margin` states.

        On a line whose states are spread over devices, the mass of the states near the ends of a device is sent on its
        own (see `structmfg.parallel`). A class may override it where that saves a copy of the mass.
        """
        return self.push_under(policy, without_ends(mass, margin))

    def __rshift__(self, noise: TransitionOperator) -> "FactoredKernel":
        """Follow this move by noise that nobody controls: `move >> noise`."""
        return FactoredKernel(self, noise)

    def under(self, policy: Any, *, checks: bool = True) -> "ControlledOperator":
        """Return the transition operator A^pi of a policy.

        Args:
            policy: The probabilities (S, A) of the actions in every state: an array of JAX or NumPy, or nested lists.
            checks: Whether to look at its values, where they are known.

        Raises:
            ValueError: It is not of this shape, or a row is not a distribution.
        """
        return ControlledOperator(self, policy, checks=checks)

    def explicit(self) -> "ExplicitKernel":
        """Return the same kernel, held as a sparse matrix."""
        return ExplicitKernel(self.as_bcoo(), self.num_actions, checks=False)

    def as_bcoo(self) -> BCOO:
        """Return the (S*A, S) matrix, row s*A + a; duplicates merged, indices sorted, static nse."""
        return sparse.assemble(self.successors(), self.num_states, row_bound=self.num_states)

    def as_dense(self) -> Float[Array, "states actions states"]:
        """Return the dense array P[s, a, s'] (S, A, S)."""
        return sparse.to_dense(self.as_bcoo()).reshape(self.num_states, self.num_actions, self.num_states)


class ControlledOperator(TransitionOperator):
    """A^pi in matrix-free form: a kernel under a policy.

    Args:
        kernel: P.
        policy: pi(a | s) (S, A).
        checks: Whether to refuse rows of the policy that are not distributions.
    """

    kernel: TransitionKernel
    policy: Table

    def __init__(self, kernel: TransitionKernel, policy: Any, *, checks: bool = True) -> None:
        check_kind("kernel", kernel, TransitionKernel)
        given = as_floats("policy", policy)
        check_shape("policy", given, (kernel.num_states, kernel.num_actions))
        if checks:
            check_rows("policy", given, least=-ROUNDING)
        self.kernel, self.policy = kernel, as_vector(kernel, "policy", given)

    num_states = delegate("kernel.num_states")
    branching = delegate("kernel.branching")
    span = delegate("kernel.span")
    structure = delegate("kernel.structure")

    @override
    def mv(self, values: Vector) -> Vector:
        return self.kernel.expect_under(self.policy, values)

    @override
    def rmv(self, mass: Vector) -> Vector:
        return self.kernel.push_under(self.policy, mass)

    @override
    def successors(self) -> Successors:
        """List the kernel's successors, weighted by the policy: (S, A*K)."""
        indices, probabilities = self.kernel.successors()
        weighted = probabilities * self.policy[:, :, None]
        return Successors(indices.reshape(self.num_states, -1), weighted.reshape(self.num_states, -1))


class FactoredKernel(TransitionKernel):
    """A controlled move followed by uncontrolled noise: (P v)(s, a) = (M (N v))(s, a).

    With K_m successors of the move and K_n of the noise, work falls from S A K_m K_n to S A K_m + S K_n.

    Args:
        move: M, a kernel.
        noise: N, an operator on the same states.
    """

    move: TransitionKernel
    noise: TransitionOperator

    def __check_init__(self) -> None:
        check_kind("move", self.move, TransitionKernel)
        check_kind("noise", self.noise, TransitionOperator)
        if self.move.num_states != self.noise.num_states:
            raise ValueError(
                f"move and noise must share their states, but have {self.move.num_states} and {self.noise.num_states}"
            )

    num_states = delegate("move.num_states")
    num_actions = delegate("move.num_actions")

    @property
    @override
    def span(self) -> int | None:
        return span_in_a_row((self.move, self.noise))

    @property
    @override
    def branching(self) -> int:
        return branching_in_a_row((self.move, self.noise), self.num_states)

    @property
    @override
    def structure(self) -> str:
        return f"({self.move.structure}) >> ({self.noise.structure})"

    @override
    def expect(self, values: Vector) -> Table:
        return self.move.expect(self.noise.mv(values))

    @override
    def push(self, mass: Table) -> Vector:
        return self.noise.rmv(self.move.push(mass))

    @override
    def expect_under(self, policy: Table, values: Vector) -> Vector:
        return self.move.expect_under(policy, self.noise.mv(values))

    @override
    def push_under(self, policy: Table, mass: Vector) -> Vector:
        return self.noise.rmv(self.move.push_under(policy, mass))

    @override
    def push_inside(self, policy: Table, mass: Vector, margin: int) -> Vector:
        return self.noise.rmv(self.move.push_inside(policy, mass, margin))

    @override
    def successors(self) -> Successors:
        """List the successors under the noise of every successor of the move: (S, A, K_m * K_n)."""
        return self.successors_of(jnp.arange(self.num_states))

    @override
    def successors_of(self, states: Int[Array, " some"]) -> Successors:
        return self.move.successors_of(states).followed_by(self.noise.successors_of)


class ExplicitKernel(TransitionKernel):
    """P in explicit form, as a sparse matrix. `from_scipy` takes matrices of other kinds.

    Args:
        matrix: A BCOO matrix (S * A, S), whose row s * A + a is the distribution of the next state.
        num_actions: A.
        checks: Whether to refuse rows that are not distributions.
    """

    matrix: BCOO
    num_actions: int = eqx.field(static=True)

    def __init__(self, matrix: BCOO, num_actions: int, *, checks: bool = True) -> None:
        num_actions = check_integer("num_actions", num_actions, at_least=1)
        sparse.check_matrix(matrix, num_actions, checks=checks)
        self.matrix, self.num_actions = matrix, num_actions

    @property
    @override
    def num_states(self) -> int:
        return int(self.matrix.shape[-1])

    @property
    @override
    def structure(self) -> str:
        return f"sparse matrix of {self.matrix.nse} stored entries"

    @override
    def expect(self, values: Vector) -> Table:
        return sparse.pull(self.matrix, values).reshape(self.num_states, self.num_actions)

    @override
    def push(self, mass: Table) -> Vector:
        return sparse.push(self.matrix, mass.reshape(-1))

    @override
    def as_bcoo(self) -> BCOO:
        return self.matrix

    @override
    def successors(self) -> Successors:
        dense = sparse.to_dense(self.matrix)
        return sparse.dense_successors(dense.reshape(self.num_states, self.num_actions, self.num_states))
