"""Kernels made of others: mixtures, pieces of the state space, one state that moves in its own way, direct sums."""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from typing_extensions import override

from structmfg._checks import (
    as_indices,
    as_reals,
    check_kind,
    check_rows,
    check_shape,
    known_values,
)
from structmfg.operators._base import Table, Vector, delegate
from structmfg.operators._kernel import TransitionKernel
from structmfg.operators._sparse import Successors


class MixtureKernel(TransitionKernel):
    """State s moves by kernel j with probability weights[j, s]: P = sum_j D_j P_j, with D_j = diag(weights[j]).

    Args:
        kernels: J kernels on the same states and actions.
        weights: (J, S), or (J,) where they are the same for all states; with indicators, the kernels are pieces.
        checks: Whether to refuse weights that are not distributions over the kernels.
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
        # As they were given: in half precision their sum may be off by more.
        given = weights if hasattr(weights, "dtype") else self.weights
        if checks and (known := known_values(given)) is not None:
            check_rows("weights", known.T if known.ndim == 2 else known[None])

    @property
    @override
    def num_states(self) -> int:
        return self.kernels[0].num_states

    @property
    @override
    def num_actions(self) -> int:
        return self.kernels[0].num_actions

    @property
    @override
    def branching(self) -> int:
        return min(self.num_states, sum(kernel.branching for kernel in self.kernels))

    @property
    @override
    def structure(self) -> str:
        return " + ".join(f"w{j} ({kernel.structure})" for j, kernel in enumerate(self.kernels))

    def _sum(self, term: Callable[[TransitionKernel, Vector], Array]) -> Array:
        weights = self.weights if self.weights.ndim == 2 else self.weights[:, None]
        each = jnp.broadcast_to(weights, (len(self.kernels), self.num_states))
        return functools.reduce(operator.add, map(term, self.kernels, each))

    @override
    def expect(self, values: Vector) -> Table:
        return self._sum(lambda kernel, weight: weight[:, None] * kernel.expect(values))

    @override
    def push(self, mass: Table) -> Vector:
        return self._sum(lambda kernel, weight: kernel.push(weight[:, None] * mass))

    @override
    def expect_under(self, policy: Table, values: Vector) -> Vector:
        return self._sum(lambda kernel, weight: weight * kernel.expect_under(policy, values))

    @override
    def push_under(self, policy: Table, mass: Vector) -> Vector:
        return self._sum(lambda kernel, weight: kernel.push_under(policy, weight * mass))

    @override
    def push_inside(self, policy: Table, mass: Vector, margin: int) -> Vector:
        return self._sum(lambda kernel, weight: kernel.push_inside(policy, weight * mass, margin))

    @override
    def successors(self) -> Successors:
        parts = [kernel.successors() for kernel in self.kernels]
        indices = jnp.concatenate([part.indices for part in parts], -1)
        each = [weight[..., None, None] * part.probabilities for weight, part in zip(self.weights, parts, strict=True)]
        return Successors(indices, jnp.concatenate(each, -1))


class PatchedKernel(TransitionKernel):
    """`base`, but for one state, which moves as it does in `other`: P = (I - e e^T) P_base + e e^T P_other.

    It costs little more than `base`, as only one row of `other` is computed.

    Args:
        base: The kernel of all other states.
        other: A kernel on the same states and actions.
        state: The number of the state; may be traced. A traced S is no state: then all move as in `base`.
        checks: Whether to refuse a state outside 0..S-1.
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

    num_states = delegate("base.num_states")
    num_actions = delegate("base.num_actions")

    @property
    @override
    def branching(self) -> int:
        return max(self.base.branching, self.other.branching)

    @property
    @override
    def structure(self) -> str:
        return f"{self.base.structure}; one state of its own"

    @property
    def _row(self) -> Successors:
        """The patched row: (A, K)."""
        return Successors(*(array[0] for array in self.other.successors_of(self.state[None])))

    @override
    def expect(self, values: Vector) -> Table:
        expected, patch = self.base.expect(values), self._expect_patch(values)
        return jnp.where((jnp.arange(self.num_states) == self.state)[:, None], patch, expected)

    def _expect_patch(self, values: Vector) -> Float[Array, " actions"]:
        row = self._row
        return jnp.sum(row.probabilities * values[row.indices], axis=-1)

    @override
    def push(self, mass: Table) -> Vector:
        return self.push_under(mass, jnp.ones(self.num_states, mass.dtype))

    @override
    def expect_under(self, policy: Table, values: Vector) -> Vector:
        """Replace one value."""
        patch = jnp.matmul(policy[self.state], self._expect_patch(values), precision="highest")
        return self.base.expect_under(policy, values).at[self.state].set(patch, unique_indices=True)

    @override
    def push_under(self, policy: Table, mass: Vector) -> Vector:
        """Take the mass of the state out, and send it on its own."""
        return self.push_inside(policy, mass, 0)

    @override
    def push_inside(self, policy: Table, mass: Vector, margin: int) -> Vector:
        row = self._row
        taken = mass.at[self.state].get(mode="fill", fill_value=0)
        if margin:
            taken = jnp.where((self.state >= margin) & (self.state < self.num_states - margin), taken, 0)
        sent = (taken * policy[self.state])[:, None] * row.probabilities
        arrived = self.base.push_inside(policy, mass.at[self.state].set(0, unique_indices=True), margin)
        return arrived.at[row.indices].add(sent)

    @override
    def successors(self) -> Successors:
        base, row = self.base.successors(), self._row
        width = max(base.indices.shape[-1], row.indices.shape[-1])
        base, row = (
            Successors(*(jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, width - x.shape[-1])]) for x in part))
            for part in (base, row)
        )
        return Successors(*(full.at[self.state].set(new) for full, new in zip(base, row, strict=True)))


