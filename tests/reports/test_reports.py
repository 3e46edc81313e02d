"""Run folders, figures and the page: complete, rebuilt exactly, self-contained, escaped."""

import html.parser
import itertools
import json
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import safetensors.numpy
from matplotlib.figure import Figure

from structmfg import _files, _npz, reports, runs
from structmfg._files import to_json
from structmfg._pages import Picture, picture
from structmfg.cli._output import basis
from structmfg.evaluation import evaluate_paths
from structmfg.games import (
    BeachBar,
    BeachBarCrowded,
    CarmonaFouqueSun,
    CrowdModelling,
    Game,
    LeftRight,
    LinearQuadratic,
    Macro,
    noise_paths,
)
from structmfg.policies import uniform
from structmfg.reports._evaluation import is_hopeless
from structmfg.reports._views import shown_paths
from structmfg.solvers import Checkpoint, preset, solve

GAME = LinearQuadratic(num_states=15, horizon=5)
SMALL: list[Game] = [
    GAME,
    BeachBar(num_states=9, horizon=6),
    Macro(num_wealth=8, num_income=3, horizon=5),
    Macro(num_wealth=8, num_income=3, horizon=5, noise_states=3),
    BeachBarCrowded(num_states=9, horizon=6),
    CarmonaFouqueSun(num_steps=4),
    CrowdModelling(),
    LeftRight(),
]
NONE: dict[str, None] = dict.fromkeys(reports.KINDS)
NO_REFERENCE = reports.ReferenceValues(NONE, NONE, "public", None)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    """A saved solve of three updates."""
    folder = tmp_path_factory.mktemp("run")
    chosen = preset(GAME, "rspg", hidden=4, width=4, max_steps=3)
    settings = runs.Settings.of(
        GAME, chosen.solver, name="rspg", preset="default", overrides={"hidden": 4, "width": 4},
        max_steps=3, max_seconds=None, seed=0,
    )  # fmt: skip
    runs.save_settings(folder, settings)
    solution = solve(
        GAME, chosen.solver, key=jax.random.key(0), max_steps=3, evaluate=reports.checkpoint_evaluation(GAME),
        evaluations=2,
    )  # fmt: skip
    evaluation = reports.evaluate(GAME, solution.policy)
    reference = reports.reference_values(GAME, "rspg", kinds=reports.KINDS)
    return runs.save_run(folder, settings, GAME, solution, evaluation, reference)


def test_a_run_is_rebuilt_exactly(run: runs.Run) -> None:
    again = runs.load_run(run.path)
    assert again.game == GAME
    assert again.settings == run.settings
    assert again.result == json.loads(to_json(run.result))
    measured = reports.evaluate(again.game, again.policy)
    assert measured.exploitability["clairvoyant"].value == run.result["exploitability"]["clairvoyant"]
    assert measured.exploitability["non_anticipative"].value == run.result["exploitability"]["non_anticipative"]
    assert measured.mean_return.value == run.result["return"]


def test_a_run_folder_is_complete(run: runs.Run) -> None:
    names = {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()}
    figures = {f"figures/{name}.png" for name in ("exploitability", "mean_field", "quantities", "policy", "gains")}
    files = {"settings.json", "run.toml", "metrics.jsonl", "policy.safetensors", "trajectories.npz"}
    files |= {"result.json", "report.html"}
    assert names == files | figures


def test_policy_is_kept_without_pickle_under_the_paths_of_its_parameters(run: runs.Run) -> None:
    arrays = safetensors.numpy.load_file(run.path / runs.POLICY_FILE)
    assert arrays.keys() == {
        f"{module}/{name}" for module, parameters in run.policy.parameters.items() for name in parameters
    }
    assert all(array.dtype == np.float32 for array in arrays.values())


def test_metrics_have_a_line_an_update_and_a_line_a_checkpoint(run: runs.Run) -> None:
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    updates = [line for line in lines if "return" in line]
    checkpoints = [line for line in lines if "exploitability" in line]
    assert [line["step"] for line in updates] == [1, 2, 3]
    assert all(line["gradient_norm"] > 0 for line in updates)
    seconds = [line["train_seconds"] for line in updates]
    assert 0 < seconds[0] < seconds[1] < seconds[2] == pytest.approx(run.result["train_seconds"])
    assert [line["step"] for line in checkpoints] == [2, 3]
    assert checkpoints[-1]["exploitability"]["clairvoyant"] == run.result["exploitability"]["clairvoyant"]


