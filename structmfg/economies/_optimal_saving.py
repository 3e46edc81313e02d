"""Optimal saving by the endogenous grid method (Carroll 2006, doi:10.1016/j.econlet.2005.09.013) and Newton's method.

Where the borrowing limit does not bind, the optimal policy obeys the Euler equation

    u'(c(a, e)) = beta (1 + r) sum_e' Q(e, e') u'(c(a', e')),   u'(c) = c^-sigma.

For each a' on the grid, consumption next period gives consumption now, in closed form, and with it the cash on hand at
which a' is optimal (see `_endogenous_grid`). Interpolation between these points gives consumption at the cash that
households have. Below the first point the limit binds; above the last one, a' stays at the end of the grid. This is one
step T of the method.

Steps alone converge like a power of the discount, which is too slow if a period is a week. Newton's method solves
log T c = log c instead, with the derivative of T as a sparse matrix. Where it does not lower the residual, steps of T
follow, and a smaller share of Newton's step. Steps of T never increase the distance to the solution: on consumption
that increases in assets, T is monotone, and T(s c) > s T c for 0 < s < 1.

The same two properties prove a bound on the error. T has at most one fixed point c* that increases in assets (as
Coleman 1991, Econometrica 59, pages 1091-1104, shows without a grid; Krasnosel'skii 1964, Positive Solutions of
Operator Equations, chapter 6), and if T low >= low and T high <= high, one lies between low and high. Both are tested
on consumption slightly below and slightly above the one that is returned. c* is the solution on this grid: the error of
the grid itself is another one.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jaxtyping import Array, Float, Int

from structmfg._checks import check_integer, check_positive, check_shape
from structmfg.economies._economy import Household
from structmfg.economies._endogenous_grid import consumption_at, consumption_before
from structmfg.linear import LINEAR_RESULTS

_ROUNDING = 8 * float(np.finfo(float).eps)  # residual that rounding leaves
_PLAIN_STEPS = 16  # of T before Newton's method is tried, and after it failed for the first time
_SUFFICIENT_DECREASE = 0.1  # of the decrease that a share of Newton's step promises
_MIN_SHARE = 1 / 32  # of Newton's step
_MAX_FAILURES = 6  # of Newton's method at a residual within the tolerance: rounding allows no more
_MAX_DOUBLINGS = 40  # of the distance from the policy at which the bound is tested


class SavingSolution(NamedTuple):
    """The result of `optimal_saving`, in float64.

    Attributes:
        savings: a'(a, e) (n, m).
        consumption: c(a, e) (n, m).
        result: A member of `LINEAR_RESULTS`.
        stats: See `optimal_saving`.
    """

    savings: Float[np.ndarray, "assets incomes"]
    consumption: Float[np.ndarray, "assets incomes"]
    result: LINEAR_RESULTS
    stats: dict[str, Any]

    @property
    def succeeded(self) -> bool:
        """Whether the policy is optimal within the tolerance."""
        return bool(self.result == LINEAR_RESULTS.converged)


def optimal_saving(
    household: Household,
    *,
    tolerance: float = 1e-8,
    max_steps: int = 20_000,
    initial: Float[Array | np.ndarray, "assets incomes"] | None = None,
) -> SavingSolution:
    """Find the optimal policy on the household's grid, in double precision whatever JAX's default.

    Args:
        household: The problem; `discount * (1 + interest)` must be below 1.
        tolerance: The largest error of log consumption, anywhere on the grid, for the result `converged`. The method
            goes on as far as rounding allows.
        max_steps: The most evaluations of the Euler equation on the whole grid.
        initial: Consumption (n, m) to start from, above 0 and increasing in assets; by default about what a household
            without risk would consume.

    Returns:
        `result` is `converged` if the bound is within the tolerance, and `residual` if only the residual is. `stats`:
        `bound`, on the largest |log c - log c'|, where c' is the solution on this grid, proven but for rounding in the
        two inequalities that are tested (see the module), or infinite; `residual`, the largest |log T c - log c|, the
        relative change of consumption in one step more; `steps`; `euler_error`, the largest |1 - c~ / c|, with c~ what
        the Euler equation makes of the policy, interpolated between grid points, where neither end of the grid binds:
        the error of the grid, in units of consumption (Judd 1992, doi:10.1016/0022-0531(92)90061-L).
    """
    check_positive("tolerance", tolerance)
    check_integer("max_steps", max_steps, at_least=1)
    household.validate()
    shape = (household.grid.num_points, len(household.incomes))
    with jax.enable_x64(True):
        problem = _Problem.of(household)
        start = _start(problem, household)
        if initial is not None:
            check_shape("initial", initial, shape)
            start = np.asarray(initial, np.float64)
        here, steps = _solve(problem, start, tolerance, max_steps)
        bound = _bound(problem, here)
        residual = here.residual
        consumption = here.following
        savings = np.clip(problem.cash - consumption, problem.assets[0], problem.assets[-1])
        euler_error = _euler_error(household, problem, savings)
    stats = {"residual": residual, "bound": bound, "steps": steps, "euler_error": euler_error}
    return SavingSolution(savings, consumption, _status(residual, bound, tolerance), stats)


def _status(residual: float, bound: float, tolerance: float) -> Any:
    if not np.isfinite(residual):
        return LINEAR_RESULTS.nonfinite
    if bound <= tolerance:
        return LINEAR_RESULTS.converged
    return LINEAR_RESULTS.residual if residual <= tolerance else LINEAR_RESULTS.max_steps


class _Problem(NamedTuple):
    """A household's problem in NumPy: assets (n,), cash on hand (n, m), chain (m, m), gross = beta (1 + r), sigma."""

    assets: np.ndarray
    cash: np.ndarray
    chain: np.ndarray
    gross: float
    risk_aversion: float

    @classmethod
    def of(cls, household: Household) -> "_Problem":
        gross = float(household.discount * (1 + household.interest))
        assets, cash, chain = (np.asarray(x, np.float64) for x in (household.assets, household.cash, household.chain))
        return cls(assets, cash, chain, gross, float(household.risk_aversion))

    def consumption_before(self, later: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """c with u'(c) = beta (1 + r) E u'(c'), (..., m), from c' (..., m) or, for each income now, (..., m, m).

        Also the share (..., m, m) of each next income in the expectation, which is the elasticity of c in it.
        """
        later = later[..., None, :] if later.ndim == 2 else later
        return consumption_before(later, self.chain, 1.0, self.gross, self.risk_aversion, axis=-1)


def _start(problem: _Problem, household: Household) -> np.ndarray:
    """Consumption to start from: about what is optimal without risk or a limit, but less than all cash."""
    rate = 1 + float(household.interest)
    share = max(1 - problem.gross ** (1 / problem.risk_aversion) / rate, 1 - float(household.discount))
    spare = problem.cash - problem.assets[0]
    return np.minimum(0.95 * spare, share * spare + (1 - share) * 0.9 * float(np.mean(household.incomes)))


class _Step(NamedTuple):
    """A step from `consumption` to `following`; and how it was interpolated, which makes its derivative.

    See `Interpolated` for `interval`, `weight` and `slope`.
    """

    consumption: np.ndarray
    following: np.ndarray
    before: np.ndarray
    shares: np.ndarray
    interval: np.ndarray
    weight: np.ndarray
    slope: np.ndarray

    @property
    def change(self) -> np.ndarray:
        """log T c - log c."""
        return np.log(self.following / self.consumption)

    @property
    def residual(self) -> float:
        """The largest |log T c - log c|."""
        return float(np.abs(self.change).max())

    def solve(self, right: np.ndarray) -> np.ndarray:
        """(I - J)^-1 right, with J the derivative of log T c in log c: no entry is negative, rows sum to `slope`."""
        n, m = self.consumption.shape
        incomes, rows = np.arange(m), np.arange(n * m).reshape(n, m, 1)
        values, columns = [], []
        for index, weight in ((self.interval, 1 - self.weight), (self.interval + 1, self.weight)):
            scale = self.slope * weight * self.before[index, incomes] / self.following
            values.append(scale[..., None] * self.shares[index, incomes])
            columns.append(index[..., None] * m + incomes)
        where = [np.broadcast_to(rows, (n, m, 2 * m)).ravel(), np.concatenate(columns, -1).ravel()]
        derivative = scipy.sparse.coo_array((np.concatenate(values, -1).ravel(), where), (n * m, n * m))
        system = (scipy.sparse.eye_array(n * m) - derivative).tocsc()
        return scipy.sparse.linalg.splu(system).solve(right.ravel()).reshape(n, m)


def _step(problem: _Problem, consumption: np.ndarray) -> _Step:
    """One step of the endogenous grid method, from consumption next period that increases in assets."""
    before, shares = problem.consumption_before(consumption)
    at = before + problem.assets[:, None]  # the cash on hand at which each point of the grid is saved
    below = [np.searchsorted(at[:, e], problem.cash[:, e], side="right") - 1 for e in range(problem.cash.shape[1])]
    now = consumption_at(problem.cash, before, problem.assets, np.stack(below, 1))
    return _Step(consumption, now.consumption, before, shares, now.interval, now.weight, now.slope)


@np.errstate(all="ignore")  # the status says if a number is not finite
def _solve(problem: _Problem, start: np.ndarray, tolerance: float, max_steps: int) -> tuple[_Step, int]:
    """The last step, and the number of steps."""
    here, steps, failures, pause, share = _step(problem, start), 1, 0, _PLAIN_STEPS, 1.0
    while here.residual > _ROUNDING and steps < max_steps:
        here, taken = _steps(problem, here, min(pause, max_steps - steps))
        steps, pause = steps + taken, 0
        if not np.isfinite(here.residual) or steps >= max_steps:
            break
        newton = share * np.clip(here.solve(here.change), -1, 1)
        goal = (1 - _SUFFICIENT_DECREASE * share) * here.residual
        trial = _step(problem, np.maximum.accumulate(here.consumption * np.exp(newton)))
        # At kinks Newton's method leaves large errors of few points, which some steps take away.
        trial, taken = _steps(problem, trial, min(_PLAIN_STEPS, max_steps - steps - 1), goal)
        steps += 1 + taken
        if trial.residual <= goal:
            here, share = trial, min(2 * share, 1.0)
        elif here.residual <= tolerance and failures >= _MAX_FAILURES:
            break
        else:
            failures += 1
            pause, share = _PLAIN_STEPS * failures, max(share / 2, _MIN_SHARE)
    return here, steps


def _steps(problem: _Problem, here: _Step, max_steps: int, goal: float = _ROUNDING) -> tuple[_Step, int]:
    """Plain steps until the residual is at the goal, at most `max_steps`; the last one, and the number of steps."""
    taken = 0
    while taken < max_steps and not here.residual <= goal:
        here, taken = _step(problem, here.following), taken + 1
    return here, taken


@np.errstate(all="ignore")
def _bound(problem: _Problem, here: _Step) -> float:
    """A bound on |log T c - log c*|, from consumption below and above c that encloses c*.

    It is sought at growing distances from c in the direction of (I - J)^-1 1. If J were constant, any distance above
    `residual` would do.
    """
    if not np.isfinite(here.residual):
        return np.inf
    direction = here.solve(np.ones_like(here.following))
    if not (np.isfinite(direction).all() and direction.min() > 0):
        return np.inf
    distance = here.residual + _ROUNDING
    for _ in range(_MAX_DOUBLINGS):
        distance *= 2
        around = np.exp(distance * direction)
        high = np.maximum.accumulate(here.consumption * around)
        low = np.minimum.accumulate((here.consumption / around)[::-1])[::-1]
        below = _step(problem, high).following <= high * (1 - _ROUNDING)
        above = _step(problem, low).following >= low * (1 + _ROUNDING)
        if (above & below).all():
            widest = max(np.log(high / here.consumption).max(), np.log(here.consumption / low).max())
            return float(widest + here.residual)
        if not distance * direction.max() < 1:
            break
    return np.inf


def _euler_error(household: Household, problem: _Problem, savings: Float[np.ndarray, "assets incomes"]) -> float:
    assets, consumption = problem.assets, problem.cash - savings
    index, weight = map(np.asarray, _lottery(household, savings))
    low, high = consumption[index], consumption[index + 1]  # (n, m, m'): at a'(a, e), for every next income
    following = low + weight[..., None] * (high - low)
    error = np.abs(1 - problem.consumption_before(following)[0] / consumption)
    return float(np.max(np.where((savings > assets[0]) & (savings < assets[-1]), error, 0)))


@jax.jit
def _lottery(
    household: Household, savings: Float[Array | np.ndarray, "assets incomes"]
) -> tuple[Int[Array, "assets incomes"], Float[Array, "assets incomes"]]:
    return household.grid.lottery(jnp.asarray(savings) - household.borrowing_limit)
