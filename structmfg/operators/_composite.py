"""Kernels made of others: a move followed by noise, pieces of the state space, a product with a small chain.

Products of two moves that are made independently: `operators._kron`.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from structmfg._checks import (
    as_floats,
    as_indices,
    as_reals,
    check_integer,
    check_kind,
    check_rows,
    check_shape,
    where_they_lie,
)
from structmfg.operators._base import ROUNDING, Successors, TransitionKernel, TransitionOperator


class FactoredKernel(TransitionKernel):
    """A controlled move followed by uncontrolled noise: (P v)(s, a) = (M (N v))(s, a).

    With K_m successors of the move and K_n of the noise, work falls from S A K_m K_n to S A K_m + S K_n.
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

    def expect_under(
        self, policy: Float[Array, "states actions"], values: Float[Array, " states"]
    ) -> Float[Array, " states"]:
        """The move's, of N v."""
        return self.move.expect_under(policy, self.noise.mv(values))

    def push_under(
        self, policy: Float[Array, "states actions"], mass: Float[Array, " states"]
    ) -> Float[Array, " states"]:
        """N^T of the move's."""
        return self.noise.rmv(self.move.push_under(policy, mass))

    def successors(self) -> Successors:
        """The successors under the noise of every successor of the move: (S, A, K_m * K_n)."""
        return self.successors_of(jnp.arange(self.num_states))

    def successors_of(self, states: Int[Array, " some"]) -> Successors:
        """See `TransitionKernel.successors_of`."""
        move = self.move.successors_of(states)
        noise = self.noise.successors_of(move.indices.ravel())
        shape = (*move.indices.shape[:2], -1)
        probabilities = move.probabilities.ravel()[:, None] * noise.probabilities
        return Successors(noise.indices.reshape(shape), probabilities.reshape(shape))

    @property
    def structure(self) -> str:
        """See `TransitionKernel.structure`."""
        return f"({self.move.structure}) >> ({self.noise.structure})"


class MixtureKernel(TransitionKernel):
    """State s moves by kernel j with probability weights[j, s]: P = sum_j D_j P_j, with D_j = diag(weights[j]).

    `weights` has shape (J, S), or (J,) where they are the same for all states; with indicators, the kernels are pieces.
    """

    kernels: tuple[TransitionKernel, ...]
    weights: Float[Array, "kernels *states"]

    def __init__(self, kernels: Sequence[TransitionKernel], weights: Any, *, checks: bool = True) -> None:
        check_kind("kernels", kernels, Sequence)
        if not kernels:
            raise ValueError("a mixture needs at least one kernel, but has none")
        for j, kernel in enumerate(kernels):
            check_kind(f"kernel {j}", kernel, TransitionKernel)
        self.kernels = tuple(kernels)
        self.weights = as_reals("weights", weights, float)
        sizes = [(kernel.num_states, kernel.num_actions) for kernel in self.kernels]
        if len(set(sizes)) != 1:
            raise ValueError(f"kernels of a mixture must share their states and actions, but have {sizes}")
        if self.weights.shape not in {(len(sizes),), (len(sizes), self.num_states)}:
            allowed = f"{(len(sizes),)} or {(len(sizes), self.num_states)}"
            raise ValueError(f"weights must have shape {allowed}, but have shape {self.weights.shape}")
        if checks and (known := where_they_lie(self.weights)) is not None:
            check_rows("weights", known.T if known.ndim == 2 else known[None])

    @property
    def num_states(self) -> int:
        """S."""
        return self.kernels[0].num_states

    @property
    def num_actions(self) -> int:
        """A."""
        return self.kernels[0].num_actions

    @property
    def branching(self) -> int:
        """The sum of the kernels'."""
        return min(self.num_states, sum(kernel.branching for kernel in self.kernels))

    @property
    def structure(self) -> str:
        """See `TransitionKernel.structure`."""
        return " + ".join(f"w{j} ({kernel.structure})" for j, kernel in enumerate(self.kernels))

    def _sum(self, term: Callable[[TransitionKernel, Float[Array, " states"]], Array]) -> Array:
        weights = self.weights if self.weights.ndim == 2 else self.weights[:, None]
        each = jnp.broadcast_to(weights, (len(self.kernels), self.num_states))
        return functools.reduce(operator.add, map(term, self.kernels, each))

    def expect(self, values: Float[Array, " states"]) -> Float[Array, "states actions"]:
        """sum_j D_j (P_j v)."""
        return self._sum(lambda kernel, weight: weight[:, None] * kernel.expect(values))

    def push(self, mass: Float[Array, "states actions"]) -> Float[Array, " states"]:
        """sum_j P_j^T (D_j m)."""
        check_shape("mass", mass, (self.num_states, self.num_actions))
        return self._sum(lambda kernel, weight: kernel.push(weight[:, None] * mass))

    def expect_under(
        self, policy: Float[Array, "states actions"], values: Float[Array, " states"]
    ) -> Float[Array, " states"]:
        """sum_j D_j (A_j v)."""
        return self._sum(lambda kernel, weight: weight * kernel.expect_under(policy, values))

    def push_under(
        self, policy: Float[Array, "states actions"], mass: Float[Array, " states"]
    ) -> Float[Array, " states"]:
        """sum_j A_j^T (D_j mu)."""
        check_shape("mass", mass, (self.num_states,))
        return self._sum(lambda kernel, weight: kernel.push_under(policy, weight * mass))

    def successors(self) -> Successors:
        """Those of all kernels."""
        parts = [kernel.successors() for kernel in self.kernels]
        indices = jnp.concatenate([part.indices for part in parts], -1)
        each = [weight[..., None, None] * part.probabilities for weight, part in zip(self.weights, parts, strict=True)]
        return Successors(indices, jnp.concatenate(each, -1))


