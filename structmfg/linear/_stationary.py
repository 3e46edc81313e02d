"""Stationary distributions mu = A^T mu of a transition operator.

A finite chain has one stationary distribution for each closed class (a set of states that reach each other and nothing
else), and their mixtures; elsewhere it has no mass.

The residual ||A^T mu - mu||_1 is no measure of the error: where a chain nearly falls apart, any mixture of what its
pieces settle to has a small one. Errors are bounded here by elimination without subtraction (see `_elimination`), or
by hitting times: with the state p left out, I - A has a nonnegative inverse, whose largest row sum H is the longest
expected time to reach p, and ||mu - mu*||_1 <= 2 H ||A^T mu - mu||_1. Any h > 0 with (I - A) h >= c > 0 proves that
H <= max h / c.
"""

from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jax import lax
from jaxtyping import Array, Bool, Float

from structmfg._checks import as_reals, check_integer, check_kind, check_name, check_positive, check_shape
from structmfg._flags import own_rules
from structmfg.linear._classes import Distribution, class_distribution, closed_classes
from structmfg.linear._matrices import cesaro_limit
from structmfg.linear._solution import (
    LINEAR_RESULTS,
    LinearSolution,
    as_matrix,
    certified,
    dtype_of,
    is_traced,
    where,
)
from structmfg.linear._stationary_derivative import with_derivative
from structmfg.operators import TransitionOperator

StationaryMethod = Literal["direct", "eigen", "power"]

_DENSE = 400  # states whose eigenvalues LAPACK finds in a moment
_ARNOLDI_WORK = 1e9  # restarts * 20^2 * states: some seconds


@own_rules()
def stationary(
    operator: TransitionOperator,
    *,
    method: StationaryMethod = "direct",
    tolerance: float | None = None,
    max_steps: int = 100_000,
    initial: Float[Array | np.ndarray, " states"] | None = None,
) -> LinearSolution:
    """Return the stationary distribution mu (S,), mu >= 0 and sum mu = 1.

    - `direct`: the closed classes of the graph; then, on the first, elimination without subtraction, in double
      precision, with a proven bound on the error. Births and deaths by products of ratios, other chains in an order of
      small bandwidth b, in time S b^2. Where that would take more than a second, sparse LU with the bound by hitting
      times, and elimination only where this bound is above 1e-8.
    - `eigen`: the same, and the second largest eigenvalue of A on that class: LAPACK or ARPACK, on a matrix that the
      distribution has balanced (a symmetric one where the chain is reversible).
    - `power`: mu <- (mu + A^T mu) / 2, matrix-free, also inside jit. The lazy chain has the same stationary
      distributions and no period. It cannot see classes: with several of them, the limit depends on `initial`. It
      knows its residual only, so it never ends `converged`.

    The first two need concrete values. The chain is read from the probabilities off the diagonal, each known within
    2 epsilon of the operator's own dtype; the diagonal is what they lack to one.

    The value has a derivative in the operator's numbers by the implicit function, d mu = (I - A^T)^-1 dA^T mu with
    sum d mu = 0, for one closed class: of the first two methods by `jax.grad` and `jax.jvp` outside jit, of `power`
    everywhere.

    Args:
        operator: A.
        method: See above.
        tolerance: The largest error ||value - mu||_1 allowed, by default 1e-6 in double precision and 1e-3 in single;
            for `power`, the largest residual, by default 64 epsilon.
        max_steps: The most steps of `power`.
        initial: The distribution (S,) of the start. `power` starts from it, by default from the uniform one. `direct`
            then returns the limit of the Cesaro means (1/n) sum_{k<n} (A^T)^k mu_0: the mixture of the distributions
            of the closed classes by the probabilities of ending in each.

    Returns:
        `result`: `converged` if `bound` is within the tolerance; `residual` if `power` stopped with a residual within
        it; `not_unique` if `direct` or `eigen` found several closed classes: `value` is then the stationary
        distribution of the class with the first state. `stats`: `residual`, ||A^T mu - mu||_1, computed from the
        value; `bound`, on ||value - mu||_1, rounding to the value's dtype included (of `direct` and `eigen`); `steps`
        of `power`; `closed_classes`, their number; of `eigen`, `second`, the second largest modulus of an eigenvalue
        in the class (1 if it is periodic), and `gap`, 1 - `second`, NaN where ARPACK did not find it.

    Raises:
        ValueError: An argument is not allowed, or `direct` or `eigen` is called inside jit.
    """
    check_kind("operator", operator, TransitionOperator)
    check_name("method", method, ("direct", "eigen", "power"))
    check_integer("max_steps", max_steps, at_least=1)
    if tolerance is not None:
        check_positive("tolerance", tolerance)
    size = operator.num_states
    start = None
    if initial is not None and method == "eigen":
        raise ValueError(f"initial is for methods 'direct' and 'power', but was given with method {method!r}")
    if initial is not None:
        start = _checked_initial(initial, size)
    elif method == "power":
        start = jnp.full(size, 1 / size)

    def solve(operator: TransitionOperator) -> LinearSolution:
        if method == "power":
            assert start is not None
            return _power(operator, start, tolerance, max_steps)
        if is_traced((operator, start)):
            raise ValueError(f"method {method!r} needs concrete values, but some are traced; inside jit, use 'power'")
        return _on_closed_classes(operator, start, tolerance, spectrum=method == "eigen")

    return with_derivative(solve, operator)


