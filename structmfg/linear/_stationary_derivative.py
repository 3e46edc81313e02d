"""The derivative of a stationary distribution in the numbers of its operator, by the implicit function.

From mu = A^T mu and sum mu = 1 follows (I - A^T) d mu = dA^T mu with sum d mu = 0. Without the row and the column of
one state p, I - A^T is regular if there is one closed class and p is in it; a solution x with x_p = 0 becomes
d mu = x - mu sum x. The diagonal of A takes up what a row gains off the diagonal.

Where values are known the system is solved by elimination without subtraction, and inside jit by GMRES, which knows its
residual only. The derivative is NaN where there is none, with several closed classes, and where it was not found.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import scipy.sparse
from jax import lax
from jaxtyping import Array, Float

from structmfg.linear._elimination import UNIT, affordable, banded_order, eliminate, factorise
from structmfg.linear._solution import LinearSolution, as_matrix, is_traced
from structmfg.operators import TransitionOperator

_FEW_DIGITS = 1e-6  # the largest error by rounding, relative to the largest entry, at which there is an answer

Solve = Callable[[TransitionOperator], LinearSolution]


def with_derivative(solve: Solve, operator: TransitionOperator) -> LinearSolution:
    """`solve(operator)`, whose value has a derivative in the operator's floating-point numbers."""
    numbers, rest = eqx.partition(operator, eqx.is_inexact_array)

    @eqx.filter_custom_jvp
    def solved(numbers: Any) -> LinearSolution:
        return solve(eqx.combine(numbers, rest))

    def rule(primals: tuple[Any], tangents: tuple[Any]) -> tuple[LinearSolution, LinearSolution]:
        (known,), (change,) = primals, tangents
        solution = solved(known)
        slope = _slope(eqx.combine(known, rest), known, change, rest, solution.value)
        tangent = jax.tree.map(lambda x: jnp.zeros_like(x) if eqx.is_inexact_array(x) else None, solution)
        return solution, eqx.tree_at(lambda s: s.value, tangent, slope)

    solved.def_jvp(rule)  # type: ignore[no-untyped-call]
    return solved(numbers)


def _slope(
    operator: TransitionOperator, numbers: Any, change: Any, rest: Any, mass: Float[Array, " states"]
) -> Float[Array, " states"]:
    """The derivative d mu in the direction `change` of the numbers."""

    def tangent(number: Any, change: Any) -> Any:
        return jnp.zeros_like(number) if number is not None and change is None else change

    change = jax.tree.map(tangent, numbers, change, is_leaf=lambda leaf: leaf is None)

    def products(numbers: Any) -> tuple[Array, Array]:
        changed = eqx.combine(numbers, rest)
        return changed.rmv(mass), changed.mv(jnp.ones_like(mass))

    _, (arrived, sums) = jax.jvp(products, (numbers,), (change,))
    moved = arrived - mass * sums  # the diagonal takes up what a row gains, as it does in the value
    pinned = jnp.argmax(mass)
    others = jnp.arange(mass.shape[0]) != pinned

    def system(x: Float[Array, " states"]) -> Float[Array, " states"]:
        free = jnp.where(others, x, 0)
        return jnp.where(others, free - operator.rmv(free), x)

    solve, transpose_solve = _solvers(operator, mass, others)
    x = lax.custom_linear_solve(system, jnp.where(others, moved, 0), solve, transpose_solve)
    return x - mass * jnp.sum(x)


def _solvers(operator: TransitionOperator, mass: Array, others: Array) -> tuple[Any, Any]:
    """Solve with the system and with its transpose: by elimination, or by GMRES where values are traced."""
    if is_traced((operator, mass)):

        def krylov(matvec: Any, b: Array) -> Array:
            linear = lx.FunctionLinearOperator(matvec, jax.eval_shape(lambda: b))
            tolerance = 64 * float(jnp.finfo(b.dtype).eps)
            solver = lx.GMRES(rtol=tolerance, atol=tolerance, max_steps=10 * b.shape[0] + 100)
            solution = lx.linear_solve(linear, b, solver, throw=False)
            left = jnp.linalg.norm(matvec(solution.value) - b)
            small = left <= jnp.sqrt(jnp.finfo(b.dtype).eps) * (jnp.linalg.norm(b) + jnp.linalg.norm(solution.value))
            return jnp.where(small, solution.value, jnp.nan)

        return krylov, krylov
    return _eliminated(operator, np.asarray(others))


def _eliminated(operator: TransitionOperator, others: np.ndarray) -> tuple[Any, Any]:
    """Solutions from both sides by elimination without subtraction, of the positive and the negative part of b."""
    moves, states = as_matrix(operator), np.flatnonzero(others)
    within, leaving = moves[states][:, states], moves[states][:, np.flatnonzero(~others)].toarray()[:, 0]
    order, band = banded_order(within)
    if not affordable(len(states), band):
        return _factorised(within, leaving, states)
    chain = eliminate(within, leaving, order, band)
    if not np.isfinite(chain.error):
        return _undefined, _undefined
    return (
        _on_host(states, lambda b: chain.left(np.maximum(b, 0)).values - chain.left(np.maximum(-b, 0)).values),
        _on_host(states, lambda b: chain.right(np.stack([np.maximum(b, 0), np.maximum(-b, 0)], 1)) @ [1, -1]),
    )


def _factorised(within: scipy.sparse.csr_array, leaving: np.ndarray, states: np.ndarray) -> tuple[Any, Any]:
    """Solutions from both sides by sparse LU, where the time to the state left out proves that digits are left."""
    within = within - scipy.sparse.diags_array(within.diagonal())
    total = within.sum(axis=1) + leaving
    solver = factorise(within, total)
    if solver is None or not solver[1] * UNIT < _FEW_DIGITS:
        return _undefined, _undefined
    factors, _ = solver
    return _on_host(states, lambda b: factors.solve(b, trans="T")), _on_host(states, factors.solve)


def _undefined(_: Any, b: Array) -> Array:
    return jnp.full_like(b, jnp.nan)


def _on_host(states: np.ndarray, solve: Callable[[np.ndarray], np.ndarray]) -> Any:
    """Extend a solve in some states to all, by a callback; the state that is left out keeps its value."""

    def called(b: Array) -> np.ndarray:
        x = np.array(b, np.float64)
        x[states] = solve(x[states])
        return x.astype(b.dtype)

    return lambda _, b: jax.pure_callback(called, jax.ShapeDtypeStruct(b.shape, b.dtype), b, vmap_method="sequential")
