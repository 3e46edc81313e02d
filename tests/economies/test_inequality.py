"""Lorenz curves and Gini coefficients against closed forms, and against differences of all pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from structmfg.economies import gini, lorenz_curve


def pairs(x, w):
    """E|x - x'| / (2 E x)."""
    w = np.asarray(w) / np.sum(w)
    return np.einsum("i,j,ij", w, w, np.abs(np.subtract.outer(x, x))) / (2 * w @ x)


def test_closed_forms():
    """Uniform: 1/3; exponential: 1/2; two points a < b, of which the share p has a: p (1 - p) (b - a) / mean."""
    middles = (np.arange(1000) + 0.5) / 1000
    assert gini(middles) == pytest.approx(1 / 3, abs=1e-6)
    assert gini(-np.log(1 - middles)) == pytest.approx(1 / 2, abs=1e-3)
    assert gini([1.0, 5.0], [0.7, 0.3]) == pytest.approx(0.7 * 0.3 * 4 / (0.7 + 1.5), rel=1e-14)
    assert gini([2.0, 2.0, 2.0]) == pytest.approx(0, abs=1e-15)


def test_debtors():
    """The curve falls below zero; the coefficient may exceed 1."""
    curve = lorenz_curve([3.0, -2.0, 0.0], [1.0, 1.0, 2.0])
    np.testing.assert_allclose(curve.population, [0, 0.25, 0.75, 1])
    np.testing.assert_allclose(curve.share, [0, -2, -2, 1])
    assert curve.gini == pytest.approx(3.75)
    assert curve.bottom(0.125) == pytest.approx(-1)
    assert curve.top(0.25) == pytest.approx(3)


@given(st.lists(st.tuples(st.integers(-5, 20), st.integers(0, 4)), min_size=1, max_size=12))
def test_all_pairs(people):
    """Ties, weights of zero and any order change nothing."""
    x, w = np.array(people, float).T
    if w @ x <= 0:
        with pytest.raises(ValueError, match="must be above 0"):
            gini(x, w)
        return
    curve = lorenz_curve(x, w)
    assert curve.gini == pytest.approx(pairs(x, w), abs=1e-12)
    assert gini(10 * x[::-1], w[::-1]) == pytest.approx(curve.gini, abs=1e-12)
    assert (np.diff(curve.population) > 0).all()
    slopes = np.diff(curve.share) / np.diff(curve.population)
    assert (np.diff(slopes) > 0).all()
    assert (curve.population[-1], curve.share[-1]) == pytest.approx((1, 1))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("values", "weights", "message"),
    [
        ([1.0, np.nan], None, r"values\[1\] is nan"),
        ([1.0, np.inf], None, "is inf"),
        ([1.0, 2.0], [1.0, -1.0], r"weights\[1\] is -1"),
        ([1.0, 2.0], [1.0], "share a shape"),
        ([], [], "not empty"),
        ([-1.0, 1.0], None, "above 0 and finite, or it has no shares, but is 0"),
        (["a"], None, "real numbers"),
    ],
)
def test_bad_input(values, weights, message):
    with pytest.raises(ValueError, match=message):
        lorenz_curve(values, weights)