def test_trajectories_are_distributions(run: runs.Run) -> None:
    with np.load(run.path / "trajectories.npz", allow_pickle=False) as saved:
        assert saved["mean_field"].shape == (2, 6, 15)
        assert saved["policy"].shape == (2, 5, 15, 7)
        assert saved["noise"].shape == (2, 6)
        np.testing.assert_allclose(saved["mean_field"].sum(-1), 1, rtol=1e-5)
        np.testing.assert_allclose(saved["policy"].sum(-1), 1, rtol=1e-5)
        expected = saved["mean_field"] @ np.arange(15)
        np.testing.assert_allclose(saved["quantities/mean position"], expected, rtol=1e-5)


def test_the_page_needs_nothing_else(run: runs.Run) -> None:
    page = (run.path / "report.html").read_text()
    text = page.replace("http://www.w3.org/2000/svg", "")  # the name of the language of drawings, which is not loaded
    assert not re.search(r"https?:|//cdn|<script src|<link|@import|url\(|import\(|fetch\(", text)
    sources = re.findall(r'src="([^"]*)"', page)
    assert len(sources) == 5
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert all(kind in page for kind in reports.KINDS)
    assert run.result["message"] in page


def test_the_page_escapes_what_it_is_given(run: runs.Run) -> None:
    evil = "<script>alert('x')</script>"
    settings = run.settings._replace(game=evil, overrides={evil: 1}, network={**run.settings.network, evil: evil})
    page = runs.render(settings, {**run.result, "out": evil, "message": evil}, [Picture("name", f'"{evil}', b"")])
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 5


