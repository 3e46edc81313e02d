"""Means over independent replicates, with bootstrap intervals, and evidence against a mean of zero."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.stats
from jaxtyping import Float

from structmfg.verification._check import evidence

_RESAMPLES = 2000


class Interval(NamedTuple):
    """An estimate, and the ends of its 95 % confidence interval."""

    value: float
    low: float
    high: float


def squares(replicates: Float[np.ndarray, "replicates coordinates"]) -> Float[np.ndarray, " replicates"]:
    """Squared distances from the mean, scaled so that their mean is the trace of the covariance, unbiased."""
    count = len(replicates)
    return np.sum((replicates - replicates.mean(axis=0)) ** 2, axis=1) * (count / (count - 1))


def interval(sample: Float[np.ndarray, " n"], over: Float[np.ndarray, " n"] | None = None) -> Interval:
    """The mean of a sample, or its ratio to the mean of another paired with it, by the percentile bootstrap."""
    if np.ptp(sample) == 0 and over is None:
        return Interval(*3 * [float(sample[0])])
    samples = (sample,) if over is None else (sample, over)

    def statistic(sample: np.ndarray, over: np.ndarray | None = None, *, axis: int) -> Any:
        return sample.mean(axis=axis) / (1.0 if over is None else over.mean(axis=axis))

    found = scipy.stats.bootstrap(
        samples,
        statistic,
        n_resamples=_RESAMPLES,
        paired=True,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Interval(float(statistic(*samples, axis=0)), float(found.low), float(found.high))


def against_zero(differences: Float[np.ndarray, " n"], size: float = 0.0) -> float:
    """-log10 p of a t-test that the mean is zero, of differences between numbers of this size.

    What rounding may leave of them is taken off first; there is no evidence where nothing is left.
    """
    rounding = 64 * float(jnp.finfo(jnp.result_type(float)).eps) * size
    differences = np.sign(differences) * np.maximum(np.abs(differences) - rounding, 0)
    if not differences.any():
        return 0.0
    return evidence(float(scipy.stats.ttest_1samp(differences, 0.0).pvalue))