class PatchedKernel(TransitionKernel):
    """`base`, but for one state, which moves as it does in `other`: P = (I - e e^T) P_base + e e^T P_other.

    `state` may be traced. Costs little more than `base`: only one row of `other` is looked at.
    """

    base: TransitionKernel
    other: TransitionKernel
    state: Int[Array, ""]

    def __init__(self, base: TransitionKernel, other: TransitionKernel, state: Any, *, checks: bool = True) -> None:
        check_kind("base", base, TransitionKernel)
        check_kind("other", other, TransitionKernel)
        sizes = [(kernel.num_states, kernel.num_actions) for kernel in (base, other)]
        if sizes[0] != sizes[1]:
            raise ValueError(f"base and other must share their states and actions, but have {sizes[0]} and {sizes[1]}")
        self.base, self.other = base, other
        self.state = as_indices("state", state, last=sizes[0][0] - 1, checks=checks)
        check_shape("state", self.state, ())

    @property
    def num_states(self) -> int:
        """S."""
        return self.base.num_states

    @property
    def num_actions(self) -> int:
        """A."""
        return self.base.num_actions

    @property
    def branching(self) -> int:
        """A row is one or the other's."""
        return max(self.base.branching, self.other.branching)

    @property
    def structure(self) -> str:
        """See `TransitionKernel.structure`."""
        return f"{self.base.structure}; one state of its own"

    @property
    def _row(self) -> Successors:
        """The patched row: (A, K)."""
        return Successors(*(array[0] for array in self.other.successors_of(self.state[None])))

    def expect(self, values: Float[Array, " states"]) -> Float[Array, "states actions"]:
        """P v."""
        check_shape("values", values, (self.num_states,))
        expected, patch = self.base.expect(values), self._expect_patch(values)
        return jnp.where((jnp.arange(self.num_states) == self.state)[:, None], patch, expected)

    def _expect_patch(self, values: Float[Array, " states"]) -> Float[Array, " actions"]:
        row = self._row
        return jnp.sum(row.probabilities * values[row.indices], axis=-1)

    def push(self, mass: Float[Array, "states actions"]) -> Float[Array, " states"]:
        """P^T m."""
        check_shape("mass", mass, (self.num_states, self.num_actions))
        return self.push_under(mass, jnp.ones(self.num_states, mass.dtype))

    def expect_under(
        self, policy: Float[Array, "states actions"], values: Float[Array, " states"]
    ) -> Float[Array, " states"]:
        """One value replaced."""
        patch = policy[self.state] @ self._expect_patch(values)
        return self.base.expect_under(policy, values).at[self.state].set(patch, unique_indices=True)

    def push_under(
        self, policy: Float[Array, "states actions"], mass: Float[Array, " states"]
    ) -> Float[Array, " states"]:
        """The mass of the state is taken out and sent on its own."""
        check_shape("mass", mass, (self.num_states,))
        row = self._row
        sent = (mass[self.state] * policy[self.state])[:, None] * row.probabilities
        arrived = self.base.push_under(policy, mass.at[self.state].set(0, unique_indices=True))
        return arrived.at[row.indices].add(sent)

    def successors(self) -> Successors:
        """Those of `base`, with one row exchanged; the narrower of both is padded with probability zero."""
        base, row = self.base.successors(), self._row
        width = max(base.indices.shape[-1], row.indices.shape[-1])
        base, row = (
            Successors(*(jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, width - x.shape[-1])]) for x in part))
            for part in (base, row)
        )
        return Successors(*(full.at[self.state].set(new) for full, new in zip(base, row, strict=True)))


