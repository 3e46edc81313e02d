"""Equilibria in which households forecast with the mean of the mean field alone (Krusell & Smith 1998).

The state of the economy is the whole mean field of assets and employment. Households look at mean assets K and the
phase z, and expect log K' = a_z + b_z log K. Given this rule, the endogenous grid method solves their problem over
(a, e, z, K); the operators of the policy push the mean field along one long path of phases, without agents to sample
(Young 2010, doi:10.1016/j.jedc.2008.11.010); least squares on the path makes the next rule. In equilibrium it is the
rule that households had.
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
from structmfg.economies._krusell_smith import KrusellSmith

_POLICY_TOLERANCE = 1e-9  # of the change of savings in one step, in units of the capital of the steady state
_POLICY_STEPS = 20_000
_TOP_MASS = 1e-6  # more than this at the last grid point: the grid ends too early
_ROUGH = 1e-3  # a rule with such a residual tells whether its path stays on the grid
_PATIENCE = 10  # rules tried, after which the grid is extended anyway
_MOST_EXTENSIONS = 20


class Path(NamedTuple):
    """What happened along a path of T phases: aggregates (T,), before the step of each period.

    `capital` K, mean assets; `labour`, mean hours; `consumption`; `top_mass` at the last point of the asset grid: all
    of the mean field.
    """

    phases: Int[Array | np.ndarray, " periods"]
    capital: Float[Array | np.ndarray, " periods"]
    labour: Float[Array | np.ndarray, " periods"]
    consumption: Float[Array | np.ndarray, " periods"]
    top_mass: Float[Array | np.ndarray, " periods"]


class ForecastingEquilibrium(NamedTuple):
    """What `forecasting_equilibrium` found, in float64.

    `rule` [z, (a, b)]: log K' = a_z + b_z log K. `savings` a'[a, e, z, K] on the economy's grids. `path`: what happened
    under it; `mean_field` (S,) follows. `result`, a member of `RESULTS`; `stats`: see the function.
    `economy`, with the grids that were used.
    """

    rule: Float[np.ndarray, "2 2"]
    savings: Float[np.ndarray, "assets 2 2 capital"]
    path: Path
    mean_field: Float[np.ndarray, " states"]
    result: RESULTS
    stats: dict[str, Any]
    economy: KrusellSmith

    @property
    def succeeded(self) -> bool:
        """Whether this is an equilibrium."""
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
    """The rule that comes true when households forecast with it, in double precision.

    Grids that the path leaves are extended: that of assets to twice its range where more than a millionth of the
    households gather at its end, that of capital by half of its range on the side where the path leaves it, both as
    dense as they are. `economy` of the result has the grids that were used. Grids that suffice are left alone.

    Args:
        economy: Its phases are drawn once, from `seed`.
        periods: Of the path.
        dropped: The first ones, which the regression leaves out.
        seed: Of the phases.
        tolerance: Of the largest change of the forecast log K', over the path, that the regression makes.
        damping: The share of the new rule in the next one.
        max_steps: Rules tried, at most.
        initial: The first of them; default: back to the capital of the steady state by a twentieth in a period.
        extend: Whether the grids may be extended, up to 20 times; if not, or where that does not suffice, the result is
            `truncated`.
        throw: Whether to raise `RuntimeError` if the result is not `converged`.

    Returns:
        `stats`: `rule_residual`, what `tolerance` bounds; of the regression on the path `r_squared` and `deviation`,
        the standard deviation of the error of log K', each [z]; `drift`, the largest |log K - log K^| where K^ follows
        the rule alone from the first period kept, along the same phases, the sharper test of a rule (den Haan 2010,
        CEPR discussion paper 6971); `policy_residual`; `euler_error`, the mean over `mean_field` of |1 - c~ / c|,
        with c~ what the Euler equation makes of the policy; `top_mass`; `max_assets`, `num_assets`, `capital_range` and
        `num_capital` of the grids; `extended`, how often they were; `steps`. All of them are residuals of the rule, the
        path and the policy returned: how far the rule is from one that holds exactly is not known.
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
    phases = _draw(economy, periods, seed)
    if (rarest := int(np.bincount(phases[dropped : periods - 1], minlength=2).min())) < 10:
        raise ValueError(f"either phase must be seen at least 10 times to fit a rule, but one is seen {rarest} times")
    with jax.enable_x64(True):
        found = _search(economy, first, phases, dropped, tolerance, damping, max_steps, extend)
    if throw and not found.succeeded:
        raise RuntimeError(f"{found.result.value} Rule {found.rule.tolist()}: {found.stats}")
    return found


