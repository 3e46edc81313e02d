"""Stationary equilibria without common noise: a policy, its stationary mean field, and the price that clears a market.

At each value of the unknown, `optimal_saving` gives the policy, a two-point lottery on the asset grid followed by the
chain of income gives its sparse transition operator, and `stationary` the mean field. Brent's method (1973) finds the
value at which excess demand for assets is zero.

>>> from structmfg.economies import Huggett
>>> equilibrium = stationary_equilibrium(Huggett(num_assets=100))
>>> round(equilibrium.unknown, 5)  # the interest rate
0.00557
>>> round(float(equilibrium.mean_field[0]), 4)  # the share of households with no assets and the least income
0.1180
>>> equilibrium.succeeded, equilibrium.stats["market_residual"] <= 1e-8
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

_POLICY_TOLERANCE = 1e-8  # error of log consumption
_MASS_TOLERANCE = 1e-5  # error of the mean field in L1, as far as it can be proven
_MAX_TOP_MASS = 1e-6  # share of households at the last grid point, above which the grid ends too early
_MAX_DOUBLINGS = 20  # of the length of the asset grid
_MAX_GROWTH = 10  # times the points of the economy's own grid, after which the grid is not extended


class StationaryEquilibrium(NamedTuple):
    """The result of `stationary_equilibrium`, in float64.

    Attributes:
        unknown: x.
        household: The problem of the households at x.
        savings: a'(a, e) (n, m).
        consumption: c(a, e) (n, m).
        mean_field: (n * m,); the state (a, e) has index asset_index * m + income_index.
        aggregates: Means per household: `assets` at the beginning of the period, `savings`, `consumption`, `supply` of
            assets, `income` from labour, and the economy's own quantities.
        result: A member of `RESULTS`.
        stats: See `stationary_equilibrium`.
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
        """Whether this is an equilibrium, within the tolerances."""
        return self.result.succeeded


class _Trial(NamedTuple):
    """Policy, mean field and market at one value of the unknown; `excess` demand is in units of mean labour income."""

    unknown: float
    household: Household
    saving: SavingSolution
    distribution: LinearSolution
    aggregates: dict[str, float]
    excess: float

    @property
    def top_mass(self) -> float:
        """The share of households at the last point of the asset grid."""
        return float(np.asarray(self.distribution.value).reshape(self.saving.savings.shape)[-1].sum())

    @property
    def failure(self) -> RESULTS | None:
        """The first fault, if there is one that makes `excess` meaningless."""
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
    """Find the stationary equilibrium of an economy between the ends of a bracket, in double precision.

    If more than a millionth of the households gather at the end of the asset grid, the grid is extended: the points of
    the economy's own grid stay, and points with the same relative density follow until the range has doubled, and so on
    (see `Grid.extended`). `household.grid` of the result is the grid that was used.

    Args:
        economy: See `structmfg.economies.Economy`.
        bracket: Two values of the unknown at which excess demand for assets has different signs. Default: the
            economy's own.
        tolerance: The largest excess demand, in units of mean labour income, at which the market counts as cleared.
        max_steps: The most values of the unknown to try.
        extend: Whether the grid may be extended, at most 20 times and to 10 times the points. If it is too short all
            the same, the result is `truncated`.
        throw: Whether to raise `RuntimeError` if the result is neither `converged` nor `residual`.

    Returns:
        The equilibrium. `result` is `converged` if excess demand is within the tolerance, the policy within 1e-8 of the
        optimal one on the grid (in log consumption) and the mean field within 1e-5 of the stationary one (in L1), both
        proven. `stats`:

        - `market_residual`: |excess demand| / mean labour income.
        - `bracket`: the nearest values tried on either side of the root, at which excess demand has different signs;
          only this bounds the error of the unknown.
        - `stationarity_residual`: ||A^T mu - mu||_1.
        - `mean_field_bound`: a proven bound on the error of mu, or infinite.
        - `policy_residual`, `policy_bound`, `euler_error`: see `optimal_saving`.
        - `top_mass`: the share of households at the last point of the asset grid.
        - `max_assets`, `num_assets`: the last point of the grid, and the number of points.
        - `extended`: how often the grid was extended.
        - `steps`: the number of values of the unknown that were tried.

    Raises:
        ValueError: If excess demand has the same sign at both ends, or a household's problem has no solution there.
        RuntimeError: If `throw` is set and the result is neither `converged` nor `residual`.
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
        equilibrium = _find_root(search, float(low), float(high), max_steps)
    if throw and equilibrium.result not in (RESULTS.converged, RESULTS.residual):
        raise RuntimeError(
            f"{equilibrium.result.value} {economy.unknown} {equilibrium.unknown:.10g}: {equilibrium.stats}"
        )
    return equilibrium


class _FailedTrial(Exception):  # noqa: N818 (it ends the search and is no error of the caller's)
    """A trial whose excess demand is meaningless."""

    def __init__(self, trial: _Trial) -> None:
        super().__init__()
        self.trial = trial


class _Search:
    """Excess demand as a function of the unknown; it keeps its trials, and starts each policy from the last one.

    On a grid that ends too early, households hold less than they would. So an excess above the tolerance has the right
    sign on any grid, and the grid is extended only at other values; it stays extended at the values tried later.
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
        """The pair of neighbouring values nearest to the best one between which excess demand changes its sign."""
        xs, best = sorted(self.trials), self.best.unknown
        signs = [self.trials[x].excess > 0 for x in xs]
        changes = [(low, high) for low, high, a, b in zip(xs, xs[1:], signs, signs[1:], strict=False) if a != b]
        return min(changes, key=lambda ends: abs(ends[0] - best) + abs(ends[1] - best), default=(xs[0], xs[-1]))

    def excess(self, x: float) -> float:
        """Excess demand at x, or zero if it is within the tolerance, which ends Brent's method."""
        if x not in self.trials:
            trial = self._try(x)
            while trial.excess <= self.tolerance and trial.top_mass > _MAX_TOP_MASS and self._may_extend(trial):
                self.doublings, self._last = self.doublings + 1, None
                trial = self._try(x)
            self.trials[x] = trial
        excess = self.trials[x].excess
        return 0.0 if abs(excess) <= self.tolerance else excess

    def _may_extend(self, trial: _Trial) -> bool:
        points = self.economy.household(trial.unknown).grid.num_points
        is_small = trial.household.grid.num_points < _MAX_GROWTH * points
        return self.extend and is_small and self.doublings < _MAX_DOUBLINGS

    def _try(self, x: float) -> _Trial:
        household = self.economy.household(x)
        if self.doublings:
            grid = household.grid.extended(2.0**self.doublings)
            household = dataclasses.replace(household, grid=grid)
        trial = _try(self.economy, x, household, self._last)
        self._last = trial.saving.consumption if trial.saving.succeeded else None
        if trial.failure:
            raise _FailedTrial(trial)
        return trial


