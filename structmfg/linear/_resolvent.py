"""The resolvent of a transition operator: discounted values (I - gamma A)^-1 r, and discounted occupancies.

A is row-stochastic, so ||A||_inf = ||A^T||_1 = 1 and, by the Neumann series, ||(I - gamma A)^-1|| <= 1 / (1 - gamma) in
the same norms. Hence any x with residual d = r - (I - gamma A) x is off by at most ||d|| / (1 - gamma), in the maximum
norm, and in the 1-norm for A^T.

Near gamma = 1 this holds for the numbers only if rows sum to one exactly and 1 - gamma is not rounded, so the system is
taken as ((D - A) + (1 - gamma) A') x = r with D = diag(A 1) and A' = A + I - D: the diagonal takes up what a row lacks.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from structmfg._checks import (
    as_array,
    as_reals,
    check_integer,
    check_kind,
    check_name,
    check_positive,
    check_shape,
    plain,
)
from structmfg._flags import own_rules
from structmfg.linear._matrices import ROUNDING, solve_resolvent
from structmfg.linear._solution import (
    LINEAR_RESULTS,
    LinearSolution,
    as_matrix,
    dtype_of,
    in_double,
    is_traced,
    terms_of,
    where,
)
from structmfg.operators import TransitionOperator

ResolventMethod = Literal["direct", "gmres", "bicgstab", "neumann"]


class _System(NamedTuple):
    """(I - gamma B) x = r with B = A' or A'^T, and when to stop.

    `sums` are A 1 in rows that sum to one up to rounding, and 1 in all other rows, which are taken as they are;
    `largest` is the largest sum of such another row, or 1.
    """

    operator: TransitionOperator
    sums: Float[Array, " states"]
    largest: Float[Array, ""]
    stochastic: Bool[Array, ""]
    discount: float
    transpose: bool
    tolerance: float
    max_steps: int

    @property
    def rate(self) -> float:
        """1 - gamma, which is exact where gamma is at least 0.5 (Sterbenz)."""
        return 1 - self.discount

    def product(self, x: Float[Array, " states"]) -> Float[Array, " states"]:
        return self.operator.rmv(x) if self.transpose else self.operator.mv(x)

    def move(self, x: Float[Array, " states"]) -> Float[Array, " states"]:
        return self.product(x) + (1 - self.sums) * x

    def matvec(self, x: Float[Array, " states"]) -> Float[Array, " states"]:
        moved = self.product(x)
        return (self.sums * x - moved) + self.rate * (moved + (1 - self.sums) * x)

    def residual(
        self, rewards: Float[Array, " states"], x: Float[Array, " states"], terms: int
    ) -> tuple[Float[Array, " states"], Float[Array, ""]]:
        """The residual d and a bound on the norm of its rounding, for products with so many terms in a row.

        Constants are eigenvectors of A, so most of a large x can be taken off before it rounds.
        """
        level = jnp.zeros((), x.dtype) if self.transpose else (jnp.max(x) + jnp.min(x)) / 2
        level = jnp.where(self.stochastic, level, 0)
        rest = x - level
        left = (rewards - self.rate * level) - self.matvec(rest)
        sizes = self.norm(rewards) + self.norm(self.rate * level * jnp.ones_like(x)) + (2 * terms + 6) * self.norm(rest)
        return left, float(jnp.finfo(x.dtype).eps) * sizes

    def norm(self, x: Float[Array, " states"]) -> Float[Array, ""]:
        return jnp.sum(jnp.abs(x)) if self.transpose else jnp.max(jnp.abs(x))


@own_rules()
def resolvent(
    operator: TransitionOperator,
    rewards: ArrayLike | Sequence[float],
    discount: ArrayLike,
    *,
    method: ResolventMethod = "gmres",
    transpose: bool = False,
    tolerance: float | None = None,
    max_steps: int | None = None,
) -> LinearSolution:
    """Solve (I - gamma A) x = r, or (I - gamma A^T) x = r if `transpose`, with 0 <= gamma < 1.

    - `direct`: sparse LU. Needs concrete values.
    - `gmres` (restarted, by lineax), `bicgstab`: matrix-free, in rounds from the true residual while these halve it.
    - `neumann`: partial sums of sum_k gamma^k A^k r, matrix-free, with a proven bound on what they leave out. After n
      steps let v = sum_{k<=n} gamma^k A^k r and d = gamma^n A^n r; the rest is sum_{k>=1} gamma^k A^k d.
      With u = A d, each A^k d lies between min u and max u, so v + c 1 with c = gamma / (1 - gamma) (min u + max u) / 2
      is off by at most gamma / (1 - gamma) (max u - min u) / 2 (MacQueen 1966, doi:10.1016/0022-247X(66)90060-6).
      For A^T, ||(A^T)^k d - d||_1 <= k e with e = ||A^T d - d||_1, so v + gamma / (1 - gamma) d is off by at most
      sum_k gamma^k k e = gamma e / (1 - gamma)^2. Both fall as fast as the chain mixes, however close gamma is to 1.

    Concrete values are worked with in double precision whatever their dtype, and the value is rounded to JAX's default
    at the end. The last three methods work inside jit, vmap and grad as well, there in the precision of their numbers:
    derivatives are solves with A^T or A by the same method, in `rewards` and in the operator's data. A cotangent whose
    residual is above the tolerance is NaN.

    Args:
        operator: A. Its probabilities off the diagonal are taken as known within 2 epsilon of their dtype; its diagonal
            is what they lack to one, but for rows whose sum is off by more than 1e-4, which are taken as they are.
        rewards: r (S,).
        discount: gamma, a number that is not traced.
        method: One of the methods above.
        transpose: Whether to solve with A^T.
        tolerance: The largest error allowed in the maximum norm (1-norm if `transpose`), relative to ||r|| /
            (1 - gamma), which no solution exceeds; methods stop at a residual of half of tolerance ||r||. By default
            (32 + 4 K) eps / (1 - gamma) with K terms in a row of A, about what rounding leaves, but at most 0.1.
        max_steps: The most steps. By default log(tolerance / 2) / log(gamma), which suffices for `neumann`.

    Returns:
        `result`: `converged` if `bound` is within tolerance ||r|| / (1 - gamma); `residual` if only the residual is
        within tolerance ||r||, and rounding or the operator's dtype leave more to doubt. `stats`: `residual`,
        ||d||_inf, computed from `value`; `bound`, on the error of the returned value in the norm above, with all
        rounding; `steps`: of `neumann`, products with A; of `bicgstab`, iterations of two products; of `gmres`, cycles
        of at most 20.

    Raises:
        ValueError: An argument is not allowed, or `direct` is called inside jit.
    """
    check_kind("operator", operator, TransitionOperator)
    check_name("method", method, ("direct", "gmres", "bicgstab", "neumann"))
    number = plain(discount)
    if isinstance(number, bool) or not isinstance(number, int | float | np.number) or not 0 <= number < 1:
        raise ValueError(f"discount must be a number in [0, 1), but is {discount!r}")
    discount = float(number)
    rewards = as_array("rewards", rewards)
    check_shape("rewards", rewards, (operator.num_states,))
    terms = operator.num_states if transpose else terms_of(operator)
    known = float(jnp.finfo(dtype_of(operator)).eps)
    given = as_reals("rewards", rewards, float)
    if tolerance is None:
        tolerance = min(0.1, (32 + 4 * terms) * max(known, float(jnp.finfo(given.dtype).eps)) / (1 - discount))
    check_positive("tolerance", tolerance)
    enough = 1 if discount == 0 or tolerance >= 1 else math.ceil(math.log(tolerance / 2) / math.log(discount))
    steps = min(enough if max_steps is None else check_integer("max_steps", max_steps, at_least=1), 2**31 - 2)

    def solve(operator: TransitionOperator, rewards: Float[Array, " states"]) -> LinearSolution:
        system = _system(operator, rewards.dtype, discount, transpose, float(tolerance), steps)
        data = _DataError(2 * known, terms)
        if method == "direct":
            return _certify(system, rewards, _direct(system, rewards), _Progress(jnp.asarray(1)), data)
        value, progress = _differentiable(system, rewards, method)
        return _certify(system, rewards, value, progress, data)

    if is_traced((operator, rewards)):
        if method == "direct":
            raise ValueError(
                "method 'direct' needs concrete values, but some are traced; inside jit, use another method"
            )
        return solve(operator, given)
    with jax.enable_x64(True):
        solve = solve if method == "direct" else eqx.filter_jit(solve)
        solution = solve(in_double(operator), jnp.asarray(np.asarray(rewards), float))
        exact = np.asarray(solution.value)
    allowed = _allowed(np.asarray(rewards, np.float64), discount, transpose, tolerance)
    return _rounded(solution, jnp.asarray(exact, given.dtype), transpose, allowed)


def _system(
    operator: TransitionOperator, dtype: Any, discount: float, transpose: bool, tolerance: float, steps: int
) -> _System:
    # Rounding is no part of A: a derivative in one entry is that of the entry alone.
    sums = lax.stop_gradient(operator.mv(jnp.ones(operator.num_states, dtype)))
    near = jnp.abs(sums - 1) <= ROUNDING
    largest = jnp.max(jnp.where(near, 1, sums), initial=1.0)
    return _System(operator, jnp.where(near, sums, 1), largest, jnp.all(near), discount, transpose, tolerance, steps)


class _DataError(NamedTuple):
    """The relative error of each probability off the diagonal, and the terms in a row of A, or of A^T."""

    error: float
    terms: int


class _Progress(NamedTuple):
    """The steps that a method took, and whether it stopped for want of more."""

    steps: Int[Array, ""]
    ran_out: Bool[Array, ""] | bool = False


def _differentiable(
    system: _System, rewards: Float[Array, " states"], method: str
) -> tuple[Float[Array, " states"], _Progress]:
    solution: tuple[Array, _Progress] = lax.custom_linear_solve(
        system.matvec,
        rewards,
        solve=lambda _, b: _solve(system, b, method),
        transpose_solve=lambda _, b: _solve_cotangent(system._replace(transpose=not system.transpose), b, method),
        has_aux=True,
    )
    return solution


def _certify(
    system: _System,
    rewards: Float[Array, " states"],
    value: Float[Array, " states"],
    progress: _Progress,
    data: _DataError,
) -> LinearSolution:
    """The solution with the bound and the status that the true residual of its value proves."""
    system, rewards, x = jax.tree.map(
        lambda leaf: lax.stop_gradient(leaf) if eqx.is_array(leaf) else leaf, (system, rewards, value)
    )
    difference, rounding = system.residual(rewards, x, data.terms)
    # Probabilities that change in a row add up to nothing, so values matter up to a constant, and masses do not.
    span = jnp.where(system.stochastic, (jnp.max(x) - jnp.min(x)) / 2, system.norm(x))
    doubt = 2 * data.error * (system.norm(x) if system.transpose else span)
    size, largest = system.norm(difference), system.norm(rewards) / system.rate
    rate = jnp.where(system.largest > 1, 1 - system.discount * system.largest, system.rate)
    bound = jnp.where(rate > 0, (size + rounding + doubt) / rate, jnp.inf)
    result = where(progress.ran_out, LINEAR_RESULTS.max_steps, LINEAR_RESULTS.precision)
    result = where(size <= system.tolerance * system.norm(rewards), LINEAR_RESULTS.residual, result)
    result = where(bound <= system.tolerance * largest, LINEAR_RESULTS.converged, result)
    result = where(jnp.isfinite(size), result, LINEAR_RESULTS.nonfinite)
    figures = {"residual": jnp.max(jnp.abs(difference)), "bound": bound, "steps": progress.steps}
    return LinearSolution(value, result, figures)


def _allowed(rewards: np.ndarray, discount: float, transpose: bool, tolerance: float) -> float:
    """The largest error at which a solution of concrete values is `converged`."""
    sizes = np.abs(rewards)
    return tolerance * float(sizes.sum() if transpose else sizes.max()) / (1 - discount)


def _rounded(
    solution: LinearSolution, value: Float[Array, " states"], transpose: bool, allowed: float
) -> LinearSolution:
    """The solution with the value in the dtype of the caller, and with this rounding in its bound and status."""
    returned = np.asarray(value, np.float64)
    off = np.abs(returned - np.asarray(solution.value))
    stats = {name: np.asarray(figure).item() for name, figure in solution.stats.items()}
    stats["bound"] += float(off.sum() if transpose else off.max())
    within = (solution.result != LINEAR_RESULTS.converged) | (stats["bound"] <= allowed)
    result = where(within, solution.result, LINEAR_RESULTS.precision)
    return LinearSolution(value, where(np.isfinite(returned).all(), result, LINEAR_RESULTS.nonfinite), stats)


def _direct(system: _System, rewards: Float[Array, " states"]) -> Float[Array, " states"]:
    moves = as_matrix(system.operator)
    value = solve_resolvent(moves, np.asarray(rewards), system.discount, transpose=system.transpose)
    return jnp.asarray(value, rewards.dtype)


def _solve(system: _System, b: Float[Array, " states"], method: str) -> tuple[Float[Array, " states"], _Progress]:
    return _neumann(system, b) if method == "neumann" else _krylov(system, b, method)


def _solve_cotangent(
    system: _System, b: Float[Array, " states"], method: str
) -> tuple[Float[Array, " states"], _Progress]:
    """Solve for a cotangent, which has no status to return: NaN where its residual is above the tolerance."""
    value, progress = _solve(system, b, method)
    small = system.norm(system.residual(b, value, 0)[0]) <= system.tolerance * system.norm(b)
    return jnp.where(small, value, jnp.nan), progress


def _krylov(system: _System, b: Float[Array, " states"], method: str) -> tuple[Float[Array, " states"], _Progress]:
    """Run a Krylov method in rounds, each for the residual that the last one left, scaled to norm 1.

    A new round gets past a breakdown, and past a recursive residual that has drifted from the true one.
    """
    goal = system.tolerance * system.norm(b) / 2
    run = _gmres if method == "gmres" else _bicgstab

    def body(state: tuple[Array, ...]) -> tuple[Array, ...]:
        x, difference, size, _, steps = state
        step, taken = run(system, difference / size, goal / size, system.max_steps - steps)
        y = x + size * step
        left, _ = system.residual(b, y, 0)
        better = system.norm(left) < size  # not so where it is NaN
        x, left = jnp.where(better, y, x), jnp.where(better, left, difference)
        return x, left, system.norm(left), size, steps + taken

    def unfinished(state: tuple[Array, ...]) -> Bool[Array, ""]:
        _, _, size, last, steps = state
        return (size > goal) & (size < last / 2) & (steps < system.max_steps)

    size = system.norm(b)
    start: tuple[Array, ...] = (jnp.zeros_like(b), b, size, jnp.full_like(size, jnp.inf), jnp.asarray(0))
    x, *_, steps = lax.while_loop(unfinished, body, start)
    x = jnp.where(jnp.isfinite(size), x, jnp.nan)
    return x, _Progress(steps, steps >= system.max_steps)


def _gmres(
    system: _System, b: Float[Array, " states"], goal: Float[Array, ""], max_steps: Int[Array, ""]
) -> tuple[Float[Array, " states"], Int[Array, ""]]:
    linear = lx.FunctionLinearOperator(system.matvec, jax.eval_shape(lambda: b))
    solver = lx.GMRES(rtol=0.0, atol=goal, norm=system.norm, max_steps=max_steps + 1)  # its first only sets up
    solution = lx.linear_solve(linear, b, solver, throw=False)
    return solution.value, solution.stats["num_steps"] - 1


def _bicgstab(
    system: _System, b: Float[Array, " states"], goal: Float[Array, ""], max_steps: Int[Array, ""]
) -> tuple[Float[Array, " states"], Int[Array, ""]]:
    """Run BiCGSTAB with shadow residual b (van der Vorst 1992, doi:10.1137/0913035).

    The version of lineax 0.1 divides by zero where half a step is exact, as for constant rewards, and in single
    precision takes every negative coefficient for a breakdown. Here a quotient by zero is zero, which restarts along r.
    """

    def over(a: Float[Array, ""], by: Float[Array, ""]) -> Float[Array, ""]:
        return jnp.where(by == 0, 0, a / jnp.where(by == 0, 1, by))

    def body(state: tuple[Array, ...]) -> tuple[Array, ...]:
        x, r, p, steps = state
        v = system.matvec(p)
        alpha = over(b @ r, b @ v)
        s = r - alpha * v
        t = system.matvec(s)
        omega = over(t @ s, t @ t)
        following = s - omega * t
        beta = over(b @ following, b @ r) * over(alpha, omega)
        return x + alpha * p + omega * s, following, following + beta * (p - omega * v), steps + 1

    def unfinished(state: tuple[Array, ...]) -> Bool[Array, ""]:
        _, r, _, steps = state
        return (system.norm(r) > goal) & (steps < max_steps)

    start: tuple[Array, ...] = (jnp.zeros_like(b), b, b, jnp.asarray(0))
    x, _, _, steps = lax.while_loop(unfinished, body, start)
    return x, steps


def _neumann(system: _System, b: Float[Array, " states"]) -> tuple[Float[Array, " states"], _Progress]:
    gamma = system.discount
    tail = gamma / system.rate
    # An error of tolerance ||b|| / (1 - gamma) goes with a residual of tolerance ||b||; half of it is left to rounding.
    goal = system.tolerance * system.norm(b) / system.rate / 2

    def body(state: tuple[Array, ...]) -> tuple[Array, ...]:
        total, term, _, _, steps = state
        moved = system.move(term)
        if system.transpose:
            # The rest after `total`, with `term` = d: off by gamma e / (1 - gamma)^2, or all of it by gamma ||d||.
            bound = tail / system.rate * system.norm(moved - term)
            mixed, plain = total + tail * term, tail * system.norm(term)
            value, bound = jnp.where(bound < plain, mixed, total), jnp.minimum(bound, plain)
        else:
            low, high = jnp.min(moved), jnp.max(moved)
            value, bound = total + tail * (low + high) / 2, tail * (high - low) / 2
        return total + gamma * moved, gamma * moved, value, bound, steps + 1

    def unfinished(state: tuple[Array, ...]) -> Bool[Array, ""]:
        *_, bound, steps = state
        return (bound > goal) & (steps < system.max_steps)

    start: tuple[Array, ...] = (b, b, b, jnp.full_like(goal, jnp.inf), jnp.asarray(0))
    _, _, value, bound, steps = lax.while_loop(unfinished, body, start)
    return jnp.where(jnp.all(jnp.isfinite(b)), value, jnp.nan), _Progress(steps, bound > goal)
