"""Kernels made of others: a move followed by noise, pieces of the state space, a product with a small chain."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from structmfg._checks import check_shape
from structmfg.operators._base import Successors, TransitionKernel, TransitionOperator


class FactoredKernel(TransitionKernel):
    """A controlled move followed by uncontrolled noise: (P v)(s, a) = (M (N v))(s, a).

    With K_m successors of the move and K_n of the noise, work falls from S A K_m K_n to S A K_m + S K_n.
    """

    move: TransitionKernel
    noise: TransitionOperator

    def __check_init__(self) -> None:
        if self.move.num_states != self.noise.num_states:
            raise ValueError(
                f"move and noise must share their states, but have {self.move.num_states} and {self.noise.num_states}"
            )

    @property
    def num_states(self) -> int:
        """S."""
        return self.move.num_states

    @property
    def num_actions(self) -> int:
        """A."""
        return self.move.num_actions

    @property
    def span(self) -> int | None:
        """Spans add up."""
        if self.move.span is None or self.noise.span is None:
            return None
        return self.move.span + self.noise.span

    @property
    def branching(self) -> int:
        """The product of both branchings, and on a line no more than the span has room for."""
        product = self.move.branching * self.noise.branching
        room = product if self.span is None else self.span + 1
        return min(self.num_states, product, room)

    def expect(self, values: Float[Array, " states"]) -> Float[Array, "states actions"]:
        """M (N v)."""
        return self.move.expect(self.noise.mv(values))

    def push(self, mass: Float[Array, "states actions"]) -> Float[Array, " states"]:
        """N^T (M^T m)."""
        return self.noise.rmv(self.move.push(mass))

    def successors(self) -> Successors:
        """The successors under the noise of every successor of the move: (S, A, K_m * K_n)."""
        move, noise = self.move.successors(), self.noise.successors()
        indices = noise.indices[move.indices]
        probabilities = move.probabilities[..., None] * noise.probabilities[move.indices]
        shape = (self.num_states, self.num_actions, -1)
        return Successors(indices.reshape(shape), probabilities.reshape(shape))


class PiecewiseKernel(TransitionKernel):
    """State s moves by the kernel of its piece: P = sum_j D_j P_j, with D_j the indicator of piece j.

    `pieces` is one kernel (with static S and A) whose arrays carry a leading axis of J pieces; `piece` (S,) names the
    piece of every state.
    """

    pieces: TransitionKernel
    piece: Int[Array, " states"]

    @property
    def num_states(self) -> int:
        """S."""
        return int(self.piece.shape[0])

    @property
    def num_actions(self) -> int:
        """A."""
        return self.pieces.num_actions

    @property
    def branching(self) -> int:
        """That of the pieces: a state lies in one of them."""
        return self.pieces.branching

    def _indicator(self, dtype: jnp.dtype) -> Float[Array, "pieces states"]:
        count = jax.tree.leaves(self.pieces)[0].shape[0]
        return (jnp.arange(count)[:, None] == self.piece).astype(dtype)

    def expect(self, values: Float[Array, " states"]) -> Float[Array, "states actions"]:
        """sum_j D_j (P_j v)."""
        check_shape("values", values, (self.num_states,))
        each = eqx.filter_vmap(lambda kernel: kernel.expect(values))(self.pieces)
        return jnp.einsum("js,jsa->sa", self._indicator(values.dtype), each)

    def push(self, mass: Float[Array, "states actions"]) -> Float[Array, " states"]:
        """sum_j P_j^T (D_j m)."""
        check_shape("mass", mass, (self.num_states, self.num_actions))
        split = self._indicator(mass.dtype)[:, :, None] * mass
        return jnp.sum(eqx.filter_vmap(lambda kernel, part: kernel.push(part))(self.pieces, split), axis=0)

    def successors(self) -> Successors:
        """Every state's successors in its own piece."""
        each = eqx.filter_vmap(lambda kernel: kernel.successors())(self.pieces)
        states = jnp.arange(self.num_states)
        return Successors(each.indices[self.piece, states], each.probabilities[self.piece, states])


class KroneckerOperator(TransitionOperator):
    """I (x) Q: a small Markov chain Q (m, m) moves the fast index of a product state, s = outer * m + inner."""

    num_states: int = eqx.field(static=True)
    chain: Float[Array, "inner inner"]

    def __check_init__(self) -> None:
        shape = self.chain.shape
        if len(shape) != 2 or shape[0] != shape[1]:
            raise ValueError(f"chain must be a square matrix, but has shape {tuple(shape)}")
        if self.num_states % shape[0]:
            raise ValueError(f"num_states must be a multiple of the chain's {shape[0]}, but is {self.num_states}")

    @property
    def _inner(self) -> int:
        return int(self.chain.shape[0])

    def mv(self, values: Float[Array, " states"]) -> Float[Array, " states"]:
        """(I (x) Q) v."""
        check_shape("values", values, (self.num_states,))
        return (values.reshape(-1, self._inner) @ self.chain.T).reshape(-1)

    def rmv(self, mass: Float[Array, " states"]) -> Float[Array, " states"]:
        """(I (x) Q^T) mu."""
        check_shape("mass", mass, (self.num_states,))
        return (mass.reshape(-1, self._inner) @ self.chain).reshape(-1)

    def successors(self) -> Successors:
        """All m inner states, with their probabilities."""
        states = jnp.arange(self.num_states)
        outer, inner = states // self._inner, states % self._inner
        indices = outer[:, None] * self._inner + jnp.arange(self._inner)
        return Successors(indices, self.chain[inner])
