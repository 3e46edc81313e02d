"""Intervals, slopes of power laws and learning curves, by hand."""

import math

import numpy as np
import pytest

from structmfg._statistics import band, log_log_slope, time_to


def curve(*points):
    return [(float(seconds), float(value)) for seconds, value in points]


def test_band_by_hand():
    """Three seeds, on their common seconds; 4.302653 is the 97.5 % quantile of Student's t with two degrees."""
    found = band([curve((0, 4), (2, 2)), curve((0, 5), (4, 1)), curve((1, 3), (2, 3))], points=2)
    np.testing.assert_allclose(found.seconds, [1, 2])
    np.testing.assert_allclose(found.mean, [(3 + 4 + 3) / 3, (2 + 3 + 3) / 3])
    half = 4.302653 * np.std([3, 4, 3], ddof=1) / math.sqrt(3)
    np.testing.assert_allclose(found.high[0] - found.mean[0], half, rtol=1e-6)
    np.testing.assert_allclose(found.mean[0] - found.low[0], half, rtol=1e-6)


def test_band_of_one_seed():
    found = band([curve((1, 3), (2, 1))], points=3)
    np.testing.assert_allclose(found.mean, [3, 2, 1])
    assert np.isnan(found.low).all()


@pytest.mark.parametrize(
    ("level", "seconds"),
    [(10, 1), (math.e**2, 1), (math.e, 1.5), (1, 2), (0.5, math.inf)],
)
def test_time_to_a_level(level, seconds):
    """Between checkpoints the logarithm is linear; nothing is claimed before the first one."""
    assert time_to(curve((1, math.e**2), (2, 1)), level) == pytest.approx(seconds)


def test_time_to_a_level_that_is_passed_twice():
    assert time_to(curve((1, 4), (2, 1), (3, 4), (4, 1)), 2.0) == pytest.approx(1.5)


def test_time_to_a_level_below_which_is_zero():
    assert time_to(curve((1, 4), (2, 0)), 2.0) == 2


def test_the_exponent_of_a_power_law():
    assert log_log_slope((size, 3e-9 * size**1.25) for size in (10, 100, 5000)) == pytest.approx(1.25)
    assert log_log_slope([(10, 1.0)]) is None
    assert log_log_slope([(10, 1.0), (10, 2.0)]) is None
