"""Stationary distributions mu = A^T mu of a transition operator.

A finite chain has one stationary distribution for each closed class (a set of states that reach each other and nothing
else), and their mixtures; elsewhere it has no mass.
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
from structmfg.operators import TransitionOperator
from structmfg.solvers._linear import LINEAR_RESULTS, LinearSolution, is_traced, where

StationaryMethod = Literal["direct", "eigen", "power"]
_DENSE = 32  # so small a class goes to LAPACK: ARPACK needs more states than it finds eigenvalues


@own_rules()
def stationary(
    operator: TransitionOperator,
    *,
    method: StationaryMethod = "direct",
    tolerance: float | None = None,
    max_steps: int = 100_000,
    initial: Float[Array | np.ndarray, " states"] | None = None,
) -> LinearSolution:
    """The stationary distribution mu (S,), mu >= 0 and sum mu = 1.

    - `direct`: the closed classes of the graph; then, on the first, sparse LU of (I - A^T) without the row and column
      of one state, whose mass is set to 1, and all are normalised. On a closed class I - A^T has rank n - 1, its rows
      add up to zero, and its kernel is positive everywhere, so what is left is regular; a row of ones instead would
      fill in the factors.
    - `eigen`: the two largest eigenvalues of A^T on the first closed class, by ARPACK.
    - `power`: mu <- (mu + A^T mu) / 2, matrix-free, also inside jit. The lazy chain has the same stationary
      distributions and no period. It cannot see classes: with several of them, the limit depends on `initial`.

    The first two need concrete values, and work in double precision.

    Args:
        operator: A.
        method: See above.
        tolerance: Of ||A^T mu - mu||_1; the error of mu may exceed it by one over the gap. Default: 64 eps.
        max_steps: Of `power`, and of ARPACK's restarts.
        initial: Where `power` starts; default: uniform.

    Returns:
        `result` is `not_unique` if `direct` or `eigen` found several closed classes: `value` is then the stationary
        distribution of the class with the first state. `stats`: `residual`, ||A^T mu - mu||_1, computed anew; `steps`
        of `power`; `closed_classes`, their number; of `eigen`, `second`, the second largest modulus of an eigenvalue
        in the class (1 if it is periodic), and `gap`, 1 - `second`.
    """
    check_kind("operator", operator, TransitionOperator)
    check_name("method", method, ("direct", "eigen", "power"))
    check_integer("max_steps", max_steps, at_least=1)
    if tolerance is not None:
        check_positive("tolerance", tolerance)
    size = operator.num_states
    if method == "power":
        start = jnp.full(size, 1 / size) if initial is None else _checked_initial(initial, size)
        return _power(operator, start, tolerance, max_steps)
    if initial is not None:
        raise ValueError(f"initial is for method 'power', but was given with method {method!r}")
    if is_traced(operator):
        raise ValueError(f"method {method!r} needs concrete values, but some are traced; inside jit, use 'power'")
    return _on_closed_class(operator, method, tolerance, max_steps)


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


def _judged(
    operator: TransitionOperator,
    value: Float[Array, " states"],
    tolerance: float | None,
    stats: dict[str, Any],
    otherwise: Any = LINEAR_RESULTS.precision,
    unique: bool = True,
) -> LinearSolution:
    """The status that the residual of a distribution, computed anew, deserves."""
    residual = jnp.sum(jnp.abs(operator.rmv(value) - value))
    done = residual <= (_default(value) if tolerance is None else tolerance)
    good = LINEAR_RESULTS.converged if unique else LINEAR_RESULTS.not_unique
    result = where(done, good, otherwise)
    result = where(jnp.isfinite(residual), result, LINEAR_RESULTS.nonfinite)
    return LinearSolution(value, result, {"residual": residual, **stats})


def _default(value: Float[Array, " states"]) -> float:
    return 64 * float(jnp.finfo(value.dtype).eps)


def _power(
    operator: TransitionOperator, start: Float[Array, " states"], tolerance: float | None, max_steps: int
) -> LinearSolution:
    goal = _default(start) if tolerance is None else tolerance

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
    ended = where(stuck | (steps < max_steps), LINEAR_RESULTS.precision, LINEAR_RESULTS.max_steps)
    return _judged(operator, mass, goal, {"steps": steps}, ended)


def _on_closed_class(
    operator: TransitionOperator, method: str, tolerance: float | None, max_steps: int
) -> LinearSolution:
    moves = operator.as_scipy().astype(np.float64)
    if not np.isfinite(moves.data).all():
        return _judged(operator, jnp.full(operator.num_states, jnp.nan), tolerance, {})
    classes = closed_classes(moves)
    inside = moves[classes[0]][:, classes[0]]
    stats: dict[str, Any] = {"closed_classes": len(classes)}
    if method == "direct":
        mass = _direct(inside)
    else:
        mass, stats["second"] = _eigen(inside, max_steps)
        stats["gap"] = 1 - stats["second"]
    value = np.zeros(operator.num_states)
    value[classes[0]] = mass
    ended: Any = LINEAR_RESULTS.precision if np.isfinite(mass).all() else LINEAR_RESULTS.max_steps
    judged = _judged(operator, jnp.asarray(value, float), tolerance, stats, ended, unique=len(classes) == 1)
    return judged if np.isfinite(mass).all() else LinearSolution(judged.value, ended, judged.stats)


def closed_classes(moves: scipy.sparse.csr_array) -> list[np.ndarray]:
    """The states of each closed class, in increasing order, by their first state."""
    count, labels = scipy.sparse.csgraph.connected_components(moves, directed=True, connection="strong")
    rows, columns = moves.nonzero()
    closed = np.ones(count, bool)
    closed[labels[rows[labels[rows] != labels[columns]]]] = False
    found = [np.flatnonzero(labels == label) for label in np.flatnonzero(closed)]
    return sorted(found, key=lambda states: int(states[0]))


def _direct(moves: scipy.sparse.csr_array) -> np.ndarray:
    """Pins a state that has much of the mass after some steps: one with next to none would blow up the others."""
    size = moves.shape[0]
    mass = np.full(size, 1 / size)
    for _ in range(32):
        mass = (mass + moves.T @ mass) / 2
    pinned = int(mass.argmax())
    others = np.delete(np.arange(size), pinned)
    result = np.ones(size)
    if size > 1:
        system = (scipy.sparse.eye_array(size) - moves.T).tocsc()
        result[others] = scipy.sparse.linalg.splu(system[others][:, others]).solve(
            -system[others][:, [pinned]].toarray()[:, 0]
        )
    result = np.maximum(result, 0)  # the kernel is positive; rounding may not be
    return result / result.sum()


def _eigen(moves: scipy.sparse.csr_array, max_steps: int) -> tuple[np.ndarray, float]:
    """The distribution, NaN if ARPACK did not converge, and the second largest modulus."""
    size = moves.shape[0]
    if size <= _DENSE:
        eigenvalues, vectors = np.linalg.eig(moves.toarray().T)
    else:
        # A start that is no eigenvector, and the same each time.
        start = 1 + 0.5 * np.cos(np.arange(size))
        try:
            lazy = (scipy.sparse.eye_array(size) + moves.T) / 2  # of its eigenvalues only 1 has modulus 1
            _, vector = scipy.sparse.linalg.eigs(lazy, k=1, which="LM", v0=start, maxiter=max_steps)
            eigenvalues, _ = scipy.sparse.linalg.eigs(moves.T, k=2, which="LM", v0=start, maxiter=max_steps)
        except scipy.sparse.linalg.ArpackNoConvergence:
            return np.full(size, np.nan), np.nan
    first = int(np.abs(eigenvalues - 1).argmin())
    mass = np.abs((vectors[:, first] if size <= _DENSE else vector[:, 0]).real)
    second = float(np.abs(np.delete(eigenvalues, first)).max(initial=0.0))
    return mass / mass.sum(), second