class Elements(html.parser.HTMLParser):
    """The headings, pictures, cells and controls of a page, in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_can_be_read_aloud(run: runs.Run) -> None:
    """Headings in order, pictures with their main numbers, tables with headers and a caption, named controls."""
    found = Elements((run.path / "report.html").read_text()).found
    assert ("html", {"lang": "en"}) in found
    headings = [int(tag[1]) for tag, _ in found if tag in ("h1", "h2", "h3")]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(headings))
    texts = [attributes["alt"] or "" for tag, attributes in found if tag == "img"]
    assert len(texts) == 5
    assert f"{run.result['exploitability']['clairvoyant']:.4g} at update 3" in texts[0]
    assert all(re.search(r"Look at .*\d", text) for text in texts)
    tags = [tag for tag, _ in found]
    assert tags.count("table") == tags.count("caption")
    assert all("scope" in attributes for tag, attributes in found if tag == "th")
    labelled = {attributes["for"] for tag, attributes in found if tag == "label"}
    assert {attributes["id"] for tag, attributes in found if tag in ("select", "input")} == labelled


def test_figures_are_saved_for_a_paper(tmp_path: Path) -> None:
    """With text as text in SVG; the same bytes every time; nothing that was drawn elsewhere."""
    figure = Figure()
    figure.add_subplot().set_title("mass & wealth <1>")
    drawn = picture("mine", "A figure.", figure)
    (svg,), (pdf,) = (runs.save_figures(tmp_path, [drawn], format) for format in ("svg", "pdf"))
    assert (svg, pdf) == (tmp_path / "figures" / "mine.svg", tmp_path / "figures" / "mine.pdf")
    assert ">mass &amp; wealth &lt;1&gt;</text>" in svg.read_text()
    assert pdf.read_bytes().startswith(b"%PDF")
    first = svg.read_bytes(), pdf.read_bytes()
    runs.save_figures(tmp_path, [drawn], "svg"), runs.save_figures(tmp_path, [drawn], "pdf")
    assert (svg.read_bytes(), pdf.read_bytes()) == first
    with pytest.raises(ValueError, match="PNG only"):
        runs.save_figures(tmp_path, [Picture("other", "", b"")], "svg")
    with pytest.raises(ValueError, match="format"):
        runs.save_figures(tmp_path, [drawn], "jpg")


def test_a_page_without_numbers_is_still_written(run: runs.Run) -> None:
    nan = float("nan")
    result = {**run.result, "return": nan, "exploitability": {**NONE, "clairvoyant": nan}}
    assert "–" in runs.render(run.settings, result, [])


@pytest.mark.parametrize("missing", ["settings.json", "policy.safetensors"])
def test_what_is_not_a_run_is_refused_by_what_it_lacks(run: runs.Run, tmp_path: Path, missing: str) -> None:
    copy(run.path, tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(ValueError, match=f"is not a run folder: it has no {missing}$"):
        runs.load_run(tmp_path)


@pytest.fixture(scope="module", params=["full", "public"])
def exact_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    """A saved exact solve."""
    folder = tmp_path_factory.mktemp("exact")
    chosen = preset(GAME, "exact", information=request.param)
    settings = runs.Settings.of(
        GAME, chosen.solver, name="exact", preset="default", overrides={"information": request.param},
        max_steps=chosen.max_steps, max_seconds=None, seed=0,
    )  # fmt: skip
    runs.save_settings(folder, settings)
    solution = solve(GAME, chosen.solver, max_steps=chosen.max_steps)
    evaluation = reports.evaluate(GAME, solution.policy)
    kinds = [kind for kind, estimate in evaluation.exploitability.items() if estimate]
    reference = reports.reference_values(GAME, "exact", kinds=kinds, information=settings.information)
    return runs.save_run(folder, settings, GAME, solution, evaluation, reference)


def test_an_exact_run_is_rebuilt_and_certified(exact_run: runs.Run) -> None:
    again, result = runs.load_run(exact_run.path), exact_run.result
    assert again.settings == exact_run.settings
    assert result["result"] == "converged"
    certificate = result["certificate"]
    assert certificate["kind"] == again.settings.own_kind
    assert 0 <= certificate["exploitability"] <= certificate["tolerance"] == 1e-4
    measured = reports.evaluate(again.game, again.policy)
    assert measured.exploitability[certificate["kind"]].value == pytest.approx(certificate["exploitability"], abs=2e-5)
    assert (measured.exploitability["public"] is None) == (again.settings.information == "full")  # it knows more
    assert measured.mean_return.value == result["return"]
    floor = result["anchors"]["floor"]
    assert floor[certificate["kind"]] == 0
    assert floor["clairvoyant"] == pytest.approx(result["exploitability"]["clairvoyant"], abs=1e-4)
    lines = [json.loads(line) for line in (again.path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == result["iterations"]
    assert lines[-1]["exploitability"] == {certificate["kind"]: certificate["exploitability"]}
    page = (again.path / "report.html").read_text()
    assert "certificate" in page
    assert "the paper’s" not in page  # which has no exact solver


def test_the_floor_is_that_of_the_exact_equilibrium(run: runs.Run, exact_run: runs.Run) -> None:
    if exact_run.settings.information == "public":
        floor, exact = run.result["anchors"]["floor"], exact_run.result["exploitability"]
        assert floor["clairvoyant"] == pytest.approx(exact["clairvoyant"], abs=1e-3)
        assert floor["public"] == 0
    unknown = reports.reference_values(SMALL[2], "rspg", kinds=["clairvoyant"])  # continuous noise
    assert unknown.floor == NONE
    result = {**run.result, "anchors": runs.reference_object(unknown)}
    assert "not known here: a noise tree needs finite common noise" in runs.render(run.settings, result, [])
    assert "the floor is not known: a noise tree needs finite common noise" in basis(result)
    assert "floor: the exact equilibrium with public information" in basis(run.result)


def test_noise_paths_of_one_name_are_numbered() -> None:
    class Nameless(LinearQuadratic):
        def noise_label(self, noise: Any) -> str:
            return "z"

    assert shown_paths(Nameless(num_states=9, horizon=3)).labels == ["z (1)", "z (2)"]


def copy(source: Path, target: Path) -> None:
    for name in ("settings.json", "policy.safetensors", "result.json"):
        (target / name).write_bytes((source / name).read_bytes())


@pytest.mark.parametrize("game", SMALL, ids=reports.game_name)
def test_every_game_has_figures(game: Game) -> None:
    shown = reports.trajectories(game, uniform(game))
    assert len(set(shown.labels)) == len(shown.labels) == shown_paths(game).paths.num_paths
    pictures = reports.figures(game, "rspg", shown, [Checkpoint(2, 0.5, 1.5, 0.1)], NO_REFERENCE)
    assert [picture.name for picture in pictures] == ["exploitability", "mean_field", "quantities", "policy"]
    assert all(picture.png.startswith(b"\x89PNG") and len(picture.png) > 10_000 for picture in pictures)


@pytest.mark.parametrize(
    "curve", [[], [Checkpoint(1, 0.1, float("nan"), float("nan"))], [Checkpoint(1, 0.1, 0.0, 0.0)]]
)
def test_a_curve_that_cannot_be_drawn_does_no_harm(curve: list[Checkpoint]) -> None:
    shown = reports.trajectories(GAME, uniform(GAME))
    assert reports.figures(GAME, "spg", shown, curve, NO_REFERENCE)


def test_continuous_noise_has_bounds_of_the_non_anticipative_exploitability() -> None:
    game = SMALL[2]
    bounded = reports.evaluate(game, uniform(game), kinds=["non_anticipative"], num_paths=8)
    assert bounded.exploitability == dict.fromkeys(reports.KINDS)
    low, high = bounded.non_anticipative
    assert 0 < low <= high < 1.5 * low
    evaluation = reports.evaluate(game, uniform(game), num_paths=4)
    assert evaluation.non_anticipative is None
    assert "num_paths must be a whole number of at least 8" in evaluation.no_bounds
    assert evaluation.exploitability["non_anticipative"] is None
    assert evaluation.exploitability["clairvoyant"].stderr > 0
    assert (evaluation.num_paths, evaluation.exact) == (4, False)
    with pytest.raises(ValueError, match="at least 8"):
        reports.evaluate(game, uniform(game), kinds=["non_anticipative"], num_paths=4)
    other = reports.evaluate(game, uniform(game), num_paths=4, seed=1)
    assert other.exploitability["clairvoyant"] != evaluation.exploitability["clairvoyant"]


def test_published_figures_are_for_published_sizes_only() -> None:
    assert reports.published(LinearQuadratic(), "rspg") == (3.9, 120)
    assert reports.published(Macro(), "spg") == (0.022, 250)
    assert reports.published(LinearQuadratic(num_states=98), "rspg") is None


def test_the_default_folder_is_numbered_and_a_chosen_one_must_be_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert [str(_files.new_folder(None, "a")) for _ in range(3)] == ["runs/a", "runs/a-2", "runs/a-3"]
    assert _files.new_folder("b/c", "a") == Path("b/c")
    assert _files.new_folder("b/c", "a") == Path("b/c")  # still empty
    Path("b/c/notes").touch()
    with pytest.raises(ValueError, match="not empty"):
        _files.new_folder("b/c", "a")


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    _files.write_bytes(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_files.os, "fsync", full)
    with pytest.raises(ValueError, match="No space left"):
        _files.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [child.name for child in tmp_path.iterdir()] == ["file"]


def test_json_is_strict() -> None:
    value = {"a": float("nan"), "b": [np.float32(1.5), float("inf")], "c": (np.int64(2), None, True)}
    assert json.loads(to_json(value)) == {"a": None, "b": [1.5, None], "c": [2, None, True]}
    with pytest.raises(TypeError):
        to_json({"a": object()})


@pytest.mark.parametrize("write", [_files.write_arrays, _npz.write_npz])
def test_objects_are_not_pickled(write: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pickle"):
        write(tmp_path / "objects", {"a": np.array([object()])})


def test_arrays_are_read_as_they_were_written(tmp_path: Path) -> None:
    """In any order of their memory, of any type of numbers, of any shape."""
    numbers = np.arange(6.0).reshape(2, 3)
    arrays = {"": numbers.T, "a/b": np.asfortranarray(numbers), "c": numbers[:, ::2], "d": np.array(3, np.uint16)}
    arrays |= {"none": np.zeros((0, 4), np.float32), "true": np.array([True, False]), "half": np.float16([0.5])}
    _files.write_arrays(tmp_path / "arrays", arrays)
    with _files.open_arrays(tmp_path / "arrays") as file:
        assert file.headers == {name: (array.shape, array.dtype) for name, array in arrays.items()}
        read = file.read()
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


def test_more_arrays_than_are_read_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = {str(i): np.zeros(1) for i in range(20)}
    monkeypatch.setattr(_files, "_MAX_HEADER_BYTES", 1000)
    with pytest.raises(ValueError, match="20 arrays need a header of"):
        _files.write_arrays(tmp_path / "arrays", arrays)
    assert not any(tmp_path.iterdir())


def test_estimates_of_unknown_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="did you mean clairvoyant"):
        reports.evaluate(GAME, uniform(GAME), kinds=["clairvoiant"])


def test_a_search_for_the_floor_is_given_up_where_it_will_not_get_there() -> None:
    """A level that halves every second is at 1e-4 after 14 s, and at twice the pace after 7 s."""
    seen = [(float(t), 2.0**-t) for t in range(5)]
    assert not is_hopeless(seen, 1e-4, left=6.0)
    assert is_hopeless(seen, 1e-4, left=4.0)
    assert not is_hopeless(seen, 0.1, left=0.0)  # it is there
    assert is_hopeless([(0.0, 1.0), (5.0, 0.5), (10.0, 0.5)], 0.1, left=100.0)  # it does not move
    assert not is_hopeless([(10.0, 0.5)], 0.1, left=0.0)  # nothing is known of its pace


@pytest.mark.parametrize("kinds", [["clairvoyant"], ["non_anticipative"]])
def test_the_return_is_that_along_the_held_out_paths(kinds: list[str]) -> None:
    """Whether it comes with the best response to them or is computed alone."""
    game = SMALL[2]
    found = reports.evaluate(game, uniform(game), kinds=kinds, num_paths=8, seed=5).mean_return
    noise = noise_paths(game, key=reports.held_out_key(5), num_paths=8).noise
    returns = np.asarray(evaluate_paths(game, uniform(game), noise).returns, float)
    assert found.value == pytest.approx(returns.mean(), rel=1e-6)
    assert found.stderr == pytest.approx(returns.std(ddof=1) / np.sqrt(8), rel=1e-3)