class DirectSumKernel(TransitionKernel):
    """Several kernels side by side, each on states of its own: P is block diagonal. `direct_sum` makes it.

    It has as many actions as the kernel with the most. In the states of a kernel with fewer, each action beyond its
    last one does what the last one does, so that every row is a distribution; `own_actions` tells which ones these are.

    Args:
        kernels: The kernels, whose states follow each other in this order.
    """

    kernels: tuple[TransitionKernel, ...]

    def __init__(self, kernels: Sequence[TransitionKernel]) -> None:
        check_kind("kernels", kernels, Sequence)
        if not kernels:
            raise ValueError("a direct sum needs at least one kernel, but has none")
        for j, kernel in enumerate(kernels):
            check_kind(f"kernel {j}", kernel, TransitionKernel)
        self.kernels = tuple(kernels)

    @property
    @override
    def num_states(self) -> int:
        return sum(kernel.num_states for kernel in self.kernels)

    @property
    @override
    def num_actions(self) -> int:
        return max(kernel.num_actions for kernel in self.kernels)

    @property
    @override
    def branching(self) -> int:
        return max(kernel.branching for kernel in self.kernels)

    @property
    @override
    def structure(self) -> str:
        return " | ".join(kernel.structure for kernel in self.kernels)

    @property
    def blocks(self) -> tuple[range, ...]:
        """The states of every kernel."""
        ends = np.cumsum([kernel.num_states for kernel in self.kernels]).tolist()
        return tuple(range(end - kernel.num_states, end) for end, kernel in zip(ends, self.kernels, strict=True))

    @property
    def own_actions(self) -> Bool[np.ndarray, "states actions"]:
        """Which actions (S, A) the kernel of a state has: what a game's `allowed` returns."""
        counts = np.repeat([k.num_actions for k in self.kernels], [k.num_states for k in self.kernels])
        return np.arange(self.num_actions) < counts[:, None]

    def _folded(self, table: Array) -> list[Array]:
        """Of a table (S, A) the part of every kernel, with all beyond its last action added to that one."""
        parts = []
        for kernel, block in zip(self.kernels, self.blocks, strict=True):
            own, last = table[block.start : block.stop], kernel.num_actions - 1
            surplus = self.num_actions > kernel.num_actions
            rest = jnp.sum(own[:, last:], axis=1, keepdims=True) if surplus else own[:, last:]
            parts.append(jnp.concatenate([own[:, :last], rest], axis=1))
        return parts

    def _split(self, vector: Array) -> list[Array]:
        return [vector[block.start : block.stop] for block in self.blocks]

    @override
    def expect(self, values: Vector) -> Table:
        each = [kernel.expect(own) for kernel, own in zip(self.kernels, self._split(values), strict=True)]
        return jnp.concatenate([_with_surplus(table, 1, self.num_actions) for table in each])

    @override
    def push(self, mass: Table) -> Vector:
        parts = zip(self.kernels, self._folded(mass), strict=True)
        return jnp.concatenate([kernel.push(own) for kernel, own in parts])

    @override
    def expect_under(self, policy: Table, values: Vector) -> Vector:
        parts = zip(self.kernels, self._folded(policy), self._split(values), strict=True)
        return jnp.concatenate([kernel.expect_under(played, own) for kernel, played, own in parts])

    @override
    def push_under(self, policy: Table, mass: Vector) -> Vector:
        parts = zip(self.kernels, self._folded(policy), self._split(mass), strict=True)
        return jnp.concatenate([kernel.push_under(played, own) for kernel, played, own in parts])

    @override
    def successors(self) -> Successors:
        return self._padded([kernel.successors() for kernel in self.kernels], jnp.concatenate)

    @override
    def successors_of(self, states: Int[Array, " some"]) -> Successors:
        parts = [
            kernel.successors_of(jnp.clip(states - block.start, 0, kernel.num_states - 1))
            for kernel, block in zip(self.kernels, self.blocks, strict=True)
        ]
        inside = [((states >= block.start) & (states < block.stop))[:, None, None] for block in self.blocks]
        return self._padded(parts, lambda listed: jnp.select(inside, listed))

    def _padded(self, parts: Sequence[Successors], joined: Callable[[list[Array]], Array]) -> Successors:
        """The lists of all kernels as one: of equal width, with surplus actions, and in the states of the sum."""
        width = max(part.indices.shape[-1] for part in parts)
        indices = [
            block.start + _with_surplus(_with_surplus(part.indices, 2, width), 1, self.num_actions)
            for block, part in zip(self.blocks, parts, strict=True)
        ]
        probabilities = [
            _with_surplus(
                jnp.pad(part.probabilities, ((0, 0), (0, 0), (0, width - part.probabilities.shape[-1]))),
                1,
                self.num_actions,
            )
            for part in parts
        ]
        return Successors(joined(indices), joined(probabilities))


