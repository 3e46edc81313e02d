"""`structmfg economy`, in process: what it leaves, what it says, and how it refuses."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from structmfg.cli import main
from structmfg.cli.arguments import Option, parse
from structmfg.cli.arguments.config import read_values
from structmfg.cli.economy.registry import ECONOMIES

SMALL = ["aiyagari", "--num-assets", "40", "--num-incomes", "3"]
OWN = '''
from structmfg.cli.economy.registry import ECONOMIES

def small(*, beta: float = 0.95, horizon: int = 40, needed=None):
    """Somebody's own economy.

    Args:
        beta: The discount factor. A second sentence.
        horizon: The points of the grid.
    """
    return beta
'''


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def done(tmp_path_factory, blank_figures):
    """A run of a small economy: its folder."""
    folder = tmp_path_factory.mktemp("economy") / "run"
    code = main(["economy", *SMALL, "--horizon", "110", "--nonlinear", "--quiet", "--out", str(folder)])
    assert code == 0
    return folder


def columns(folder):
    """The paths of responses.csv."""
    with (folder / "responses.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def test_result_is_an_equilibrium(done):
    """Prices are marginal products, and wealth has the inequality that NumPy finds."""
    result = json.loads((done / "result.json").read_text())
    assert result["result"] == "converged"
    assert result["message"].startswith("The nonlinear path clears all markets to")
    assert result["parameters"]["num_assets"] == 40
    assert (result["shock"], result["size"], result["persistence"]) == ("productivity", 0.01, 0.8)
    at = result["steady_state"]
    assert at["interest"] + 0.08 == pytest.approx(0.36 * at["output"] / at["capital"], rel=1e-7)
    assert at["consumption"] + at["investment"] == pytest.approx(at["output"], rel=1e-7)
    household, arrays = result["households"]["household"], np.load(done / "arrays.npz")
    assets, mass = arrays["household/assets"], arrays["household/mass"]
    assert household["outputs"]["savings"] == pytest.approx(np.sum(mass * arrays["household/savings"]), rel=1e-9)
    wealth = mass.sum(axis=1)
    apart = np.einsum("i,j,ij", wealth, wealth, np.abs(np.subtract.outer(assets, assets)))
    assert household["gini"] == pytest.approx(apart / (2 * wealth @ assets), rel=1e-9)
    assert household["mean_assets"] == pytest.approx(at["capital"], rel=1e-6)
    assert household["at_the_borrowing_limit"] == pytest.approx(mass[0].sum())
    assert result["residuals"][-1] <= 1e-8 < result["residuals"][0]


def test_responses_hold_in_every_period(done):
    """Goods are consumed or invested; at first capital is given; the nonlinear path is close to the linear one."""
    result, paths = json.loads((done / "result.json").read_text()), columns(done)
    at = result["steady_state"]
    np.testing.assert_array_equal(paths["period"], np.arange(110))
    np.testing.assert_allclose(paths["productivity"], 0.01 * 0.8 ** np.arange(110), rtol=1e-12)
    np.testing.assert_allclose(paths["consumption"] + paths["investment"], paths["output"], atol=1e-9)
    assert paths["output"][0] == pytest.approx(0.01 * at["output"] / at["productivity"], rel=1e-9)
    stock = np.concatenate([[0], paths["capital"][:-1]])
    np.testing.assert_allclose(paths["investment"], paths["capital"] - 0.92 * stock, atol=1e-9)
    for name in ("capital", "consumption"):
        off = np.abs(paths[name] - paths[f"{name} (nonlinear)"]).max()
        assert 0 < off < 0.02 * np.abs(paths[name]).max()
    peak = result["responses"]["linear"]["capital"]
    assert peak["peak"] == pytest.approx(paths["capital"].max())
    assert peak["period"] == paths["capital"].argmax() > 0


def test_jacobians_obey_the_budget(done):
    """Columns are the period of the change: savings come back with interest in the next row."""
    result, arrays = json.loads((done / "result.json").read_text()), np.load(done / "arrays.npz")
    consumption, savings = (arrays[f"household/jacobian/{name}/interest"] for name in ("consumption", "savings"))
    assert consumption.shape == (110, 110)
    before = (1 + result["steady_state"]["interest"]) * np.vstack([np.zeros(110), savings[:-1]])
    received = result["steady_state"]["capital"] * np.eye(110)
    np.testing.assert_allclose(consumption + savings, before + received, atol=1e-6)
    assert consumption[0, 10] < 0 < consumption[10, 10]  # who expects interest saves before


def test_report_needs_nothing_else(done):
    page = (done / "report.html").read_text()
    figures = ["responses", "residuals", "policies-household", "wealth-household", "lorenz", "jacobian-household"]
    assert sorted(path.stem for path in (done / "figures").iterdir()) == sorted(figures)
    assert page.count("data:image/png;base64,") == len(figures)
    assert not re.search(r'(src|href)="(?!data:)', page)
    result = json.loads((done / "result.json").read_text())
    assert f"{result['households']['household']['gini']:.4g}" in page
    assert "The nonlinear path clears all markets" in page


@pytest.mark.usefixtures("blank_figures")
def test_a_horizon_that_is_too_short_is_told(capsys):
    """The report is there all the same; no nonlinear path is looked for."""
    assert main(["economy", *SMALL, "--horizon", "30", "--nonlinear", "--json"]) == 1
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert (result["result"], result["memory"], result["out"]) == ("horizon", 30, "runs/economy-aiyagari")
    assert "30 periods are too short (the effective memory is at least 30 periods" in captured.err
    assert list(result["responses"]) == ["linear"]
    assert "so there is no nonlinear path" in Path(result["report"]).read_text()


@pytest.mark.usefixtures("blank_figures")
def test_sweep(capsys):
    """The more capital wears off, the less of it there is; a value that is refused is told, and the others are made."""
    words = ["--horizon", "110", "--sweep", "depreciation=0.08:0.1:2,1.5", "--json"]
    assert main(["economy", *SMALL, *words]) == 2  # a list or a range, not both
    capsys.readouterr()
    words[-2] = "depreciation=0.08,0.1,1.5"
    assert main(["economy", *SMALL, *words]) == 1
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert [run["value"] for run in result["runs"]] == [0.08, 0.1]
    assert "structmfg: depreciation=1.5: depreciation must lie in (0, 1], but is 1.5" in captured.err
    first, second = (run["steady_state"]["capital"] for run in result["runs"])
    assert first > second
    rows = list(csv.DictReader(Path(result["out"], "table.csv").read_text().splitlines()))
    assert [float(row["capital"]) for row in rows] == [first, second]
    assert [row["result"] for row in rows] == ["completed", "completed"]
    assert {path.stem for path in Path(result["out"], "figures").iterdir()} == {"statics", "responses"}
    assert "must lie in (0, 1]" in Path(result["report"]).read_text()


def test_list(capsys):
    assert main(["economy"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ECONOMIES)
    assert main(["economy", "--json", "--quiet"]) == 0
    listed = {each["name"]: each for each in json.loads(capsys.readouterr().out)["economies"]}
    assert listed.keys() == ECONOMIES.keys()
    assert listed["krusell_smith"]["shocks"] == ["productivity", "discount"]
    assert listed["krusell_smith"]["parameters"]["interest"] == 0.01
    for economy in ECONOMIES.values():
        assert all(parameter.text for parameter in economy.parameters.values()), economy.name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hugget"], "did you mean huggett?"),
        (["huggett", "--shock", "productivity"], "unknown shock of huggett 'productivity'; allowed: bond_supply"),
        (["huggett", "--size", "nan"], "size must be finite, but is nan"),
        (["huggett", "--persistence", "1"], "persistence must be below 1"),
        (["huggett", "--persistence", "-0.1"], "persistence must lie in [0, 1], but is -0.1"),
        (["huggett", "--horizon", "1"], "horizon must be a whole number of at least 2"),
        (["huggett", "--capital-share", "0.3"], "the economy krusell_smith, the economy aiyagari"),
        (["huggett", "--num-assets", "2"], "num_assets must be a whole number of at least 3"),
        (["huggett", "--num-incomes", "1"], "num_incomes must be a whole number of at least 2"),
        (["huggett", "--income-persistence", "1"], "income_persistence must be above -1 and below 1, but is 1.0"),
        (["huggett", "--bond-supply", "60"], "bond_supply must lie in (0, 50]"),
        (["huggett", "--sweep", "capital_share=1,2"], "unknown parameter of huggett 'capital_share'"),
        (["huggett", "--sweep", "game.discount=1,2"], "takes one PARAMETER=VALUES"),
        (["huggett", "--sweep", "discount=0.9", "num_assets=9"], "takes one PARAMETER=VALUES"),
        (["huggett", "--discount", "0.9", "--sweep", "discount=0.9"], "swept, and given as well"),
        (["os:sep"], "must be a function that returns a SequenceSteadyState"),
        (["mine.py:small", "--beta", "0.9"], "must return a SequenceSteadyState, but returns a float"),
    ],
)
def test_refusals(words, message, capsys):
    """In one line, with exit code 2, and without a folder."""
    Path("mine.py").write_text(OWN)
    assert main(["economy", *words, "--out", "new"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert not Path("new").exists()


def test_parameters_of_an_own_economy(capsys):
    """Those that can be typed; one that has the name of an option of the command is told apart."""
    Path("mine.py").write_text(OWN)
    arguments = parse(["economy", "--horizon", "50", "mine.py:small", "--beta", "0.9", "--economy.horizon", "7"])
    assert (arguments.horizon, arguments.game_parameters) == (50, {"beta": 0.9, "horizon": 7})
    assert main(["economy", "mine.py:small", "--help"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"--beta X +The discount factor \[0.95\]", text)
    assert "needed" not in text


def test_values_of_a_sweep():
    number, whole = Option("x", float, ""), Option("n", int, "")
    assert read_values(number, "0:1:5") == [0, 0.25, 0.5, 0.75, 1]
    assert read_values(number, "0.1:0.3:3") == [0.1, 0.2, 0.3]
    assert read_values(number, "-1..1") == [-1, 0, 1]
    assert read_values(whole, "3,1") == [3, 1]
    for option, text in (
        (whole, "0:1:2"),
        (number, "0:1:1000"),
        (number, "1:1:3"),
        (number, "0:1:0"),
        (number, "a:1:2"),
    ):
        with pytest.raises(ValueError, match=r"must be|at most 256|twice|needs values"):
            read_values(option, text)


@pytest.mark.slow
def test_krusell_smith_as_published(capsys):
    """The largest residual at each step is that of the outside reference, up to its grid; the figures are drawn."""
    assert main(["economy", "krusell_smith", "--nonlinear", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    np.testing.assert_allclose(result["residuals"], [3.37e-2, 5.73e-5, 1.26e-7, 1.75e-10], rtol=0.05)
    assert result["steady_state"]["discount"] == pytest.approx(0.98195, abs=1e-5)
    for path in Path(result["out"], "figures").iterdir():
        assert path.stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ECONOMIES if name != "krusell_smith"])
def test_every_economy_by_name(name, capsys):
    """With its defaults there is one bounded response, which dies away."""
    assert main(["economy", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"] == "completed"
