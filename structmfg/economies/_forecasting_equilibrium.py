"""Equilibria in which households forecast with the mean of the mean field alone (Krusell & Smith 1998).

The state of the economy is the whole mean field of assets and employment. Households observe only mean assets K and the
phase z, and expect log K' = a_z + b_z log K, the forecasting rule. A search for the rule repeats three steps:

1. Given the rule, the endogenous grid method solves the households' problem over (a, e, z, K).
2. The operators of the policy move the mean field along one long path of phases, without sampling agents (Young 2010,
   doi:10.1016/j.jedc.2008.11.010).
3. Least squares on this path gives the next rule. In equilibrium it is the rule that the households had.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from structmfg._checks import check_between, check_integer, check_kind, check_positive, check_shape
from structmfg._results import RESULTS
from structmfg.economies._endogenous_grid import consumption_before
from structmfg.economies._forecasting_rule import SimulatedPath, drift, fit_rule, kept_periods, predict
from structmfg.economies._krusell_smith import KrusellSmith

_POLICY_TOLERANCE = 1e-9  # change of savings in one step, in units of the capital of the steady state
_POLICY_STEPS = 20_000
_MAX_TOP_MASS = 1e-6  # share of households at the last grid point, above which the grid ends too early
_ROUGH_RESIDUAL = 1e-3  # a rule with such a residual shows whether its path stays on the grid
_RULES_BEFORE_EXTENSION = 10  # after so many rules the grid is extended even if the rule is still rough
_MAX_EXTENSIONS = 20


class ForecastingEquilibrium(NamedTuple):
    """The result of `forecasting_equilibrium`, in float64.

    Attributes:
        rule: (2, 2), rows (a_z, b_z) for z = 0, 1: log K' = a_z + b_z log K.
        savings: a'[a, e, z, K] on the economy's grids.
        path: Aggregates along the path under these savings.
        mean_field: (S,), after the path.
        result: A member of `RESULTS`.
        stats: See `forecasting_equilibrium`.
        economy: The economy with the grids that were used.
    """

    rule: Float[np.ndarray, "2 2"]
    savings: Float[np.ndarray, "assets 2 2 capital"]
    path: SimulatedPath
    mean_field: Float[np.ndarray, " states"]
    result: RESULTS
    stats: dict[str, Any]
    economy: KrusellSmith

    @property
    def succeeded(self) -> bool:
        """Whether the rule is that of an equilibrium, within the tolerance."""
        return self.result.succeeded


def forecasting_equilibrium(
    economy: KrusellSmith,
    *,
    periods: int = 11_000,
    dropped: int = 1_000,
    seed: int = 0,
    tolerance: float = 1e-7,
    damping: float = 0.3,
    max_steps: int = 100,
    initial: Float[Array | np.ndarray, "2 2"] | None = None,
    extend: bool = True,
    throw: bool = True,
) -> ForecastingEquilibrium:
    """Find the forecasting rule that comes true when households use it, in double precision.

    A grid that the path leaves is extended with the same density of points: the grid of assets to twice its range if
    more than a millionth of the households gather at its end, the grid of capital by half of its range on the side
    where the path leaves it. `economy` of the result has the grids that were used.

    Args:
        economy: The economy.
        periods: The length of the path.
        dropped: The number of first periods that the regression leaves out.
        seed: The seed from which the phases are drawn.
        tolerance: The largest change of the forecast log K', over the path, from one rule to the next at which to stop.
        damping: The share of the new rule in the next one.
        max_steps: The most rules to try.
        initial: The first rule (2, 2); by default K returns to the steady state by a twentieth a period.
        extend: Whether the grids may be extended, up to 20 times; if not, or where that does not suffice, the result is
            `truncated`.
        throw: Whether to raise `RuntimeError` if the result is not `converged`.

    Returns:
        The equilibrium. Its `stats` are residuals of the rule, the path and the policy returned; how far the rule is
        from one that holds exactly is not known:

        - `rule_residual`: what `tolerance` bounds.
        - `r_squared`, `deviation`: of the regression on the path in each phase, R^2 and the standard deviation of the
          error of log K'.
        - `drift`: the largest |log K - log K^| where K^ follows the rule alone from the first period kept, along the
          same phases; the sharper test of a rule (den Haan 2010, CEPR discussion paper 6971).
        - `policy_residual`: the change of savings in the last step of the endogenous grid method.
        - `euler_error`: the mean over `mean_field` of |1 - c~ / c|, with c~ the consumption that the Euler equation
          gives for the policy.
        - `top_mass`: the largest share of households at the last point of the asset grid.
        - `max_assets`, `num_assets`, `capital_range`, `num_capital`: the grids; `extended`: how often they grew.
        - `steps`: the number of rules tried.

    Raises:
        ValueError: If an argument is out of range, or a phase is too rare on the path to fit a rule.
        RuntimeError: If `throw` is set and the result is not `converged`.
    """
    check_kind("economy", economy, KrusellSmith)
    check_integer("dropped", dropped, at_least=0)
    check_integer("periods", periods, at_least=dropped + 100)
    check_integer("seed", seed, at_least=0)
    check_positive("tolerance", tolerance)
    check_between("damping", damping, 0, 1, open_low=True)
    check_integer("max_steps", max_steps, at_least=1)
    steady = np.tile([0.05 * np.log(economy.steady_capital), 0.95], (2, 1))
    first = steady if initial is None else np.asarray(initial, np.float64)
    check_shape("initial", first, (2, 2))
    phases = _draw_phases(economy, periods, seed)
    if (rarest := int(np.bincount(phases[dropped : periods - 1], minlength=2).min())) < 10:
        raise ValueError(f"either phase must be seen at least 10 times to fit a rule, but one is seen {rarest} times")
    with jax.enable_x64(True):
        equilibrium = _search(economy, first, phases, dropped, tolerance, damping, max_steps, extend)
    if throw and not equilibrium.succeeded:
        raise RuntimeError(f"{equilibrium.result.value} Rule {equilibrium.rule.tolist()}: {equilibrium.stats}")
    return equilibrium


def _draw_phases(economy: KrusellSmith, periods: int, seed: int) -> Int[np.ndarray, " periods"]:
    """Phases z_0..z_T, the first one either with probability 1/2."""
    uniform = np.random.default_rng(seed).random(periods + 1)
    transition = economy.phases()
    phases = [int(uniform[0] < 0.5)]
    for u in uniform[1:]:
        phases.append(int(u < transition[phases[-1], 1]))
    return np.array(phases)


class _Trial(NamedTuple):
    """A rule, the policy and the path that it leads to, and the rule `implied` by the path.

    `residual` is the largest difference between the forecasts of the two rules on the path.
    """

    rule: np.ndarray
    savings: Array
    policy_residual: float
    path: SimulatedPath
    mean_field: np.ndarray
    implied: np.ndarray
    fit: dict[str, Any]
    residual: float


@np.errstate(divide="ignore", invalid="ignore")  # the status says if a number is not finite
def _search(
    economy: KrusellSmith,
    first: np.ndarray,
    phases: np.ndarray,
    dropped: int,
    tolerance: float,
    damping: float,
    max_steps: int,
    extend: bool,
) -> ForecastingEquilibrium:
    trial, steps, extended = _try(economy, first, _start(economy), phases, dropped), 1, 0
    while trial.policy_residual <= _POLICY_TOLERANCE and steps < max_steps:
        conclusive = trial.residual <= max(tolerance, _ROUGH_RESIDUAL) or steps % _RULES_BEFORE_EXTENSION == 0
        wider = _widened(economy, trial.path) if extend and conclusive and extended < _MAX_EXTENSIONS else economy
        if wider != economy:
            economy, extended = wider, extended + 1
            trial, steps = _try(economy, trial.rule, _start(economy), phases, dropped), steps + 1
        elif trial.residual > tolerance:
            rule = trial.rule + damping * (trial.implied - trial.rule)
            trial, steps = _try(economy, rule, trial.savings, phases, dropped), steps + 1
        else:
            break
    error = _euler_error(economy, jnp.asarray(trial.rule), trial.savings, jnp.asarray(trial.mean_field))
    stats = {
        "rule_residual": trial.residual,
        **trial.fit,
        "drift": drift(trial.rule, trial.path, dropped),
        "policy_residual": trial.policy_residual,
        "euler_error": float(error),
        "top_mass": float(trial.path.top_mass.max()),
        "max_assets": economy.max_assets,
        "num_assets": economy.num_assets,
        "capital_range": economy.capital_range,
        "num_capital": economy.num_capital,
        "extended": extended,
        "steps": steps,
    }
    result = _status(economy, trial.path, stats, tolerance)
    savings = np.asarray(trial.savings)
    return ForecastingEquilibrium(trial.rule, savings, trial.path, trial.mean_field, result, stats, economy)


def _widened(economy: KrusellSmith, path: SimulatedPath) -> KrusellSmith:
    """The economy with grids that reach further where the path leaves them; itself where it does not."""
    changes: dict[str, Any] = {}
    if path.top_mass.max() > _MAX_TOP_MASS:
        longer = economy.grid.extended(2.0)
        changes |= {"num_assets": longer.num_points, "max_assets": longer.upper}
    low, high = economy.capital_range
    width = (high - low) / (economy.num_capital - 1)
    added = economy.num_capital // 2
    above = added if path.capital.max() > high * economy.steady_capital else 0
    below = min(added, int(0.9 * low / width)) if path.capital.min() < low * economy.steady_capital else 0
    if above or below:
        changes["capital_range"] = (low - below * width, high + above * width)
        changes["num_capital"] = economy.num_capital + above + below
    return dataclasses.replace(economy, **changes)


def _try(economy: KrusellSmith, rule: np.ndarray, start: Array, phases: np.ndarray, dropped: int) -> _Trial:
    savings, policy_residual = _solve(economy, jnp.asarray(rule), start)
    path, mean_field = simulate(economy, savings, economy.initial_mean_field(int(phases[0])), jnp.asarray(phases))
    path = SimulatedPath(*map(np.asarray, path))
    implied, fit = fit_rule(path, dropped)
    kept_phases, logs, _ = kept_periods(path, dropped)
    residual = float(np.max(np.abs(predict(implied - rule, kept_phases, logs))))
    return _Trial(rule, savings, float(policy_residual), path, np.asarray(mean_field), implied, fit, residual)


def _status(economy: KrusellSmith, path: SimulatedPath, stats: dict[str, Any], tolerance: float) -> RESULTS:
    """The status: the first fault, in the order in which one fault leads to another."""
    if not np.isfinite([stats["policy_residual"], stats["rule_residual"]]).all():
        return RESULTS.nonfinite
    if stats["policy_residual"] > _POLICY_TOLERANCE:
        return RESULTS.policy
    if stats["rule_residual"] > tolerance:
        return RESULTS.max_steps
    low, *_, high = np.asarray(economy.capital_grid.points())
    inside = (low <= path.capital.min()) & (path.capital.max() <= high) & (stats["top_mass"] <= _MAX_TOP_MASS)
    return RESULTS.converged if inside else RESULTS.truncated


def _cash(economy: KrusellSmith) -> Float[Array, "assets 2 2 capital"]:
    """Cash on hand [a, e, z, K]."""
    each = jax.vmap(jax.vmap(economy.cash, (0, None), -1), (None, 0), -2)
    return each(economy.capital_grid.points(), jnp.arange(2))


@functools.partial(jax.jit, static_argnums=0)
def _start(economy: KrusellSmith) -> Float[Array, "assets 2 2 capital"]:
    """Savings to start from, nine tenths of cash: every start that leaves something to consume would do."""
    return 0.9 * _cash(economy)


@functools.partial(jax.jit, static_argnums=0)
def _solve(
    economy: KrusellSmith, rule: Float[Array, "2 2"], start: Float[Array, "assets 2 2 capital"]
) -> tuple[Float[Array, "assets 2 2 capital"], Float[Array, ""]]:
    """Savings that are optimal if K follows the rule, and their largest change in the last step."""
    assets, cash = economy.grid.points(), _cash(economy)
    flat = (len(assets), -1)

    def body(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        savings, _, steps = state
        later = _later_consumption(economy, rule, cash - savings)[:, None]
        cash_now = _consumption_before(economy, rule, later) + assets[:, None, None, None]  # cash at which a' is saved
        following = jax.vmap(jnp.interp, (1, 1, None), 1)(cash.reshape(flat), cash_now.reshape(flat), assets)
        following = following.reshape(cash.shape)
        return following, jnp.max(jnp.abs(following - savings)) / economy.steady_capital, steps + 1

    def unfinished(state: tuple[Array, Array, Array]) -> Bool[Array, ""]:
        _, change, steps = state
        return (change > _POLICY_TOLERANCE) & (steps < _POLICY_STEPS)

    savings, change, _ = lax.while_loop(unfinished, body, (start, jnp.asarray(jnp.inf), jnp.asarray(0)))
    return savings, change


def _forecast(rule: Array, capital: Float[Array, " capital"]) -> Float[Array, "2 capital"]:
    """The forecast K' [z, K]."""
    return jnp.exp(rule[:, :1] + rule[:, 1:] * jnp.log(capital))


