"""Stationary equilibria without common noise: a policy, its stationary mean field, and the price that clears a market.

At each value of the unknown, `optimal_saving` gives the policy, the two-point lottery on the asset grid followed by the
chain of income turns it into a sparse transition operator, and `stationary` gives its mean field; Brent's method (1973)
finds where excess demand for assets is zero.

>>> from structmfg.economies import Huggett
>>> found = stationary_equilibrium(Huggett(num_assets=100))
>>> round(found.unknown, 5)  # the interest rate
0.00557
>>> round(float(found.mean_field[0]), 4)  # the share of households with no assets and the least income
0.1180
>>> found.succeeded, found.stats["market_residual"] <= 1e-8
(True, True)
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from structmfg._checks import check_integer, check_kind, check_positive
from structmfg._results import RESULTS
from structmfg.economies._economy import Economy, Household
from structmfg.economies._optimal_saving import SavingSolution, optimal_saving
from structmfg.linear import LINEAR_RESULTS, LinearSolution, stationary
from structmfg.operators import ExplicitOperator

_POLICY_TOLERANCE = 1e-8  # of the error of log consumption
_MASS_TOLERANCE = 1e-5  # of the error of the mean field in L1, as far as it can be proven
_TOP_MASS = 1e-6  # more than this at the last grid point: the grid ends too early
_MOST_DOUBLINGS = 20  # of the length of the asset grid
_MOST_POINTS = 10  # times as many as the economy has, after which the grid is not extended


class StationaryEquilibrium(NamedTuple):
    """`unknown` x; `household` at x; `savings` a'(a, e) and `consumption` (n, m); `mean_field` (n * m,); all float64.

    State (a, e) has index asset_index * m + income_index. `aggregates`: per household, `assets` at the beginning of the
    period, `savings`, `consumption`, `supply` of assets and `income` from labour, and the economy's own quantities.
    `result`, a member of `RESULTS`; `stats`: see `stationary_equilibrium`.
    """

    unknown: float
    household: Household
    savings: Float[np.ndarray, "assets incomes"]
    consumption: Float[np.ndarray, "assets incomes"]
    mean_field: Float[np.ndarray, " states"]
    aggregates: dict[str, float]
    result: RESULTS
    stats: dict[str, Any]

    @property
    def succeeded(self) -> bool:
        """Whether this is an equilibrium."""
        return self.result.succeeded


class _Trial(NamedTuple):
    """What a value of the unknown leads to; `excess` demand for assets is in units of mean labour income."""

    unknown: float
    household: Household
    saving: SavingSolution
    distribution: LinearSolution
    aggregates: dict[str, float]
    excess: float

    @property
    def top_mass(self) -> float:
        """Of households at the last point of the asset grid."""
        return float(np.asarray(self.distribution.value).reshape(self.saving.savings.shape)[-1].sum())

    @property
    def failure(self) -> RESULTS | None:
        """Why `excess` says nothing, if so: the first thing that went wrong."""
        if self.saving.result == LINEAR_RESULTS.nonfinite or not math.isfinite(self.aggregates["supply"]):
            return RESULTS.nonfinite
        if not _is_usable(self.saving.result):
            return RESULTS.policy
        if not _is_usable(self.distribution.result):
            return RESULTS.distribution
        return None if math.isfinite(self.excess) else RESULTS.nonfinite


def _is_usable(result: LINEAR_RESULTS) -> bool:
    return bool(result == LINEAR_RESULTS.converged) or bool(result == LINEAR_RESULTS.residual)


def stationary_equilibrium(
    economy: Economy,
    *,
    bracket: tuple[float, float] | None = None,
    tolerance: float = 1e-8,
    max_steps: int = 100,
    extend: bool = True,
    throw: bool = True,
) -> StationaryEquilibrium:
    """The stationary equilibrium of an economy between the ends of a bracket, in double precision.

    A grid of assets at whose end more than a millionth of the households gather, or would at a lower excess demand, is
    extended: the points of the economy's own grid stay, and others follow above them, as dense relative to their
    distance, until the range has doubled, and again (see `Grid.extended`). `household.grid` of the result is the grid
    that was used, and `stats` tell of it. A grid that suffices is left alone.

    Args:
        economy: See `structmfg.economies.Economy`.
        bracket: Two values of the unknown at which excess demand for assets has different signs. Default: the
            economy's own.
        tolerance: Of excess demand, in units of mean labour income.
        max_steps: Values of the unknown tried, at most.
        extend: Whether the grid may be extended, up to 20 times and to 10 times the points; if not, or where that does
            not suffice, the result is `truncated`.
        throw: Whether to raise `RuntimeError` if the result is neither `converged` nor `residual`.

    Returns:
        `result` is `converged` if, at the value returned, excess demand is within the tolerance, the policy within
        1e-8 of the optimal one on the grid (in log consumption) and the mean field within 1e-5 of the stationary one
        (in L1), both proven; the error of the unknown itself is known only as far as `bracket` tells. `stats`:
        `market_residual`, |excess demand| / mean labour income; `bracket`, the nearest values tried on either side of
        the root, at which excess demand has different signs; `stationarity_residual`, ||A^T mu - mu||_1;
        `mean_field_bound`, on the error of mu, where `stationary` proves one, else infinite; `policy_residual`,
        `policy_bound` and `euler_error`, see `optimal_saving`; `top_mass`, at the last point of the asset grid;
        `max_assets`, that point; `num_assets`, points; `extended`, how often the grid was; `steps`, values of the
        unknown tried.

    Raises:
        ValueError: If excess demand has the same sign at both ends, or a household's problem has no solution there.
    """
    check_positive("tolerance", tolerance)
    check_integer("max_steps", max_steps, at_least=3)
    check_kind("economy", economy, Economy)
    given = economy.bracket() if bracket is None else bracket
    if np.shape(given) != (2,):
        raise ValueError(f"bracket must be two values, the first below the second, but is {given!r}")
    low, high = given
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"bracket must be two finite values, the first below the second, but is ({low!r}, {high!r})")
    with jax.enable_x64(True):
        search = _Search(economy, tolerance, extend)
        found = _bracketed(search, float(low), float(high), max_steps)
    if throw and found.result not in (RESULTS.converged, RESULTS.residual):
        raise RuntimeError(f"{found.result.value} {economy.unknown} {found.unknown:.10g}: {found.stats}")
    return found


class _Failure(Exception):  # noqa: N818 (it ends the search and is no error of the caller's)
    """A trial whose excess demand must not be used."""

    def __init__(self, trial: _Trial) -> None:
        super().__init__()
        self.trial = trial


class _Search:
    """Excess demand as a function of the unknown: remembers its trials, and starts policies from the last one.

    Where the grid ends too early, households hold less than they would. So an excess above the tolerance has the right
    sign anyway, and only at others the grid is extended; it stays so at the values tried later.
    """

    def __init__(self, economy: Economy, tolerance: float, extend: bool) -> None:
        self.economy, self.tolerance, self.extend = economy, tolerance, extend
        self.trials: dict[float, _Trial] = {}
        self.doublings = 0
        self._last: np.ndarray | None = None

    @property
    def best(self) -> _Trial:
        return min(self.trials.values(), key=lambda trial: abs(trial.excess))

    @property
    def bracket(self) -> tuple[float, float]:
        """The values tried that are nearest to the best one, on either side, and at which excess has other signs."""
        xs, best = sorted(self.trials), self.best.unknown
        signs = [self.trials[x].excess > 0 for x in xs]
        changes = [(low, high) for low, high, a, b in zip(xs, xs[1:], signs, signs[1:], strict=False) if a != b]
        return min(changes, key=lambda ends: abs(ends[0] - best) + abs(ends[1] - best), default=(xs[0], xs[-1]))

    def excess(self, x: float) -> float:
        """Zero where it is within the tolerance, which ends Brent's method."""
        if x not in self.trials:
            trial = self._try(x)
            while trial.excess <= self.tolerance and trial.top_mass > _TOP_MASS and self._may_extend(trial):
                self.doublings, self._last = self.doublings + 1, None
                trial = self._try(x)
            self.trials[x] = trial
        excess = self.trials[x].excess
        return 0.0 if abs(excess) <= self.tolerance else excess

    def _may_extend(self, trial: _Trial) -> bool:
        points = self.economy.household(trial.unknown).grid.num_points
        few = trial.household.grid.num_points < _MOST_POINTS * points
        return self.extend and few and self.doublings < _MOST_DOUBLINGS

    def _try(self, x: float) -> _Trial:
        household = self.economy.household(x)
        if self.doublings:
            grid = household.grid.extended(2.0**self.doublings)
            household = dataclasses.replace(household, grid=grid)
        trial = _try(self.economy, x, household, self._last)
        self._last = trial.saving.consumption if trial.saving.succeeded else None
        if trial.failure:
            raise _Failure(trial)
        return trial


