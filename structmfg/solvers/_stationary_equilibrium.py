"""Stationary equilibria without common noise: a policy, its stationary mean field, and the price that clears a market.

At each value of the unknown, `optimal_saving` gives the policy, the two-point lottery on the asset grid followed by the
chain of income turns it into a sparse transition operator, and `stationary` gives its mean field; Brent's method (1973)
finds where excess demand for assets is zero.

>>> from structmfg.games import Huggett
>>> found = stationary_equilibrium(Huggett(num_assets=100))
>>> round(found.unknown, 5)  # the interest rate
0.00557
>>> round(float(found.mean_field[0]), 4)  # the share of households with no assets and the least income
0.1180
>>> found.succeeded, found.stats["market_residual"] <= 1e-8
(True, True)
"""

import enum
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jaxtyping import Array, Float

from structmfg._checks import check_integer, check_kind, check_positive
from structmfg.games import Economy, Household
from structmfg.operators import ExplicitOperator
from structmfg.solvers._household import SavingSolution, optimal_saving
from structmfg.solvers._linear import LINEAR_RESULTS, LinearSolution
from structmfg.solvers._stationary import stationary

_POLICY_TOLERANCE = 1e-12  # of the relative change of consumption
_MASS_TOLERANCE = 1e-12  # of ||A^T mu - mu||_1
_TOP_MASS = 1e-6  # more than this at the last grid point: the grid ends too early


class EQUILIBRIUM_RESULTS(enum.Enum):  # noqa: N801 (as LINEAR_RESULTS)
    """How the search for a stationary equilibrium ended; the value is the whole message."""

    converged = "Policy, mean field and market are in equilibrium within the tolerances."
    market = "The market did not clear within the tolerance; the value nearest to it is the one reached."
    policy = "The policy of the households did not converge."
    distribution = "The stationary mean field was not found to the tolerance, or is not unique."
    truncated = "Households gather at the end of the asset grid: it must reach further (max_assets)."
    nonfinite = "Excess demand was not finite."


class StationaryEquilibrium(NamedTuple):
    """`unknown` x; `household` at x; `savings` a'(a, e) and `consumption` (n, m); `mean_field` (n * m,); all float64.

    State (a, e) has index asset_index * m + income_index. `aggregates`: per household, `assets` at the beginning of the
    period, `savings`, `consumption`, `supply` of assets and `income` from labour, and the economy's own quantities.
    `result`, a member of `EQUILIBRIUM_RESULTS`; `stats`: see `stationary_equilibrium`.
    """

    unknown: float
    household: Household
    savings: Float[np.ndarray, "assets incomes"]
    consumption: Float[np.ndarray, "assets incomes"]
    mean_field: Float[np.ndarray, " states"]
    aggregates: dict[str, float]
    result: EQUILIBRIUM_RESULTS
    stats: dict[str, Any]

    @property
    def succeeded(self) -> bool:
        """Whether this is an equilibrium."""
        return self.result is EQUILIBRIUM_RESULTS.converged


class _Trial(NamedTuple):
    """What a value of the unknown leads to; `excess` demand for assets is in units of mean labour income."""

    unknown: float
    household: Household
    saving: SavingSolution
    distribution: LinearSolution
    aggregates: dict[str, float]
    excess: float


def stationary_equilibrium(
    economy: Economy,
    *,
    bracket: tuple[float, float] | None = None,
    tolerance: float = 1e-8,
    max_steps: int = 100,
    throw: bool = True,
) -> StationaryEquilibrium:
    """The stationary equilibrium of an economy between the ends of a bracket, in double precision.

    Args:
        economy: See `structmfg.games.Economy`.
        bracket: Two values of the unknown at which excess demand for assets has different signs. Default: the
            economy's own.
        tolerance: Of excess demand, in units of mean labour income.
        max_steps: Values of the unknown tried, at most.
        throw: Whether to raise `RuntimeError` if the result is not `converged`.

    Returns:
        `stats`: `market_residual`, |excess demand| / mean labour income; `stationarity_residual`, ||A^T mu - mu||_1;
        `policy_residual` and `euler_error`, see `optimal_saving`; `top_mass`, at the last point of the asset grid;
        `steps`, values of the unknown tried.

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
        search = _Search(economy, tolerance)
        result = _bracketed(search, float(low), float(high), max_steps)
        found = _equilibrium(search, result)
    if throw and not found.succeeded:
        raise RuntimeError(f"{found.result.value} {economy.unknown} {found.unknown:.10g}: {found.stats}")
    return found


class _Search:
    """Excess demand as a function of the unknown: remembers its trials, and starts policies from the last one."""

    def __init__(self, economy: Economy, tolerance: float) -> None:
        self.economy, self.tolerance = economy, tolerance
        self.trials: dict[float, _Trial] = {}
        self._last: np.ndarray | None = None

    @property
    def best(self) -> _Trial:
        return min(
            self.trials.values(), key=lambda trial: abs(trial.excess) if math.isfinite(trial.excess) else math.inf
        )

    def excess(self, x: float) -> float:
        """Zero where it is within the tolerance, which ends Brent's method."""
        if x not in self.trials:
            trial = self.trials[x] = _try(self.economy, x, self._last)
            self._last = trial.saving.consumption if trial.saving.succeeded else None
        excess = self.trials[x].excess
        if not math.isfinite(excess):
            raise FloatingPointError
        return 0.0 if abs(excess) <= self.tolerance else excess


