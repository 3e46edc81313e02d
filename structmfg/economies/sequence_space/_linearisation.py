"""The linear response of Krusell and Smith's economy beside its response in an equilibrium with common noise.

Sequence space linearises in the aggregate shock; a forecasting equilibrium (`forecasting_equilibrium`) does not: its
households know that productivity is random for all, and save against it. Both are answers to one question: how much
does the expected path of capital differ between a good and a bad phase today? Where they agree, linearisation is right.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from structmfg._checks import check_integer, check_kind
from structmfg.economies._forecasting_equilibrium import ForecastingEquilibrium, simulate
from structmfg.economies._krusell_smith import KrusellSmith
from structmfg.economies.sequence_space._capital import CapitalEconomy
from structmfg.economies.sequence_space._economy import SequenceSteadyState, steady_state
from structmfg.economies.sequence_space._linear import linearise
from structmfg.economies.sequence_space._paths import autoregressive
from structmfg.economies.sequence_space._saving import SavingBlock


class ResponseOfCapital(NamedTuple):
    """E[K_t | good phase at 0] - E[K_t | bad phase at 0] over the difference in log productivity, in two ways.

    Attributes:
        linear: To first order, (T,); K_t is capital at the beginning of period t.
        equilibrium: In the forecasting equilibrium, from the same mean field in both phases, (T,).
        standard_error: The standard error (T,) of `equilibrium`, over random phases. The linear response along them is
            the control variate.
        steady_capital: K of the steady state without aggregate shocks.
        mean_capital: Mean K along the path of the forecasting equilibrium, which a linear economy has at
            `steady_capital`.
    """

    linear: Float[np.ndarray, " horizon"]
    equilibrium: Float[np.ndarray, " horizon"]
    standard_error: Float[np.ndarray, " horizon"]
    steady_capital: float
    mean_capital: float


def without_aggregate_shocks(economy: KrusellSmith) -> SequenceSteadyState:
    """Return the steady state in sequence space of an economy whose employment does not depend on the phase.

    Raises:
        ValueError: If employment depends on the phase, which no input of the household expresses, or no one may have
            the income zero for ever.
    """
    check_kind("economy", economy, KrusellSmith)
    employment = economy.employment()
    if not np.allclose(employment, employment[0, 0], atol=1e-12):
        raise ValueError(
            "employment must not depend on the phase, but has unemployment "
            f"{economy.unemployment}, unemployment_duration {economy.unemployment_duration} and unemployed_on_change "
            f"{economy.unemployed_on_change}: each pair must be two equal numbers, the last (1.0, 1.0)"
        )
    block = SavingBlock(economy.grid, 0.0, economy.incomes()[0], employment[0, 0], economy.risk_aversion)
    capital = CapitalEconomy(block, economy.capital_share, economy.depreciation, float(economy.labour()[0]))
    values = {"productivity": float(np.mean(economy.productivity)), "discount": economy.discount}
    return steady_state(capital, {**values, "capital": 1.02 * economy.steady_capital}, unknown=["capital"])


def response_of_capital(
    found: ForecastingEquilibrium, *, horizon: int = 40, num_paths: int = 256, seed: int = 0
) -> ResponseOfCapital:
    """Compare the linear response of capital to the phase with that of a forecasting equilibrium.

    Args:
        found: The equilibrium, of an economy whose employment does not depend on the phase.
        horizon: T.
        num_paths: Paths of phases; the paths from a good and from a bad phase share their random numbers.
        seed: The seed of the random phases.
    """
    check_integer("horizon", horizon, at_least=2)
    check_integer("num_paths", num_paths, at_least=2)
    economy = found.economy
    steady = without_aggregate_shocks(economy)
    low, high = np.log(economy.productivity)
    persistence = 1 - 2 / economy.phase_duration
    shock = autoregressive(steady.aggregates["productivity"], persistence, 300)  # of log productivity, by one
    change = linearise(steady.economy, steady).response({"productivity": shock})["capital"]
    linear = np.concatenate([[0.0], change[: horizon - 1]])
    with jax.enable_x64(True):
        redrawn, drawn = _draws(horizon, num_paths, 2 / economy.phase_duration, seed)
        start = jnp.asarray(steady.households["household"].mean_field)
        phases = [_phases(first, redrawn, drawn) for first in (0, 1)]
        bad, good = (_capital(found, start, path) for path in phases)
    along = _linear_along(linear, (phases[1] - phases[0])[:, :horizon], persistence)
    difference = (good - bad) / (high - low) - along + linear
    error = difference.std(axis=0, ddof=1) / np.sqrt(num_paths)
    mean_capital = float(np.mean(found.path.capital[len(found.path.capital) // 10 :]))
    return ResponseOfCapital(linear, difference.mean(axis=0), error, steady.aggregates["capital"], mean_capital)


def _linear_along(
    linear: Float[np.ndarray, " horizon"], difference: np.ndarray, persistence: float
) -> Float[np.ndarray, "paths horizon"]:
    """The linear response along every path of the difference in phases: a control variate, whose mean is `linear`."""
    innovations = difference - persistence * np.pad(difference, ((0, 0), (1, 0)))[:, :-1]
    responses = [np.convolve(path, linear)[: len(linear)] for path in innovations]
    return np.array(responses)


def _draws(
    horizon: int, num_paths: int, chance: float, seed: int
) -> tuple[Bool[np.ndarray, "paths horizon"], Bool[np.ndarray, "paths horizon"]]:
    """When the phase is drawn anew, from then on without memory, and what is drawn."""
    random = np.random.default_rng(seed)
    return random.random((num_paths, horizon)) < chance, random.random((num_paths, horizon)) < 0.5


def _phases(
    first: int, redrawn: Bool[np.ndarray, "paths horizon"], drawn: Bool[np.ndarray, "paths horizon"]
) -> np.ndarray:
    """Phases z_0..z_T of every path: a phase stays until it is drawn anew, and then no longer depends on the first."""
    phases = np.full((len(drawn), drawn.shape[1] + 1), first)
    for t in range(drawn.shape[1]):
        phases[:, t + 1] = np.where(redrawn[:, t], drawn[:, t], phases[:, t])
    return phases


def _capital(
    found: ForecastingEquilibrium, start: Float[Array, " states"], phases: np.ndarray
) -> Float[np.ndarray, "paths horizon"]:
    """Capital at the beginning of every period."""
    savings = jnp.asarray(found.savings)

    def along(path: Array) -> Array:
        return simulate(found.economy, savings, start, path)[0].capital

    return np.asarray(jax.lax.map(along, jnp.asarray(phases)))
