"""What laws are measured at, the bound for rounding errors that they share, and the search for the place of a fault.

A law passes if its value stays within a bound for rounding errors. With duplicates merged, no entry of A v or A^T mu
sums more than n = S A terms, and the rounding error of such a sum stays, with overwhelming probability, below a small
multiple of sqrt(n) epsilon times the sum of the absolute terms (Higham & Mary 2019, doi:10.1137/18M1226312). So

    bound = 8 sqrt(S A) epsilon * scale,

epsilon being that of the coarsest float involved. v is scaled to max |v| = 1 and mu to sum |mu| = 1 first, so that the
scale is 1 unless a law says otherwise. A law is checked at the given vectors only: choose random ones without zeros.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from structmfg._checks import check_shape
from structmfg.operators import SuccessorKernel, TransitionKernel

_MAX_LOCATED = 4 * 10**7  # entries of P; in larger kernels the place of a fault is not looked for


class Probe(NamedTuple):
    """A policy whose rows sum to one, values v and a mean field mu without zeros."""

    policy: Float[Array, "states actions"]
    values: Float[Array, " states"]
    mean_field: Float[Array, " states"]


def probe(kernel: TransitionKernel, key: PRNGKeyArray | None = None) -> Probe:
    """A random probe (a fixed one without a key)."""
    keys = jax.random.split(jax.random.key(0) if key is None else key, 3)
    policy = jax.nn.softmax(2 * jax.random.normal(keys[0], (kernel.num_states, kernel.num_actions)))
    mean_field = jax.random.exponential(keys[2], (kernel.num_states,))
    return Probe(policy, jax.random.normal(keys[1], (kernel.num_states,)), mean_field / jnp.sum(mean_field))


def prepare(kernel: TransitionKernel, at: Probe | None) -> tuple[Probe, float]:
    """The probe (a random one for None) with v and mu scaled, and the bound for rounding errors."""
    policy, values, mean_field = probe(kernel) if at is None else at
    check_shape("values", values, (kernel.num_states,))
    check_shape("mean_field", mean_field, (kernel.num_states,))
    bound = rounding(kernel.num_states * kernel.num_actions, kernel, policy, values, mean_field)
    return Probe(policy, values / jnp.max(jnp.abs(values)), mean_field / jnp.sum(jnp.abs(mean_field))), bound


def rounding(size: int, *trees: Any) -> float:
    """8 sqrt(size) epsilon, of the coarsest float among the arrays."""
    dtypes = {leaf.dtype if hasattr(leaf, "dtype") else jnp.result_type(leaf) for leaf in jax.tree.leaves(trees)}
    return (
        8
        * math.sqrt(size)
        * max(float(jnp.finfo(dtype).eps) for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating))
    )


def host(x: ArrayLike) -> np.ndarray:
    """The array in NumPy and double precision, so that comparisons add no error."""
    return np.asarray(x, dtype=np.float64)


def worst(errors: np.ndarray, axes: Sequence[str]) -> tuple[float, str]:
    """The largest absolute value of an array that is not empty, NaN above all, and its place: "state 3, action 1"."""
    magnitudes = np.where(np.isnan(errors), np.inf, np.abs(errors))
    index = np.unravel_index(int(magnitudes.argmax()), magnitudes.shape)
    place = ", ".join(f"{axis} {i}" for axis, i in zip(axes, index, strict=True))
    return float(np.abs(errors)[index]), place


def largest(values: Iterable[tuple[float, str]]) -> tuple[float, str]:
    """The largest of several values with their places; NaN above all."""
    return max(values, key=lambda pair: np.inf if np.isnan(pair[0]) else pair[0])


Representation = Literal["push", "expect", "successors"]


@eqx.filter_jit
def _columns(kernel: TransitionKernel) -> Array:
    """P, entry by entry, from the columns P e_s'."""
    return jnp.moveaxis(jax.lax.map(kernel.expect, jnp.eye(kernel.num_states)), 0, -1)


@eqx.filter_jit
def _rows(kernel: TransitionKernel) -> Array:
    """P, entry by entry, from the rows P^T e_sa."""
    shape = (kernel.num_states, kernel.num_actions)

    def row(number: Array) -> Array:
        return kernel.push(jnp.zeros(shape[0] * shape[1]).at[number].set(1.0).reshape(shape))

    return jax.lax.map(row, jnp.arange(shape[0] * shape[1])).reshape(*shape, shape[0])


def entries(kernel: TransitionKernel, representation: Representation) -> np.ndarray | None:
    """P[s, a, s'] by `expect`, by `push` or by `successors`; None where P has too many entries."""
    if kernel.num_states**2 * kernel.num_actions > _MAX_LOCATED:
        return None
    if representation == "push":
        return host(_rows(kernel))
    return host(_columns(kernel if representation == "expect" else SuccessorKernel(*kernel.successors(), checks=False)))


def disagreement(kernel: TransitionKernel, first: Representation, second: Representation) -> str:
    """The entry in which two representations of P differ most, in words; "" where P has too many entries."""
    left, right = entries(kernel, first), entries(kernel, second)
    if left is None or right is None:
        return ""
    _, place = worst(left - right, ("state", "action", "successor"))
    s, a, after = (int(word.split()[1]) for word in place.split(", "))
    return f"{place}: probability {left[s, a, after]:.6g} by {first}, {right[s, a, after]:.6g} by {second}"