def _checked_initial(initial: Float[Array | np.ndarray, " states"], size: int) -> Float[Array, " states"]:
    check_shape("initial", initial, (size,))
    mass = as_reals("initial", initial, float)
    if not is_traced(mass):
        negative = np.flatnonzero(~(np.asarray(mass) >= 0))
        if negative.size:
            raise ValueError(f"initial must be nonnegative, but entry {negative[0]} is {mass[negative[0]]:g}")
        if abs(mass.sum() - 1) > 1e-4:
            raise ValueError(f"initial must sum to 1, but sums to {mass.sum():g}")
    return mass


def _power(
    operator: TransitionOperator, start: Float[Array, " states"], tolerance: float | None, max_steps: int
) -> LinearSolution:
    goal = 64 * float(jnp.finfo(start.dtype).eps) if tolerance is None else tolerance

    def body(state: tuple[Array, ...]) -> tuple[Array, ...]:
        mass, *_, steps = state
        moved = operator.rmv(mass)
        following = (mass + moved) / 2
        following = following / jnp.sum(following)
        return following, jnp.sum(jnp.abs(moved - mass)), jnp.all(following == mass), steps + 1

    def unfinished(state: tuple[Array, ...]) -> Bool[Array, ""]:
        _, residual, stuck, steps = state
        return (residual > goal) & ~stuck & (steps < max_steps)

    first: tuple[Array, ...] = (start, jnp.asarray(jnp.inf, start.dtype), jnp.asarray(False), jnp.asarray(0))
    mass, _, stuck, steps = lax.while_loop(unfinished, body, first)
    residual = jnp.sum(jnp.abs(operator.rmv(mass) - mass))
    result = where(stuck | (steps < max_steps), LINEAR_RESULTS.precision, LINEAR_RESULTS.max_steps)
    result = where(residual <= goal, LINEAR_RESULTS.residual, result)
    result = where(jnp.isfinite(residual), result, LINEAR_RESULTS.nonfinite)
    return LinearSolution(mass, result, {"residual": residual, "steps": steps})


def _on_closed_classes(
    operator: TransitionOperator, start: Float[Array, " states"] | None, tolerance: float | None, *, spectrum: bool
) -> LinearSolution:
    moves = as_matrix(operator)
    if not np.isfinite(moves.data).all() or (moves.data < 0).any():
        missing = jnp.full(operator.num_states, jnp.nan)
        nonfinite: Any = LINEAR_RESULTS.nonfinite
        return LinearSolution(missing, nonfinite, {"residual": np.nan, "bound": np.inf})
    known = float(jnp.finfo(dtype_of(operator)).eps)
    classes = closed_classes(moves)
    inside = moves[classes[0]][:, classes[0]]
    exact = np.zeros(operator.num_states)
    if start is None:
        distribution = class_distribution(inside, known)
        exact[classes[0]], error = distribution.mass, distribution.bound
    else:
        exact, error, _ = cesaro_limit(moves, np.asarray(start, np.float64), known)
    value = jnp.asarray(exact, float)
    returned = np.asarray(value, np.float64)
    finite = bool(np.isfinite(returned).all())
    bound = float(error + np.abs(returned - exact).sum()) if finite else np.inf
    stats: dict[str, Any] = {
        "residual": float(np.abs(moves.T @ returned - returned).sum()),
        "bound": bound,
        "closed_classes": len(classes),
    }
    if spectrum:
        stats["second"] = _second(inside, distribution)
        stats["gap"] = 1 - stats["second"]
    unique = len(classes) == 1 or start is not None
    success: Any = LINEAR_RESULTS.converged if unique else LINEAR_RESULTS.not_unique
    return certified(value, bound, finite, stats, tolerance=tolerance, success=success)


def _second(moves: scipy.sparse.csr_array, distribution: Distribution) -> float:
    """The second largest modulus of an eigenvalue; NaN where ARPACK did not find it within bounded work.

    D^(1/2) A D^(-1/2) with D = diag(mu) has the eigenvalues of A, and is symmetric where the chain is reversible, as a
    walk on a line is: those of A itself, far from normal, may be beyond what rounding leaves of them.
    """
    size = moves.shape[0]
    if size == 1:
        return 0.0
    rows, columns = moves.nonzero()
    scale = np.exp(np.clip((distribution.logarithm[rows] - distribution.logarithm[columns]) / 2, -300, 300))
    values = moves.tocsr()[rows, columns] * scale
    balanced = scipy.sparse.csr_array((values, (rows, columns)), shape=moves.shape)
    asymmetry = abs(balanced - balanced.T)
    symmetric = asymmetry.max() <= 1e-10 * abs(balanced).max()
    if symmetric:
        balanced = (balanced + balanced.T) / 2
    if size <= _DENSE:
        dense = balanced.toarray()
        eigenvalues = np.linalg.eigvalsh(dense) if symmetric else np.linalg.eigvals(dense)
    else:
        start = 1 + 0.5 * np.cos(np.arange(size))  # no eigenvector, and the same each time
        find = scipy.sparse.linalg.eigsh if symmetric else scipy.sparse.linalg.eigs
        restarts = max(10, int(_ARNOLDI_WORK / (20**2 * size)))
        try:
            eigenvalues = find(balanced, k=2, which="LM", v0=start, maxiter=restarts, return_eigenvectors=False)
        except (scipy.sparse.linalg.ArpackError, scipy.sparse.linalg.ArpackNoConvergence):
            return np.nan
    first = int(np.abs(eigenvalues - 1).argmin())
    return float(np.abs(np.delete(eigenvalues, first)).max(initial=0.0))
