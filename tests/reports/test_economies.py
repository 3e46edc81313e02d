"""Figures of economies show the numbers that they are given."""

import numpy as np
import pytest

from structmfg._results import RESULTS
from structmfg.economies.sequence_space import ImpulseResponse
from structmfg.reports.economies import (
    OnAssets,
    draw_households,
    draw_jacobian,
    draw_responses,
    draw_statics,
    draw_swept_responses,
    peak,
    pooled_lorenz,
    unit_of,
)

pytestmark = pytest.mark.usefixtures("blank_figures")


def households(shift=0.0):
    """Two incomes on four levels of assets; half of all are at the borrowing limit."""
    assets = np.array([0.0, 1.0, 3.0, 7.0]) + shift
    mass = np.array([[0.4, 0.1], [0.1, 0.1], [0.05, 0.15], [0.0, 0.1]])
    consumption = 1 + assets[:, None] / 10 + np.array([0.0, 1.0])
    savings = assets[:, None] + np.array([-0.5, 0.5])
    return OnAssets(assets, mass, {"savings": savings, "consumption": consumption}, assets[0])


def response(scale=1.0):
    productivity = scale * 0.01 * 0.5 ** np.arange(30)
    paths = {"productivity": productivity, "interest": -2 * productivity, "spending": 3 * productivity}
    paths["still"] = np.zeros(30)
    steady = {"productivity": 0.5, "interest": 0.04, "spending": 0.0, "still": 1.0}
    return ImpulseResponse(paths, steady, RESULTS.completed, {"memory": 8}, None)


def test_inequality():
    told = households().inequality()
    assert told["mean_assets"] == pytest.approx(0.2 + 0.6 + 0.7)
    assert told["at_the_borrowing_limit"] == pytest.approx(0.5)
    assert told["with_debt"] == 0
    assert told["share_of_top_10_percent"] == pytest.approx(0.7 / 1.5)
    assert told["share_of_bottom_50_percent"] == pytest.approx(0)
    debtors = households(-2.0).inequality()
    assert debtors["with_debt"] == pytest.approx(0.7)
    assert debtors["gini"] is None  # the total is below zero
    assert debtors["gini_of_consumption"] > 0


def test_pooled_wealth():
    """A third of all have nothing, two thirds are as in `households`."""
    rich, poor = households(), OnAssets(np.array([0.0, 1.0]), np.array([[1.0], [0.0]]), {}, 0.0)
    curve = pooled_lorenz({"rich": rich, "poor": poor}, {"rich": 2 / 3, "poor": 1 / 3})
    assert curve.population == pytest.approx([0, 2 / 3, 1 / 3 + 0.7 * 2 / 3, 1 / 3 + 0.9 * 2 / 3, 1])
    assert curve.share == pytest.approx(rich.lorenz.share)
    assert pooled_lorenz({"rich": rich}, {"rich": 0.5, "other": 0.5}) is None


def test_figures_of_households():
    policies, wealth, lorenz = draw_households({"all": households()})
    consumption, saved = policies.figure.axes
    assert [line.get_ydata()[0] for line in consumption.lines] == [1, 2]  # the least income first
    assert [list(line.get_ydata()) for line in saved.lines[:2]] == [[-0.5] * 4, [0.5] * 4]
    bars, shares = wealth.figure.axes
    heights = np.array([bar.get_height() for bar in bars.patches]).reshape(2, -1)
    np.testing.assert_allclose(heights.sum(axis=1), [0.55, 0.45])
    assert heights[0, 0] > 0.4  # with those at the limit
    assert shares.lines[-1].get_ydata() == pytest.approx([0.5, 0.7, 0.9, 1.0])
    (_, curve) = lorenz.figure.axes[0].lines
    assert curve.get_ydata() == pytest.approx([0, 0, 0.2 / 1.5, 0.8 / 1.5, 1])
    assert lorenz.text == f"all: Gini {households().lorenz.gini:.4f}"
    assert len(draw_households({"all": households(-2.0)})) == 2  # no Lorenz curve


def test_responses_are_in_their_units():
    drawn = draw_responses({"linear": response(), "nonlinear": response(2.0)}, "productivity", 0.01)
    panels = {axes.get_title(loc="left"): axes for axes in drawn.figure.axes if axes.lines}
    assert list(panels) == ["productivity", "interest", "spending"]
    first = {name: [line.get_ydata()[0] for line in axes.lines[:2]] for name, axes in panels.items()}
    assert first["productivity"] == pytest.approx([2, 4])
    assert first["interest"] == pytest.approx([-2, -4])
    assert first["spending"] == pytest.approx([0.03, 0.06])
    units = ["% of steady state", "percentage points", "change"]
    assert [axes.get_ylabel() for axes in panels.values()] == units
    assert len(panels["interest"].lines[0].get_ydata()) == 20  # periods, of 30
    assert unit_of("nominal_interest", 0.0).name == "percentage points"
    assert peak(np.array([1.0, -3.0, 2.0])) == (1.0, -3.0, 1)


def test_columns_of_the_jacobian():
    """Row t, column s: for a change at s the line is column s."""
    matrix = np.arange(3600.0).reshape(60, 60)
    drawn = draw_jacobian("all", {"savings": {"interest": -matrix}, "consumption": {"interest": matrix}})
    lines = drawn.figure.axes[0].lines
    assert [line.get_label() for line in lines[:3]] == ["s = 0", "s = 25", "s = 50"]
    for s, line in zip((0, 25, 50), lines, strict=False):
        np.testing.assert_array_equal(line.get_ydata(), matrix[:, s])


def test_comparative_statics():
    quantities = {"capital": [3.0, 2.0], "gini": [0.5, None], "same": [1.0, 1.0]}
    drawn = draw_statics("depreciation", [0.1, 0.2], quantities)
    (panel,) = [axes for axes in drawn.figure.axes if axes.get_title(loc="left") == "capital"]
    assert list(panel.lines[0].get_ydata()) == [3, 2]
    assert not [axes for axes in drawn.figure.axes if axes.get_title(loc="left") in ("same", "gini")]
    swept = draw_swept_responses("depreciation", [(0.1, response()), (0.2, response(2.0))], "productivity")
    first = swept.figure.axes[1]
    assert first.get_title(loc="left") == "interest"
    assert [line.get_ydata()[0] for line in first.lines[:2]] == pytest.approx([-2, -4])
    assert [line.get_label() for line in first.lines[:2]] == ["0.1", "0.2"]