@jax.jit
def _operator(household: Household, savings: Float[Array, "assets incomes"]) -> ExplicitOperator:
    """The transition operator of a policy as a sparse matrix, assembled by one compiled program."""
    return household.operator(savings).explicit()


def _mean_field(household: Household, saving: SavingSolution) -> LinearSolution:
    if saving.result == LINEAR_RESULTS.nonfinite:
        nonfinite: Any = LINEAR_RESULTS.nonfinite
        return LinearSolution(jnp.full(saving.savings.size, jnp.nan), nonfinite, {"residual": np.nan})
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


def _find_root(search: _Search, low: float, high: float, max_steps: int) -> StationaryEquilibrium:
    """The equilibrium at the value at which excess demand is zero, or at the first trial that fails."""
    import scipy.optimize

    try:
        _check_signs(search, low, high)
        smallest = {"xtol": 1e-15, "rtol": 4 * float(np.finfo(float).eps)}
        scipy.optimize.brentq(search.excess, low, high, **smallest, maxiter=max_steps - 2, disp=False)
    except _FailedTrial as failure:
        return _equilibrium(search, failure.trial, failure.trial.failure)
    return _equilibrium(search, search.best, None)


def _check_signs(search: _Search, low: float, high: float) -> None:
    ends = search.excess(low), search.excess(high)
    if ends[0] * ends[1] > 0:
        short = max(search.trials[x].top_mass for x in (low, high)) > _MAX_TOP_MASS
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
    result = failure or _status(trial, search.tolerance)
    policy, aggregates = (saving.savings, saving.consumption), trial.aggregates
    return StationaryEquilibrium(trial.unknown, trial.household, *policy, mass, aggregates, result, stats)


def _status(trial: _Trial, tolerance: float) -> RESULTS:
    if trial.top_mass > _MAX_TOP_MASS:
        return RESULTS.truncated
    if not abs(trial.excess) <= tolerance:
        return RESULTS.market
    proven = trial.saving.succeeded and trial.distribution.result == LINEAR_RESULTS.converged
    return RESULTS.converged if proven else RESULTS.residual
