"""Statistics of samples: confidence intervals, slopes of power laws, evidence against a hypothesis, learning curves.

`scipy.stats`, which takes long to import, is imported by the functions that need it.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

_RESAMPLES = 2000  # of the bootstrap
_LEAST_P_VALUE = 1e-300  # smaller p-values count as this one

Curve = Sequence[Sequence[float]]  # points (seconds, value, ...) in order of time


class Interval(NamedTuple):
    """An estimate, and the ends of its 95 % confidence interval."""

    value: float
    low: float
    high: float


class Band(NamedTuple):
    """The mean over seeds and its 95 % confidence band by Student's t; the band is NaN where there is one seed only."""

    seconds: Float[np.ndarray, " points"]
    mean: Float[np.ndarray, " points"]
    low: Float[np.ndarray, " points"]
    high: Float[np.ndarray, " points"]


# Intervals.


def student_margin(stderr: Any, freedom: int) -> Any:
    """Half the width of a 95 % confidence interval by Student's t, of a standard error with its degrees of freedom."""
    return stdtrit(freedom, 0.975) * stderr


def mean_and_half_width(
    values: Float[np.ndarray, "seeds *points"],
) -> tuple[Float[np.ndarray, "*points"], Float[np.ndarray, "*points"]]:
    """The mean over seeds, and half of its 95 % confidence interval by Student's t (NaN for one seed)."""
    count = len(values)
    mean = np.asarray(values.mean(axis=0))
    if count == 1:
        return mean, np.full_like(mean, math.nan)
    stderr = np.asarray(values.std(axis=0, ddof=1)) / math.sqrt(count)
    return mean, np.asarray(student_margin(stderr, count - 1))


def bootstrap_interval(sample: Float[np.ndarray, " n"], over: Float[np.ndarray, " n"] | None = None) -> Interval:
    """The mean of a sample, or its ratio to the mean of another paired with it, by the percentile bootstrap."""
    import scipy.stats

    if np.ptp(sample) == 0 and over is None:
        return Interval(*3 * [float(sample[0])])
    samples = (sample,) if over is None else (sample, over)

    def statistic(sample: np.ndarray, over: np.ndarray | None = None, *, axis: int) -> Any:
        return sample.mean(axis=axis) / (1.0 if over is None else over.mean(axis=axis))

    ends = scipy.stats.bootstrap(
        samples, statistic, n_resamples=_RESAMPLES, paired=True, vectorized=True, method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return Interval(float(statistic(*samples, axis=0)), float(ends.low), float(ends.high))


def studentised_interval(sample: Float[np.ndarray, " n"], level: float) -> Interval:
    """The mean of a sample and its interval by the bootstrap of Student's t, which allows for skewed samples.

    Reference: Efron & Tibshirani 1993, An Introduction to the Bootstrap, section 12.5.
    """
    count, mean = len(sample), float(sample.mean())
    drawn = np.random.default_rng(0).choice(sample, (_RESAMPLES, count))
    errors = drawn.std(axis=1, ddof=1)
    usable = errors > 0
    if not usable.any():
        return Interval(mean, mean, mean)
    ratios = (drawn[usable].mean(axis=1) - mean) / errors[usable]
    high, low = np.quantile(ratios, [(1 + level) / 2, (1 - level) / 2]) * sample.std(ddof=1)
    return Interval(mean, mean - float(high), mean - float(low))


def squared_deviations(replicates: Float[np.ndarray, "replicates coordinates"]) -> Float[np.ndarray, " replicates"]:
    """Squared distances from the mean, scaled so that their mean is the trace of the covariance, unbiased."""
    count = len(replicates)
    return np.sum((replicates - replicates.mean(axis=0)) ** 2, axis=1) * (count / (count - 1))


# Power laws.


def log_log_slope(points: Iterable[tuple[float, float]]) -> float | None:
    """The slope of log y against log x by least squares, for points (x, y); None for fewer than two different x."""
    import scipy.stats

    logs = np.log(np.array(list(points), float).reshape(-1, 2))
    return None if len(set(logs[:, 0])) < 2 else float(scipy.stats.linregress(*logs.T).slope)


# Evidence.


def evidence(p_value: float) -> float:
    """-log10 p, at most 300; large numbers speak against the hypothesis."""
    return -math.log10(max(p_value, _LEAST_P_VALUE))


def bonferroni(p_values: Float[np.ndarray, " tests"]) -> float:
    """The evidence of the smallest p-value times the number of tests, valid however the tests depend on each other."""
    return evidence(float(np.minimum(np.min(p_values) * len(p_values), 1))) + 0.0


def evidence_against_zero_mean(differences: Float[np.ndarray, " n"], size: float = 0.0) -> float:
    """The evidence of a t-test against a mean of zero, for differences of numbers of this size.

    What rounding may have added to the differences is subtracted first; where nothing is left, the evidence is zero.
    """
    import scipy.stats

    rounding = 64 * float(jnp.finfo(jnp.result_type(float)).eps) * size
    differences = np.sign(differences) * np.maximum(np.abs(differences) - rounding, 0)
    if not differences.any():
        return 0.0
    return evidence(float(scipy.stats.ttest_1samp(differences, 0.0).pvalue))


# Learning curves.


def band(curves: Sequence[Curve], *, points: int = 200) -> Band:
    """The mean of the curves of several seeds and its band, interpolated linearly where all curves have values."""
    seconds = [np.array([point[0] for point in curve]) for curve in curves]
    start, end = max(s[0] for s in seconds), min(s[-1] for s in seconds)
    grid = np.linspace(min(start, end), end, points)
    values = [
        np.interp(grid, s, np.array([point[1] for point in curve])) for s, curve in zip(seconds, curves, strict=True)
    ]
    mean, half_width = mean_and_half_width(np.stack(values))
    return Band(grid, mean, mean - half_width, mean + half_width)


def time_to(curve: Curve, level: float) -> float:
    """The seconds until the value is first at or below a level; infinity if it never is.

    Between two points the logarithm of the value is taken as linear in the seconds. Before the first point nothing is
    known: a level that is reached by then counts as reached at it.
    """
    earlier: tuple[float, float] | None = None
    for seconds, value, *_ in curve:
        if value <= level:
            if earlier is None or value <= 0:
                return seconds
            share = math.log(earlier[1] / level) / math.log(earlier[1] / value)
            return earlier[0] + share * (seconds - earlier[0])
        earlier = (seconds, value)
    return math.inf