def _later_consumption(
    economy: KrusellSmith, rule: Float[Array, "2 2"], consumption: Float[Array, "assets 2 2 capital"]
) -> Float[Array, "assets 2 2 2 capital"]:
    """Consumption c(a', e', z', K') at the K' that is expected at (z, K), [a', e', z', z, K]."""
    index, weight = economy.capital_grid.lottery(_forecast(rule, economy.capital_grid.points()))
    return _interpolate(consumption, index, weight)


def _interpolate(values: Array, index: Array, weight: Array) -> Array:
    """Values (..., n) on a grid, interpolated between the grid points that a lottery names, with its weights."""
    return (1 - weight) * values[..., index] + weight * values[..., index + 1]


def _consumption_before(
    economy: KrusellSmith, rule: Float[Array, "2 2"], later: Float[Array, "assets any 2 2 2 capital"]
) -> Float[Array, "assets 2 2 capital"]:
    """Consumption [a, e, z, K] by the Euler equation, from c' [a, e or 1, e', z', z, K]."""
    expected_capital = _forecast(rule, economy.capital_grid.points())
    interest = jnp.stack([economy.prices(expected_capital, z)[0] for z in (0, 1)])  # [z', z, K]
    chances = jnp.einsum("zy,zyef->efyz", economy.phases(), economy.employment())[..., None]
    return consumption_before(later, chances, 1 + interest, economy.discount, economy.risk_aversion, axis=(2, 3))[0]


