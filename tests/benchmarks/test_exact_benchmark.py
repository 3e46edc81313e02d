"""The exact solvers' benchmark on tiny games: that its pieces measure, judge, print and draw."""

import json

import numpy as np
import pytest

from structmfg.benchmarks.exact import __main__ as exact
from structmfg.benchmarks.exact._closed_form import closed_form, variance
from structmfg.benchmarks.exact._congestion_game import convergence
from structmfg.benchmarks.exact._figures import figures
from structmfg.benchmarks.exact._measure import after, best, thinned
from structmfg.benchmarks.exact._tables import tables
from structmfg.games import CarmonaFouqueSun, make
from structmfg.solvers import FixedPoint

TINY = {"num_states": 9, "horizon": 4}


@pytest.fixture(scope="module")
def found():
    others = {"damped best responses": {"damping 0.5": FixedPoint(damping=0.5)}}
    game = make("linear_quadratic", **TINY)
    compared = exact.compare(game, others, max_steps=60, at=(10, 60), tolerances=(1e-3,))
    return {
        "linear_quadratic": {**compared, "floors": []},
        "carmona_fouque_sun": closed_form((4,), tolerance=1e-4),
        "master_equation": {2: convergence(2, (2, 4))},
    }


@pytest.mark.slow
def test_solvers(found):
    part = found["linear_quadratic"]
    (row,) = part["exact"]
    assert row["result"] == "converged"
    assert row["exploitability"] <= 1e-3
    assert 0 < row["seconds"] < row["total_seconds"]
    (other,) = part["others"]
    assert other["best"]
    assert other["steps"] == 60
    assert other["after_60"] == other["exploitability"] <= other["after_10"]


def test_best():
    """The lowest end; then the first to be there; a family of which nothing is finite keeps one row."""
    curves = {"a": [(1, 2.0), (2, 1.0)], "b": [(1, 1.0), (2, 1.0)], "c": [(1, 0.5), (2, 3.0)], "d": [(1, float("nan"))]}
    rows = [{"solver": "x", "setting": name, "curve": curve} for name, curve in curves.items()]
    rows.append({"solver": "y", "setting": "e", "curve": [(1, float("nan"))]})
    rows = [{**row, "steps": 2, "exploitability": row["curve"][-1][1]} for row in rows]
    assert [row["setting"] for row in best(rows)] == ["b", "e"]


@pytest.mark.slow
def test_floors_and_optimum():
    full, public = exact.floors(make("linear_quadratic", **TINY), tolerance=1e-3, max_steps=100)
    assert full["floor"] == pytest.approx(full["gap"], abs=1e-6)  # the noise is known at once
    assert public["floor"] > full["floor"]
    row = exact.optimum("beach_bar", num_states=9)
    assert row["result"] == "converged"
    assert row["floor"] > 0
    assert row["paths"] == make("beach_bar", num_states=9).scenarios().num_paths


def test_closed_form(found):
    (row,) = found["carmona_fouque_sun"]["rows"]
    assert row["result"] == "converged"
    assert row["rms_start"] < 1
    assert row["dependence"] < 0.1
    assert set(found["carmona_fouque_sun"]["orders"].values()) == {None}  # which takes two


def test_variance_solves_its_equation():
    """Against the exact solution where the drift is constant: c is such that eta is, for a = 0, q = .5, eps = 1.25."""
    game = CarmonaFouqueSun(mean_reversion=0.0, incentive=0.5, tracking=1.25, terminal_weight=(5**0.5 - 1) / 2)
    drift = 0.5 + float(game.eta(0.0))
    level = game.volatility**2 * (1 - game.correlation**2) / (2 * drift)
    times = game.time_step * np.arange(game.num_steps + 1)
    np.testing.assert_allclose(variance(game, 2.0), level + (2 - level) * np.exp(-2 * drift * times), atol=1e-6)


def test_meshes(found):
    (row,) = found["master_equation"][2]
    assert (row["mesh"], row["points"], row["order"]) == (2, 3, None)
    assert 0 < row["difference"] < 0.1


def test_tables_and_figures(found):
    text = "\n\n".join(tables(found))
    for word in ("damped best responses *", "damping 0.5 ", "order", "Master equation, 2 states"):
        assert word in text
    assert [picture.name for picture in figures(found)] == ["linear_quadratic_solvers", "closed_form"]
    assert all(picture.png.startswith(b"\x89PNG") for picture in figures(found))


def test_after():
    curve = [(20, 3.0), (40, 2.0), (60, 1.0)]
    assert after(curve, 40) == 2.0
    assert after(curve, 50) == 2.0
    assert after(curve, 10) is None
    assert after(curve, 100) is None
    assert thinned([(i, 1 / i) for i in range(1, 1001)])[-1] == (1000, 1e-3)


def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(exact, "part", lambda name, quick: {2: [{"mesh": 2, "points": 3}]})
    exact.main(["--quick", "--parts", "master_equation", "--out", str(tmp_path / "new")])
    assert "mesh" in capsys.readouterr().out
    saved = json.loads((tmp_path / "new" / "exact.json").read_text())
    assert saved["quick"] is True
    assert saved["master_equation"]["2"] == [{"mesh": 2, "points": 3}]
    assert saved["machine"]["versions"]["jax"]