@jax.jit
def _operator(household: Household, savings: Float[Array, "assets incomes"]) -> ExplicitOperator:
    """As a sparse matrix, assembled by one compiled program."""
    return household.operator(savings).explicit()


def _mean_field(household: Household, saving: SavingSolution) -> LinearSolution:
    if saving.result == LINEAR_RESULTS.nonfinite:
        missing: Any = LINEAR_RESULTS.nonfinite
        return LinearSolution(jnp.full(saving.savings.size, jnp.nan), missing, {"residual": np.nan})
    return stationary(_operator(household, saving.savings), tolerance=_MASS_TOLERANCE)


def _try(economy: Economy, x: float, start: np.ndarray | None) -> _Trial:
    household = economy.household(x)
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


def _bracketed(search: _Search, low: float, high: float, max_steps: int) -> EQUILIBRIUM_RESULTS:
    """Looks for the root; whether the market cleared."""
    try:
        _check_signs(search, low, high)
        smallest = {"xtol": 1e-15, "rtol": 4 * float(np.finfo(float).eps)}
        scipy.optimize.brentq(search.excess, low, high, **smallest, maxiter=max_steps - 2, disp=False)
    except FloatingPointError:
        return EQUILIBRIUM_RESULTS.nonfinite
    cleared = abs(search.best.excess) <= search.tolerance
    return EQUILIBRIUM_RESULTS.converged if cleared else EQUILIBRIUM_RESULTS.market


def _check_signs(search: _Search, low: float, high: float) -> None:
    ends = search.excess(low), search.excess(high)
    if ends[0] * ends[1] > 0:
        raise ValueError(
            f"excess demand for assets must have different signs at the ends of the bracket, but at {low:.10g} it is "
            f"{ends[0]:.6g} and at {high:.10g} it is {ends[1]:.6g} times mean labour income; "
            f"the unknown is the {search.economy.unknown}"
        )


def _equilibrium(search: _Search, market: EQUILIBRIUM_RESULTS) -> StationaryEquilibrium:
    trial = search.best
    saving, distribution = trial.saving, trial.distribution
    mass = np.asarray(distribution.value)
    stats = {
        "market_residual": abs(trial.excess),
        "stationarity_residual": float(distribution.stats["residual"]),
        "policy_residual": saving.stats["residual"],
        "euler_error": saving.stats["euler_error"],
        "top_mass": float(mass.reshape(saving.savings.shape)[-1].sum()),
        "steps": len(search.trials),
    }
    result = _judged(trial, market, stats["top_mass"])
    policy, aggregates = (saving.savings, saving.consumption), trial.aggregates
    return StationaryEquilibrium(trial.unknown, trial.household, *policy, mass, aggregates, result, stats)


def _judged(trial: _Trial, market: EQUILIBRIUM_RESULTS, top_mass: float) -> EQUILIBRIUM_RESULTS:
    """The first thing that went wrong, in the order in which one leads to another."""
    if market is EQUILIBRIUM_RESULTS.nonfinite:
        return market
    if not trial.saving.succeeded:
        return EQUILIBRIUM_RESULTS.policy
    if trial.distribution.result != LINEAR_RESULTS.converged:
        return EQUILIBRIUM_RESULTS.distribution
    return EQUILIBRIUM_RESULTS.truncated if top_mass > _TOP_MASS else market
