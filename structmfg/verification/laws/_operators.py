"""The laws of A = A^pi as a Markov operator, on which solvers' convergence rests; they need concrete values."""

import jax.numpy as jnp
import numpy as np

from structmfg.linear import resolvent
from structmfg.operators import TransitionKernel, power
from structmfg.verification._check import Measured, check
from structmfg.verification.laws._kernels import Law, backwards, forwards
from structmfg.verification.laws._probe import Probe, host, largest, prepare, worst

_DISCOUNT = 0.95


@check("||A|| <= 1 in the maximum norm: gamma A is a contraction by gamma")
def contraction(kernel: TransitionKernel, at: Probe | None = None) -> Measured:
    """max_s sum_s' |A(s, s')| - 1, of the explicit matrix."""
    (policy, _, _), bound = prepare(kernel, at)
    norms = host(abs(kernel.under(policy).as_scipy()).sum(axis=1))
    value, place = worst(np.maximum(norms - 1, 0), ("state",))
    return value, bound, f"{place}: |A| sums to {norms.max():.7g}"


@check("v <= w implies A v <= A w, and mu <= nu implies A^T mu <= A^T nu: the operators are monotone")
def monotone(kernel: TransitionKernel, at: Probe | None = None) -> Measured:
    """The largest decrease of A v and A^T mu where v and mu grow, at one state in four; errors of 2, 1, 1: scale 4."""
    (policy, values, mean_field), bound = prepare(kernel, at)
    growths = [jnp.zeros_like(values).at[first::4].set(1.0) for first in range(min(4, kernel.num_states))]
    decreases = []
    for growth in growths:
        backward = host(backwards(kernel, policy, values + growth)[0]) - host(backwards(kernel, policy, values)[0])
        more = mean_field + growth / jnp.sum(growth)
        forward = host(forwards(kernel, policy, more)[0]) - host(forwards(kernel, policy, mean_field)[0])
        decreases += [worst(np.minimum(backward, 0), ("state",)), worst(np.minimum(forward, 0), ("successor",))]
    value, place = largest(decreases)
    return value, 4 * bound, place


@check("the explicit power A^3 and three products with A give the same")
def powers_repeat(kernel: TransitionKernel, at: Probe | None = None) -> Measured:
    """max |A^3 v - A (A (A v))|; three products on either side: scale 6."""
    (policy, values, _), bound = prepare(kernel, at)
    operator = kernel.under(policy)
    repeated = operator.mv(operator.mv(operator.mv(values)))
    value, place = worst(host(power(operator, 3).mv(values)) - host(repeated), ("state",))
    return value, 6 * bound, place


@check("(I - gamma A) x = v holds for the x that `resolvent` returns, at gamma = 0.95")
def resolvent_solves(kernel: TransitionKernel, at: Probe | None = None) -> Measured:
    """max |x - gamma A x - v|, by a product in the kernel's precision; three errors of scale 1 / (1 - gamma)."""
    (policy, values, _), bound = prepare(kernel, at)
    operator = kernel.under(policy)
    solution = resolvent(operator, values, _DISCOUNT, method="direct")
    residual = host(solution.value) - _DISCOUNT * host(operator.mv(solution.value)) - host(values)
    value, place = worst(residual, ("state",))
    return value, 3 * bound / (1 - _DISCOUNT), place


OPERATOR_LAWS: tuple[Law, ...] = (contraction, monotone, powers_repeat, resolvent_solves)
