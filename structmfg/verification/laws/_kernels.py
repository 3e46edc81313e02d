"""The laws of a transition kernel P and of A = A^pi, each measured at a probe: values v, a mean field mu.

A law passes if its value stays within a bound for rounding errors. With duplicates merged, no entry of A v or A^T mu
sums more than n = S A terms, and the rounding error of such a sum stays, with overwhelming probability, below a small
multiple of sqrt(n) epsilon times the sum of the absolute terms (Higham & Mary 2019, doi:10.1137/18M1226312). So

    bound = 8 sqrt(S A) epsilon * scale,

epsilon being that of the coarsest float involved. v is scaled to max |v| = 1 and mu to sum |mu| = 1 first, so that the
scale is 1 unless a law says otherwise. A law holds at the vectors given, not at all: choose random ones without zeros.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from structmfg._checks import check_shape
from structmfg.operators import TransitionKernel
from structmfg.verification._check import CheckResult, check


def rounding(size: int, *trees: Any) -> float:
    """8 sqrt(size) epsilon, of the coarsest float among the arrays."""
    dtypes = {jnp.result_type(leaf) for leaf in jax.tree.leaves(trees)}
    return (
        8
        * math.sqrt(size)
        * max(float(jnp.finfo(dtype).eps) for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating))
    )


def _host(x: Array) -> np.ndarray:
    """In double precision, so that the comparison itself adds no error."""
    return np.asarray(x, dtype=np.float64)


class Probe(NamedTuple):
    """At what a law is measured: a policy whose rows sum to one, values v and a mean field mu without zeros."""

    policy: Float[Array, "states actions"]
    values: Float[Array, " states"]
    mean_field: Float[Array, " states"]


def probe(kernel: TransitionKernel, key: PRNGKeyArray | None = None) -> Probe:
    """A random probe (a fixed one without a key)."""
    keys = jax.random.split(jax.random.key(0) if key is None else key, 3)
    policy = jax.nn.softmax(2 * jax.random.normal(keys[0], (kernel.num_states, kernel.num_actions)))
    mean_field = jax.random.exponential(keys[2], (kernel.num_states,))
    return Probe(policy, jax.random.normal(keys[1], (kernel.num_states,)), mean_field / jnp.sum(mean_field))


def _prepare(kernel: TransitionKernel, given: Probe | None) -> tuple[Probe, float]:
    """The probe with v and mu scaled, and the bound."""
    policy, values, mean_field = probe(kernel) if given is None else given
    check_shape("values", values, (kernel.num_states,))
    check_shape("mean_field", mean_field, (kernel.num_states,))
    bound = rounding(kernel.num_states * kernel.num_actions, kernel, policy, values, mean_field)
    return Probe(policy, values / jnp.max(jnp.abs(values)), mean_field / jnp.sum(jnp.abs(mean_field))), bound


@eqx.filter_jit
def _backward(kernel: TransitionKernel, policy: Array, values: Array) -> tuple[Array, Array]:
    """A v and P v."""
    return kernel.under(policy).mv(values), kernel.expect(values)


@eqx.filter_jit
def _forward(kernel: TransitionKernel, policy: Array, mean_field: Array) -> Array:
    """A^T mu."""
    return kernel.under(policy).T.mv(mean_field)


@eqx.filter_jit
def _explicit(kernel: TransitionKernel, policy: Array, values: Array, mean_field: Array) -> tuple[Array, ...]:
    """A v, P v and A^T mu by the sparse matrices, and the entries of P."""
    matrix, operator = kernel.explicit(), kernel.under(policy).explicit()
    return operator.mv(values), matrix.expect(values), operator.T.mv(mean_field), matrix.as_bcoo().data


@check("P 1 = 1: the probabilities of every state and action sum to one")
def rows_sum_to_one(kernel: TransitionKernel, at: Probe | None = None) -> tuple[float, float]:
    """max |P 1 - 1|."""
    (policy, values, mean_field), bound = _prepare(kernel, at)
    _, sums = _backward(kernel, policy, jnp.ones_like(values))
    return np.abs(_host(sums) - 1).max(), bound


@check("sum A^T mu = sum mu: no mass is lost or created")
def mass_kept(kernel: TransitionKernel, at: Probe | None = None) -> tuple[float, float]:
    """|sum A^T mu - sum mu|."""
    (policy, values, mean_field), bound = _prepare(kernel, at)
    return abs(_host(_forward(kernel, policy, mean_field)).sum() - _host(mean_field).sum()), bound


@check("P >= 0: no negative probability, mass, or expectation of nonnegative values")
def sign_kept(kernel: TransitionKernel, at: Probe | None = None) -> tuple[float, float]:
    """The depth below zero of the entries of P, of P |v| and of A^T |mu|."""
    (policy, values, mean_field), bound = _prepare(kernel, at)
    values, mean_field = jnp.abs(values), jnp.abs(mean_field)
    entries = _explicit(kernel, policy, values, mean_field)[-1]
    parts = (entries, *_backward(kernel, policy, values), _forward(kernel, policy, mean_field))
    return max(0.0, *(-_host(part).min() for part in parts)), bound


@check("<A v, mu> = <v, A^T mu>: the two directions are transposes of each other")
def adjoint(kernel: TransitionKernel, at: Probe | None = None) -> tuple[float, float]:
    """|<A v, mu> - <v, A^T mu>|; both sides carry an error: scale 2."""
    (policy, values, mean_field), bound = _prepare(kernel, at)
    backward = _host(_backward(kernel, policy, values)[0]) @ _host(mean_field)
    return abs(backward - _host(values) @ _host(_forward(kernel, policy, mean_field))), 2 * bound


@check("the sparse matrices and the matrix-free form give the same A v, P v and A^T mu")
def forms_agree(kernel: TransitionKernel, at: Probe | None = None) -> tuple[float, float]:
    """The largest difference between the forms, each with an error: scale 2."""
    (policy, values, mean_field), bound = _prepare(kernel, at)
    free = (*_backward(kernel, policy, values), _forward(kernel, policy, mean_field))
    explicit = _explicit(kernel, policy, values, mean_field)[:-1]
    return max(np.abs(_host(x) - _host(y)).max() for x, y in zip(free, explicit, strict=True)), 2 * bound


@check("A (v - w) = A v - A w, and so for A^T: the operators are linear")
def linear(kernel: TransitionKernel, at: Probe | None = None) -> tuple[float, float]:
    """The largest residual, where w is v reversed, and so for mu; errors of 2, 1 and 1: scale 4."""
    (policy, values, mean_field), bound = _prepare(kernel, at)

    def residual(apply: Callable[[Array], Array], x: Array) -> float:
        y = x[::-1]
        return float(np.abs(_host(apply(x - y)) - _host(apply(x)) + _host(apply(y))).max())

    backward = residual(lambda v: _backward(kernel, policy, v)[0], values)
    return max(backward, residual(lambda mu: _forward(kernel, policy, mu), mean_field)), 4 * bound


Law = Callable[[TransitionKernel, Probe | None], CheckResult]
KERNEL_LAWS: tuple[Law, ...] = (rows_sum_to_one, mass_kept, sign_kept, adjoint, forms_agree, linear)
