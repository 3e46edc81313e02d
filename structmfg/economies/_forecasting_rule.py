"""Forecasting rules log K' = a_z + b_z log K: how they are fitted to a simulated path, and how well they fit."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int


class SimulatedPath(NamedTuple):
    """Aggregates of the mean field along T phases, at the beginning of each period.

    Attributes:
        phases: z (T,), 0 bad and 1 good.
        capital: K (T,), mean assets.
        labour: (T,), mean hours.
        consumption: (T,), mean consumption.
        top_mass: (T,), the share of households at the last point of the asset grid.
    """

    phases: Int[Array | np.ndarray, " periods"]
    capital: Float[Array | np.ndarray, " periods"]
    labour: Float[Array | np.ndarray, " periods"]
    consumption: Float[Array | np.ndarray, " periods"]
    top_mass: Float[Array | np.ndarray, " periods"]


def kept_periods(path: SimulatedPath, dropped: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """z, log K and the next log K of the periods that are not dropped."""
    logs = np.log(np.asarray(path.capital)[dropped:])
    return np.asarray(path.phases)[dropped:-1], logs[:-1], logs[1:]


def fit_rule(path: SimulatedPath, dropped: int) -> tuple[np.ndarray, dict[str, Any]]:
    """The rule that fits a path by least squares, and how well it fits."""
    phases, now, later = kept_periods(path, dropped)
    rule = np.array([_least_squares(now[phases == z], later[phases == z]) for z in (0, 1)])
    errors = later - predict(rule, phases, now)
    deviation = tuple(float(errors[phases == z].std()) for z in (0, 1))
    explained = tuple(1 - float(errors[phases == z].var() / later[phases == z].var()) for z in (0, 1))
    return rule, {"r_squared": explained, "deviation": deviation}


def _least_squares(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Intercept and slope; not finite if a point is not, or if all x are equal."""
    from_mean = x - x.mean()
    slope = float(from_mean @ y / (from_mean @ from_mean))
    return float(y.mean()) - slope * float(x.mean()), slope


def predict(rule: np.ndarray, phases: Any, logs: Any) -> Any:
    """log K' by the rule."""
    return rule[phases, 0] + rule[phases, 1] * logs


def drift(rule: np.ndarray, path: SimulatedPath, dropped: int) -> float:
    """The largest |log K - log K^| along a path, where K^ follows the rule alone from the first period kept."""
    phases, now, later = kept_periods(path, dropped)
    forecast = [now[0]]
    for phase in phases:
        forecast.append(predict(rule, phase, forecast[-1]))
    return float(np.max(np.abs(later - forecast[1:])))