def _with_surplus(array: Array, axis: int, size: int) -> Array:
    """The array made longer along an axis by its own last entry."""
    missing = size - array.shape[axis]
    if not missing:
        return array
    return jnp.pad(array, [(0, missing if i == axis else 0) for i in range(array.ndim)], mode="edge")


def direct_sum(*kernels: TransitionKernel) -> DirectSumKernel:
    """Return the kernel of several populations: block diagonal, so that nobody leaves the states of one kernel.

    Args:
        kernels: At least one kernel; their states follow each other in this order.

    Raises:
        ValueError: There is none, or one is no kernel.

    >>> import structmfg as smfg
    >>> walk = smfg.operators.LatticeKernel(3, (-1, 0, 1))
    >>> jump = smfg.operators.SuccessorKernel([[[1]], [[0]]], [[[1.0]], [[1.0]]])
    >>> both = smfg.operators.direct_sum(walk, jump)
    >>> both.num_states, both.num_actions, both.blocks
    (5, 3, (range(0, 3), range(3, 5)))
    >>> both.expect([0.0, 1.0, 2.0, 3.0, 4.0])[3]  # of the first state of `jump`: all three actions lead to the other
    Array([4., 4., 4.], dtype=float32)
    >>> both.own_actions[3].tolist()
    [True, False, False]
    """
    return DirectSumKernel(kernels)