def _draw(economy: KrusellSmith, periods: int, seed: int) -> Int[np.ndarray, " periods"]:
    """Phases z_0..z_T, the first one either with probability 1/2."""
    uniform = np.random.default_rng(seed).random(periods + 1)
    chances = economy.phases()
    phases = [int(uniform[0] < 0.5)]
    for u in uniform[1:]:
        phases.append(int(u < chances[phases[-1], 1]))
    return np.array(phases)


class _Trial(NamedTuple):
    """What a rule leads to; `implied` is the rule of the path, `residual` how far its forecasts are from the rule's."""

    rule: np.ndarray
    savings: Array
    policy_residual: float
    path: Path
    mean_field: np.ndarray
    implied: np.ndarray
    fit: dict[str, Any]
    residual: float


@np.errstate(divide="ignore", invalid="ignore")  # the status tells of what is not finite
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
        known = trial.residual <= max(tolerance, _ROUGH) or steps % _PATIENCE == 0
        wider = _widened(economy, trial.path) if extend and known and extended < _MOST_EXTENSIONS else economy
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
        "drift": _drift(trial.rule, trial.path, dropped),
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
    result = _judged(economy, trial.path, stats, tolerance)
    savings = np.asarray(trial.savings)
    return ForecastingEquilibrium(trial.rule, savings, trial.path, trial.mean_field, result, stats, economy)


def _widened(economy: KrusellSmith, path: Path) -> KrusellSmith:
    """The economy with grids that reach further where the path leaves them; itself where it does not."""
    changes: dict[str, Any] = {}
    if path.top_mass.max() > _TOP_MASS:
        longer = economy.grid.extended(2.0)
        changes |= {"num_assets": longer.num_points, "max_assets": longer.upper}
    low, high = economy.capital_range
    width = (high - low) / (economy.num_capital - 1)
    more = economy.num_capital // 2
    above = more if path.capital.max() > high * economy.steady_capital else 0
    below = min(more, int(0.9 * low / width)) if path.capital.min() < low * economy.steady_capital else 0
    if above or below:
        changes["capital_range"] = (low - below * width, high + above * width)
        changes["num_capital"] = economy.num_capital + above + below
    return dataclasses.replace(economy, **changes)


def _try(economy: KrusellSmith, rule: np.ndarray, start: Array, phases: np.ndarray, dropped: int) -> _Trial:
    savings, policy_residual = _solve(economy, jnp.asarray(rule), start)
    path, mean_field = _simulate(economy, savings, jnp.asarray(phases))
    path = Path(*map(np.asarray, path))
    implied, fit = _regress(path, dropped)
    kept, logs, _ = _steps(path, dropped)
    residual = float(np.max(np.abs(_predict(implied - rule, kept, logs))))
    return _Trial(rule, savings, float(policy_residual), path, np.asarray(mean_field), implied, fit, residual)


def _judged(economy: KrusellSmith, path: Path, stats: dict[str, Any], tolerance: float) -> RESULTS:
    """The first thing that went wrong, in the order in which one leads to another."""
    if not np.isfinite([stats["policy_residual"], stats["rule_residual"]]).all():
        return RESULTS.nonfinite
    if stats["policy_residual"] > _POLICY_TOLERANCE:
        return RESULTS.policy
    if stats["rule_residual"] > tolerance:
        return RESULTS.max_steps
    low, *_, high = np.asarray(economy.capital_grid.points())
    inside = (low <= path.capital.min()) & (path.capital.max() <= high) & (stats["top_mass"] <= _TOP_MASS)
    return RESULTS.converged if inside else RESULTS.truncated


