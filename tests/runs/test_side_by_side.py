"""Runs beside each other: what they reached, what differs, how they went; and settings beside the defaults."""

import json
import re
from html.parser import HTMLParser

import jax
import numpy as np
import pytest

from structmfg import games, reports, runs
from structmfg.cli import main
from structmfg.runs._differences import from_defaults
from structmfg.runs._metrics import read_curve
from structmfg.solvers import RESULTS, Solution, preset

NONE = dict.fromkeys(reports.KINDS)
SMALL = {"linear_quadratic": {"num_states": 9, "horizon": 3}, "crowd_modelling": {"num_states": 7, "horizon": 3}}


class Rows(HTMLParser):
    """The rows of all tables, as lists of texts."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.inside = [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.inside = True

    def handle_endtag(self, tag):
        self.inside &= tag not in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.rows[-1][-1] += data.strip()


def settings_of(game, name, seed, **overrides):
    chosen = preset(game, name, max_steps=2, **overrides)
    settings = runs.Settings.of(
        game, chosen.solver, name=name, preset="default", overrides=overrides, max_steps=2, max_seconds=None, seed=seed
    )
    return settings, chosen.solver


def make_run(folder, name, seed, **overrides):
    """A run whose policy was not trained, with a result and metrics made up."""
    game = games.make(name, **SMALL[name])
    settings, solver = settings_of(game, "rspg", seed, hidden=4, width=4, depth=1, **overrides)
    folder.mkdir()
    runs.save_settings(folder, settings)
    policy = solver.policy.initialised(jax.random.key(seed))
    runs.save_policy(folder, Solution(policy, RESULTS.completed, {}))
    result = {
        "game": name, "solver": "rspg", "seed": seed, "result": "completed", "iterations": 2, "train_seconds": 1.5,
        "compile_seconds": 1.0, "return": -3.0, "return_stderr": 0.25,
        "exploitability": {**NONE, "clairvoyant": 12.5 + seed}, "exploitability_stderr": {**NONE, "clairvoyant": 0.5},
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    lines = [{"step": i, "train_seconds": 0.5 * i, "return": float(value)} for i, value in enumerate((-5, -3), 1)]
    lines.append({"step": 2, "train_seconds": 1.5, "exploitability": {"clairvoyant": 12.5 + seed}})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return runs.load_run(folder)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    first = make_run(folder / "first", "linear_quadratic", 0)
    return first, make_run(folder / "second", "linear_quadratic", 7, temperature=3.0)


def test_runs_of_one_game(saved):
    page = runs.side_by_side(saved)
    rows = Rows(page).rows
    first, second = (row for row in rows if row[:2] in (["1", "linear_quadratic"], ["2", "linear_quadratic"]))
    assert first[2:] == ["RSPG", "0", "12.5 ± 0.5", "–", "–", "-3 ± 0.25", "2", "1.5", "completed"]
    assert second[2:5] == ["RSPG", "7", "19.5 ± 0.5"]
    settings = {row[1]: row[2:] for row in rows if row[0] in ("Run", "Game", "Solver", "Network", "Versions")}
    default = preset(saved[0].game).solver.temperature
    assert settings == {"seed": ["0", "7"], "temperature": [f"{default:.4g}", "3"]}  # nothing else differs
    assert len(re.findall("<img", page)) == 2  # curves and the quantity that they share
    assert "2: linear_quadratic, RSPG, seed 7: clairvoyant exploitability 19.5 after 1.5 s" in page
    mean = float(np.asarray(saved[0].game.initial_mean_field(None)) @ np.arange(9))
    assert f"mean position, z = -1: {mean:.4g} at first" in page


def test_runs_of_other_games_and_runs_that_were_interrupted(saved, tmp_path, capsys):
    other = make_run(tmp_path / "other", "crowd_modelling", 1)
    for name in ("result.json", "metrics.jsonl"):
        (tmp_path / "other" / name).unlink()
    first = str(saved[0].path)
    words = [first, str(tmp_path / "other"), f"{first}/../first", "--out", str(tmp_path / "page"), "--quiet"]
    assert main(["report", *words]) == 0
    said = capsys.readouterr().err.splitlines()
    assert "../first was named before, and is shown once" in said[0]
    assert "other is not finished, and is shown without results" in said[1]
    assert len(said) == 2
    page = (tmp_path / "page" / "report.html").read_text()
    rows = Rows(page).rows
    assert "interrupted before its report" in rows[2]
    assert ["Game", "volatility", "1", "–"] in rows
    assert other.settings.game in page
    assert len(re.findall("<img", page)) == 1


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_put_side_by_side(saved, tmp_path):
    with pytest.raises(ValueError, match="at least two runs, but was given 1"):
        runs.side_by_side(saved[:1])
    with pytest.raises(ValueError, match="a run must be"):
        runs.side_by_side([saved[0], tmp_path])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1"),
        ('{"step": 1}', "lacks train_seconds"),
        ('{"step": 1, "train_seconds": "x"}', "train_seconds must be a number"),
        ('{"step": 1, "train_seconds": NaN}', "not a finite number"),
        ('{"step": 1, "train_seconds": 1, "exploitability": {"public": []}}', "exploitability must be"),
    ],
)
def test_damaged_metrics_are_refused(tmp_path, text, message):
    (tmp_path / "metrics.jsonl").write_text(text + "\n")
    with pytest.raises(ValueError, match=f"metrics.jsonl does not hold the metrics of a run.*{message}"):
        read_curve(tmp_path)


def test_a_link_in_place_of_metrics_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").write_text('{"step": 1, "train_seconds": 1.0}\n')
    (tmp_path / "metrics.jsonl").symlink_to("elsewhere")
    with pytest.raises(ValueError, match="symbolic link"):
        read_curve(tmp_path)


def test_curves_are_read(saved):
    curve = read_curve(saved[1].path)
    np.testing.assert_array_equal(curve.returns, [[0.5, -5], [1.0, -3]])
    assert {kind: points.tolist() for kind, points in curve.exploitability.items()} == {"clairvoyant": [[1.5, 19.5]]}


def test_settings_that_differ_from_the_defaults():
    game = games.make("beach_bar", horizon=8)
    settings, _ = settings_of(game, "tabular_spg", 0, bins=(1, 2, 3))
    expected = [
        ("Game", "horizon", (8, 30)),
        ("Solver", "max_steps", (2, 1000)),
        ("Table", "bins", ("1, 2, 3", "1, 2, 51")),
    ]
    assert from_defaults(settings) == expected
    again = runs.Settings.parse(json.loads(json.dumps(settings._asdict())))  # lists in place of tuples
    assert from_defaults(again) == expected
    default = preset(game, "exact")
    plain = runs.Settings.of(
        games.make("beach_bar"), default.solver, name="exact", preset="default", overrides={},
        max_steps=default.max_steps, max_seconds=None, seed=3,
    )  # fmt: skip
    assert from_defaults(plain) == []
    assert from_defaults(plain._replace(game="<script>")) == []