@functools.partial(jax.jit, static_argnums=0)
def _euler_error(
    economy: KrusellSmith,
    rule: Float[Array, "2 2"],
    savings: Float[Array, "assets 2 2 capital"],
    mean_field: Float[Array, " states"],
) -> Float[Array, ""]:
    """The mean over the mean field of |1 - c~ / c|, where neither end of the asset grid binds, at the worst (z, K)."""
    consumption = _cash(economy) - savings
    later = _later_consumption(economy, rule, consumption)[:, None]  # [a', 1, e', z', z, K]
    index, weight = (x[:, :, None, None] for x in economy.grid.lottery(savings))  # [a, e, 1, 1, z, K]
    low, high = (jnp.take_along_axis(later, i, 0) for i in (index, index + 1))
    error = jnp.abs(1 - _consumption_before(economy, rule, low + weight * (high - low)) / consumption)
    assets = economy.grid.points()
    error = jnp.where((savings > assets[0]) & (savings < assets[-1]), error, 0)
    return jnp.max(jnp.einsum("aezk,ae->zk", error, mean_field.reshape(-1, 2)))


@functools.partial(jax.jit, static_argnums=0)
def simulate(
    economy: KrusellSmith,
    savings: Float[Array, "assets 2 2 capital"],
    initial: Float[Array, " states"],
    phases: Int[Array, " more_periods"],
) -> tuple[SimulatedPath, Float[Array, " states"]]:
    """Aggregates under a policy along phases z_0..z_T from an initial mean field, and the mean field at T."""
    assets = economy.grid.points()

    def step(mean_field: Array, phase_pair: tuple[Array, Array]) -> tuple[Array, SimulatedPath]:
        phase, following = phase_pair
        mass = mean_field.reshape(-1, 2)
        capital = mass.sum(1) @ assets
        policy = _interpolate(savings[:, :, phase], *economy.capital_grid.lottery(capital))
        consumption = jnp.vdot(mass, economy.cash(capital, phase) - policy)
        now = SimulatedPath(phase, capital, economy.hours * mass[:, 1].sum(), consumption, mass[-1].sum())
        return economy.operator(policy, phase, following).move(mean_field), now

    mean_field, path = lax.scan(step, initial, (phases[:-1], phases[1:]))
    return path, mean_field