@jax.jit
def _operator(household: Household, savings: Float[Array, "assets incomes"]) -> ExplicitOperator:
    """As a sparse matrix, assembled by one compiled program."""
    return household.operator(savings).explicit()


def _mean_field(household: Household, saving: SavingSolution) -> LinearSolution:
    if saving.result == LINEAR_RESULTS.nonfinite:
        missing: Any = LINEAR_RESULTS.nonfinite
        return LinearSolution(jnp.full(saving.savings.size, jnp.nan), missing, {"residual": np.nan})
    return stationary(_operator(household, saving.savings), tolerance=_MASS_TOLERANCE)


def _try(economy: Economy, x: float, household: Household, start: np.ndarray | None) -> _Trial:
    saving = optimal_saving(household, tolerance=_POLICY_TOLERANCE, initial=start)
    distribution = _mean_field(household, saving)
    mass = np.asarray(distribution.value).reshape(saving.savings.shape)
    aggregates = {
        "assets": float(mass.sum(1) @ np.asarray(household.assets)),
        "savings": float(np.vdot(mass, saving.savings)),
        "consumption": float(np.vdot(mass, saving.consumption)),
        "income": float(mass.sum(0) @ np.asarray(household.incomes)),
        "supply": float(economy.supply(x)),
    }
    excess = (aggregates["assets"] - aggregates["supply"]) / aggregates["income"]
    return _Trial(x, household, saving, distribution, {**aggregates, **economy.quantities(x)}, excess)