class LiftedKernel(TransitionKernel):
    """P (x) I: the outer index of a product state, s = outer * inner_size + inner, moves by `move`; the inner stays."""

    move: TransitionKernel
    inner_size: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        check_kind("move", self.move, TransitionKernel)
        check_integer("inner_size", self.inner_size, at_least=1)

    @property
    def num_states(self) -> int:
        """S = outer * inner."""
        return self.move.num_states * self.inner_size

    @property
    def num_actions(self) -> int:
        """A."""
        return self.move.num_actions

    @property
    def branching(self) -> int:
        """The move's."""
        return self.move.branching

    @property
    def structure(self) -> str:
        """See `TransitionKernel.structure`."""
        return f"({self.move.structure}) on the outer index"

    def _split(self, array: Array) -> Array:
        """The inner index first, so that it can be mapped over: (inner, outer, ...)."""
        return jnp.moveaxis(jnp.reshape(array, (-1, self.inner_size, *array.shape[1:])), 1, 0)

    def _join(self, array: Array) -> Array:
        return jnp.moveaxis(array, 0, 1).reshape(self.num_states, *array.shape[2:])

    def expect(self, values: Float[Array, " states"]) -> Float[Array, "states actions"]:
        """(P (x) I) v."""
        check_shape("values", values, (self.num_states,))
        return self._join(jax.vmap(self.move.expect)(self._split(values)))

    def push(self, mass: Float[Array, "states actions"]) -> Float[Array, " states"]:
        """(P (x) I)^T m."""
        check_shape("mass", mass, (self.num_states, self.num_actions))
        return self._join(jax.vmap(self.move.push)(self._split(mass)))

    def expect_under(
        self, policy: Float[Array, "states actions"], values: Float[Array, " states"]
    ) -> Float[Array, " states"]:
        """The move's, for every inner index."""
        check_shape("values", values, (self.num_states,))
        return self._join(jax.vmap(self.move.expect_under)(self._split(policy), self._split(values)))

    def push_under(
        self, policy: Float[Array, "states actions"], mass: Float[Array, " states"]
    ) -> Float[Array, " states"]:
        """The move's, for every inner index."""
        check_shape("mass", mass, (self.num_states,))
        return self._join(jax.vmap(self.move.push_under)(self._split(policy), self._split(mass)))

    def successors(self) -> Successors:
        """Those of the move, with the same inner index."""
        indices, probabilities = self.move.successors()
        inner = jnp.arange(self.inner_size)[None, :, None, None]
        shape = (self.num_states, *indices.shape[1:])
        return Successors(
            (indices[:, None] * self.inner_size + inner).reshape(shape),
            jnp.repeat(probabilities, self.inner_size, axis=0),
        )


def square(name: str, chain: Any) -> Float[Array, "inner inner"]:
    """A square matrix of one state at least, or `ValueError`."""
    array = as_floats(name, chain)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or not array.size:
        raise ValueError(f"{name} must be a square matrix, of one state at least, but has shape {tuple(array.shape)}")
    return array


class KroneckerOperator(TransitionOperator):
    """I (x) Q: a small Markov chain Q (m, m) moves the fast index of a product state, s = outer * m + inner."""

    num_states: int = eqx.field(static=True)
    chain: Float[Array, "inner inner"]

    def __init__(self, num_states: int, chain: Any, *, checks: bool = True) -> None:
        self.num_states = check_integer("num_states", num_states, at_least=1)
        self.chain = square("chain", chain)
        if self.num_states % self._inner:
            raise ValueError(f"num_states must be a multiple of the chain's {self._inner}, but is {self.num_states}")
        if checks:
            check_rows("the chain", self.chain, least=-ROUNDING)

    @property
    def structure(self) -> str:
        """See `TransitionKernel.structure`."""
        return f"chain of {self._inner} on the inner index"

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