def _cash(economy: KrusellSmith) -> Float[Array, "assets 2 2 capital"]:
    """[a, e, z, K]."""
    each = jax.vmap(jax.vmap(economy.cash, (0, None), -1), (None, 0), -2)
    return each(economy.capital_grid.points(), jnp.arange(2))


@functools.partial(jax.jit, static_argnums=0)
def _start(economy: KrusellSmith) -> Float[Array, "assets 2 2 capital"]:
    """Nine tenths of the cash: any start does that leaves something to consume."""
    return 0.9 * _cash(economy)


@functools.partial(jax.jit, static_argnums=0)
def _solve(
    economy: KrusellSmith, rule: Float[Array, "2 2"], start: Float[Array, "assets 2 2 capital"]
) -> tuple[Float[Array, "assets 2 2 capital"], Float[Array, ""]]:
    """Savings that are optimal if K follows the rule, and how much they changed in the last step."""
    assets, cash = economy.grid.points(), _cash(economy)
    flat = (len(assets), -1)

    def body(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        savings, _, steps = state
        later = _later_consumption(economy, rule, cash - savings)[:, None]
        at = _consumption_before(economy, rule, later) + assets[:, None, None, None]  # the cash that is so divided
        following = jax.vmap(jnp.interp, (1, 1, None), 1)(cash.reshape(flat), at.reshape(flat), assets)
        following = following.reshape(cash.shape)
        return following, jnp.max(jnp.abs(following - savings)) / economy.steady_capital, steps + 1

    def unfinished(state: tuple[Array, Array, Array]) -> Bool[Array, ""]:
        _, change, steps = state
        return (change > _POLICY_TOLERANCE) & (steps < _POLICY_STEPS)

    savings, change, _ = lax.while_loop(unfinished, body, (start, jnp.asarray(jnp.inf), jnp.asarray(0)))
    return savings, change


def _forecast(rule: Array, capital: Float[Array, " capital"]) -> Float[Array, "2 capital"]:
    """K' at [z, K]."""
    return jnp.exp(rule[:, :1] + rule[:, 1:] * jnp.log(capital))


def _later_consumption(
    economy: KrusellSmith, rule: Float[Array, "2 2"], consumption: Float[Array, "assets 2 2 capital"]
) -> Float[Array, "assets 2 2 2 capital"]:
    """c(a', e', z', K') at the K' expected at (z, K): [a', e', z', z, K]."""
    index, weight = economy.capital_grid.lottery(_forecast(rule, economy.capital_grid.points()))
    return _between(consumption, index, weight)


def _between(values: Array, index: Array, weight: Array) -> Array:
    """Values (..., n) on a grid, interpolated where its lottery says."""
    return (1 - weight) * values[..., index] + weight * values[..., index + 1]


def _consumption_before(
    economy: KrusellSmith, rule: Float[Array, "2 2"], later: Float[Array, "assets any 2 2 2 capital"]
) -> Float[Array, "assets 2 2 capital"]:
    """c with u'(c) = beta E (1 + r') u'(c'), [a, e, z, K], from c' [a, e or 1, e', z', z, K]."""
    expected_capital = _forecast(rule, economy.capital_grid.points())
    interest = jnp.stack([economy.prices(expected_capital, z)[0] for z in (0, 1)])  # [z', z, K]
    chances = jnp.einsum("zy,zyef->efyz", economy.phases(), economy.employment())[..., None]
    # Powers of ratios to the least c' that may come neither overflow nor vanish at any risk aversion.
    least = jnp.min(jnp.where(chances > 0, later, jnp.inf), axis=(2, 3), keepdims=True)
    least = jnp.where(least > 0, least, 1)  # who may be left with nothing consumes nothing now
    marginal = (1 + interest) * jnp.where(chances > 0, later / least, 1) ** -economy.risk_aversion
    expected = jnp.sum(chances * marginal, axis=(2, 3))
    return least[:, :, 0, 0] * (economy.discount * expected) ** (-1 / economy.risk_aversion)


@functools.partial(jax.jit, static_argnums=0)
def _euler_error(
    economy: KrusellSmith,
    rule: Float[Array, "2 2"],
    savings: Float[Array, "assets 2 2 capital"],
    mean_field: Float[Array, " states"],
) -> Float[Array, ""]:
    """|1 - c~ / c| where neither end of the asset grid binds: the mean over the mean field, at the worst (z, K)."""
    consumption = _cash(economy) - savings
    later = _later_consumption(economy, rule, consumption)[:, None]  # [a', 1, e', z', z, K]
    index, weight = (x[:, :, None, None] for x in economy.grid.lottery(savings))  # [a, e, 1, 1, z, K]
    low, high = (jnp.take_along_axis(later, i, 0) for i in (index, index + 1))
    error = jnp.abs(1 - _consumption_before(economy, rule, low + weight * (high - low)) / consumption)
    assets = economy.grid.points()
    error = jnp.where((savings > assets[0]) & (savings < assets[-1]), error, 0)
    return jnp.max(jnp.einsum("aezk,ae->zk", error, mean_field.reshape(-1, 2)))


@functools.partial(jax.jit, static_argnums=0)
def _simulate(
    economy: KrusellSmith, savings: Float[Array, "assets 2 2 capital"], phases: Int[Array, " more_periods"]
) -> tuple[Path, Float[Array, " states"]]:
    """The path of the mean field under a policy, along phases z_0..z_T, and the mean field at T."""
    assets = economy.grid.points()

    def step(mean_field: Array, move: tuple[Array, Array]) -> tuple[Array, Path]:
        phase, following = move
        mass = mean_field.reshape(-1, 2)
        capital = mass.sum(1) @ assets
        policy = _between(savings[:, :, phase], *economy.capital_grid.lottery(capital))
        consumption = jnp.vdot(mass, economy.cash(capital, phase) - policy)
        now = Path(phase, capital, economy.hours * mass[:, 1].sum(), consumption, mass[-1].sum())
        return economy.operator(policy, phase, following).move(mean_field), now

    mean_field, path = lax.scan(step, economy.initial_mean_field(phases[0]), (phases[:-1], phases[1:]))
    return path, mean_field


def _steps(path: Path, dropped: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """z, log K and the next log K of the periods that are kept."""
    logs = np.log(np.asarray(path.capital)[dropped:])
    return np.asarray(path.phases)[dropped:-1], logs[:-1], logs[1:]


def _regress(path: Path, dropped: int) -> tuple[np.ndarray, dict[str, Any]]:
    """The rule of a path, by least squares, and how well it fits."""
    phases, now, later = _steps(path, dropped)
    rule = np.array([_line(now[phases == z], later[phases == z]) for z in (0, 1)])
    errors = later - _predict(rule, phases, now)
    deviation = tuple(float(errors[phases == z].std()) for z in (0, 1))
    explained = tuple(1 - float(errors[phases == z].var() / later[phases == z].var()) for z in (0, 1))
    return rule, {"r_squared": explained, "deviation": deviation}


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Intercept and slope by least squares; not finite where the points are not, or do not tell."""
    from_mean = x - x.mean()
    slope = float(from_mean @ y / (from_mean @ from_mean))
    return float(y.mean()) - slope * float(x.mean()), slope


def _predict(rule: np.ndarray, phases: Any, logs: Any) -> Any:
    """log K' by the rule."""
    return rule[phases, 0] + rule[phases, 1] * logs


def _drift(rule: np.ndarray, path: Path, dropped: int) -> float:
    phases, now, later = _steps(path, dropped)
    alone = [now[0]]
    for phase in phases:
        alone.append(_predict(rule, phase, alone[-1]))
    return float(np.max(np.abs(later - alone[1:])))