def _bracketed(search: _Search, low: float, high: float, max_steps: int) -> StationaryEquilibrium:
    """Looks for the root."""
    import scipy.optimize

    try:
        _check_signs(search, low, high)
        smallest = {"xtol": 1e-15, "rtol": 4 * float(np.finfo(float).eps)}
        scipy.optimize.brentq(search.excess, low, high, **smallest, maxiter=max_steps - 2, disp=False)
    except _Failure as failure:
        return _equilibrium(search, failure.trial, failure.trial.failure)
    return _equilibrium(search, search.best, None)


def _check_signs(search: _Search, low: float, high: float) -> None:
    ends = search.excess(low), search.excess(high)
    if ends[0] * ends[1] > 0:
        short = max(search.trials[x].top_mass for x in (low, high)) > _TOP_MASS
        raise ValueError(
            f"excess demand for assets must have different signs at the ends of the bracket, but at {low:.10g} it is "
            f"{ends[0]:.6g} and at {high:.10g} it is {ends[1]:.6g} times mean labour income; "
            f"the unknown is the {search.economy.unknown}"
            + ("; households gather at the end of the asset grid: it must reach further (max_assets)" if short else "")
        )


def _equilibrium(search: _Search, trial: _Trial, failure: RESULTS | None) -> StationaryEquilibrium:
    saving, distribution = trial.saving, trial.distribution
    mass = np.asarray(distribution.value)
    stats = {
        "market_residual": abs(trial.excess),
        "bracket": search.bracket if search.trials else (math.nan, math.nan),
        "stationarity_residual": float(distribution.stats["residual"]),
        "mean_field_bound": float(distribution.stats.get("bound", math.inf)),
        "policy_residual": saving.stats["residual"],
        "policy_bound": saving.stats["bound"],
        "euler_error": saving.stats["euler_error"],
        "top_mass": trial.top_mass,
        "max_assets": float(trial.household.assets[-1]),
        "num_assets": trial.household.grid.num_points,
        "extended": search.doublings,
        "steps": len(search.trials),
    }
    result = failure or _judged(trial, search.tolerance)
    policy, aggregates = (saving.savings, saving.consumption), trial.aggregates
    return StationaryEquilibrium(trial.unknown, trial.household, *policy, mass, aggregates, result, stats)


def _judged(trial: _Trial, tolerance: float) -> RESULTS:
    if trial.top_mass > _TOP_MASS:
        return RESULTS.truncated
    if not abs(trial.excess) <= tolerance:
        return RESULTS.market
    proven = trial.saving.succeeded and trial.distribution.result == LINEAR_RESULTS.converged
    return RESULTS.converged if proven else RESULTS.residual
