"""Learning curves over seeds: mean, band, and the time at which a level is reached."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Float

Curve = Sequence[tuple[float, float, float]]


class Band(NamedTuple):
    """Mean over seeds, and its 95 % confidence band by Student's t; NaN where there is one seed only."""

    seconds: Float[np.ndarray, " points"]
    mean: Float[np.ndarray, " points"]
    low: Float[np.ndarray, " points"]
    high: Float[np.ndarray, " points"]


def band(curves: Sequence[Curve], *, points: int = 200) -> Band:
    """Curves of several seeds, interpolated linearly where all of them have values."""
    seconds = [np.array([point[0] for point in curve]) for curve in curves]
    start, end = max(s[0] for s in seconds), min(s[-1] for s in seconds)
    grid = np.linspace(min(start, end), end, points)
    values = [
        np.interp(grid, s, np.array([point[1] for point in curve])) for s, curve in zip(seconds, curves, strict=True)
    ]
    mean, half = mean_and_half_width(np.stack(values))
    return Band(grid, mean, mean - half, mean + half)


def mean_and_half_width(
    values: Float[np.ndarray, "seeds *points"],
) -> tuple[Float[np.ndarray, "*points"], Float[np.ndarray, "*points"]]:
    """The mean over seeds, and half of its 95 % confidence interval by Student's t (NaN for one seed)."""
    count = len(values)
    mean = np.asarray(values.mean(axis=0))
    if count == 1:
        return mean, np.full_like(mean, math.nan)
    error = np.asarray(values.std(axis=0, ddof=1)) / math.sqrt(count)
    return mean, np.asarray(scipy.stats.t.ppf(0.975, count - 1) * error)


def time_to(curve: Curve, level: float) -> float:
    """Seconds until the exploitability is first at or below a level; infinity if never.

    Between two checkpoints the logarithm of the exploitability is taken as linear in the seconds. Before the first one
    nothing is known: a level reached by then counts as reached at it.
    """
    before: tuple[float, float, float] | None = None
    for seconds, value, error in curve:
        if value <= level:
            if before is None or value <= 0:
                return seconds
            share = math.log(before[1] / level) / math.log(before[1] / value)
            return before[0] + share * (seconds - before[0])
        before = (seconds, value, error)
    return math.inf
