"""A user's game may be called anything: pages escape it, figures do not read it, terminals are not moved by it."""

import dataclasses
import html.parser
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from rich.console import Console

from structmfg import _files, reports, runs
from structmfg._checks import printable
from structmfg._files import file_name
from structmfg._npz import write_npz
from structmfg._pages import Picture
from structmfg.benchmarks.comparison._report import render
from structmfg.games import AggregateState, LinearQuadratic
from structmfg.policies import uniform
from structmfg.runs._save import trajectory_arrays
from structmfg.solvers import Checkpoint
from structmfg.verification import CheckResult, Report, Stage, stage_text
from structmfg.verification._verify import _name_of

EVIL = "\"'><script>alert(1)</script>{{ 7 * 7 }}{% x %}$\\frac{$[bold]\x1b[31m"
EVIL += "\x00\x07\r\n\u202e\ud800../../x</title></style>"
NONE: dict[str, None] = dict.fromkeys(reports.KINDS)


@dataclasses.dataclass(frozen=True)
class Called(LinearQuadratic):
    """A small game in which everything is called what a stranger chose."""

    num_states: int = 7
    max_action: int = 1
    horizon: int = 3
    first: int = 1
    last: int = 1

    def quantities(self, aggregate: AggregateState) -> dict[str, jax.Array]:
        return {EVIL: jnp.ones(()), f"mean {EVIL}": jnp.ones(()), "../../up": jnp.ones(())}

    def state_axis(self) -> tuple[str, jax.Array]:
        return EVIL, jnp.arange(7.0)

    def noise_label(self, noise: Any) -> str:
        return f"{EVIL}{int(noise[0])}"


Called.__name__ = Called.__qualname__ = EVIL.replace("\ud800", "").replace("\x00", "")
GAME = Called()


class Tags(html.parser.HTMLParser):
    """The tags of a page, and where it names anything from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.attributes |= {name for name, _ in attrs}


def check_page(text: str) -> None:
    tags = Tags(text)
    assert not tags.found & {"script", "x", "iframe", "object", "link"}
    assert tags.attributes <= {"lang", "charset", "name", "content", "class", "alt", "src", "scope"}
    assert "49" not in re.sub('base64,[^"]*', "", text)
    assert printable(text, keep="\n") == text
    assert text.count("</title>") == 1
    assert "&lt;script&gt;" in text
    text.encode()


def test_the_report_of_a_run_escapes_all_names() -> None:
    settings = runs.Settings(
        game=EVIL, game_parameters={EVIL: EVIL}, solver="exact", preset=EVIL, overrides={EVIL: 1},
        hyper_parameters={EVIL: EVIL}, network={EVIL: EVIL}, max_steps=1, max_seconds=None, seed=0,
        precision="float32", versions={EVIL: EVIL},
    )  # fmt: skip
    result = {
        "iterations": 1, "result": EVIL, "message": EVIL, "exploitability": {EVIL: 1.0},
        "exploitability_stderr": {EVIL: 1.0}, "evaluation": {"exact": True, "noise_paths": EVIL}, "return": EVIL,
        "train_seconds": 1.0, "compile_seconds": 1.0, "device": EVIL, "out": EVIL, "certificate": None,
        "anchors": {"uniform": {EVIL: EVIL}, "floor": {EVIL: None, "clairvoyant": 1.0}, "floor_information": EVIL,
                    "paper": None, "missing": {"floor": EVIL}},
    }  # fmt: skip
    check_page(runs.render(settings, result, [Picture(EVIL, EVIL, b"")]))


def test_the_report_of_a_comparison_escapes_all_names() -> None:
    row = {
        "solver": EVIL, "exploitability": 1.0, "half_width": 1.0, "by_seed": [EVIL], "of_reference": 1.0,
        "of_uniform": 1.0, "seconds_to_half_way": None, "speed_up": None, "speed_up_at_least": True, "updates": EVIL,
        "train_seconds": 1.0, "results": [EVIL], "paper": None, "non_anticipative": None,
    }  # fmt: skip
    result = {
        "game": EVIL, "max_seconds": EVIL, "seeds": [EVIL], "precision": EVIL, "device": EVIL, "reference": EVIL,
        "rows": [row], "half_way": None, "game_parameters": {EVIL: EVIL}, "steps": {EVIL: EVIL}, "versions": {},
        "out": EVIL,
        "anchors": {"uniform": {"clairvoyant": 1.0}, "floor": {"clairvoyant": 1.0}, "floor_information": EVIL},
    }  # fmt: skip
    check_page(render(result, [Picture(EVIL, EVIL, b"")]))


def report() -> Report:
    found = CheckResult(EVIL, 1.0, 0.5, False, EVIL, EVIL)
    return Report(_name_of(GAME), (Stage((found,), EVIL, pictures=(Picture("a", EVIL, b""),)),), (EVIL,))


def test_the_report_of_a_verification_escapes_all_names(tmp_path: Path) -> None:
    report().save(tmp_path / "report.html")
    check_page((tmp_path / "report.html").read_text(encoding="utf-8"))
    report().save(tmp_path / "verify.json")
    assert json.loads((tmp_path / "verify.json").read_text())["results"][0]["name"] == EVIL


def test_a_terminal_is_told_words_only() -> None:
    """No escape sequence, no newline that would make up a line of its own, no markup."""
    stage = report().stages[0]._replace(title="laws")
    lines = stage_text(stage).splitlines()
    assert len(lines) == 4
    assert all(line.isprintable() for line in lines)
    out = Console(width=2000, markup=False, highlight=False, force_terminal=True, record=True)
    with out.capture() as captured:
        out.print(stage_text(stage), soft_wrap=True)
    assert "\x1b[" not in captured.get()
    assert "[bold]" in captured.get()
    assert all(line.isprintable() for line in str(report()._replace(stages=(stage,))).splitlines())


def test_figures_and_arrays_of_such_a_game(tmp_path: Path) -> None:
    """Drawn without being read as mathematics, and kept under names that stay inside the archive."""
    shown = reports.trajectories(GAME, uniform(GAME))
    reference = reports.ReferenceValues(NONE, NONE, "public", None)
    pictures = reports.figures(GAME, EVIL, shown, [Checkpoint(1, 0.5, 1.0, 0.1)], reference)
    assert len(pictures) == 4
    assert all(picture.png.startswith(b"\x89PNG") for picture in pictures)
    assert all(picture.name.isidentifier() for picture in pictures)
    arrays = trajectory_arrays(shown)
    write_npz(tmp_path / "arrays.npz", arrays)
    with zipfile.ZipFile(tmp_path / "arrays.npz") as archive:
        names = archive.namelist()
    assert len(names) == len(arrays)
    assert not any(part in ("", ".", "..") for name in names for part in name.split("/"))
    assert all(len(name.split("/")) <= 2 for name in names)
    assert "quantities/..%2F..%2Fup.npy" in names


@pytest.mark.parametrize("name", [EVIL, "..", ".", "a/b", "/etc", "a\\b", "%2F", "a\nb", "mean position", "Größe"])
def test_file_names_stay_where_they_are_and_apart(name: str, tmp_path: Path) -> None:
    made = tmp_path / file_name(name)
    assert made.parent == tmp_path
    assert made.resolve().parent == tmp_path.resolve()
    assert (file_name(name) == name) == (name in ("mean position", "Größe"))
    assert file_name(file_name(name)) != file_name(name) or file_name(name) == name


def test_new_folders_stay_below_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _files.new_folder(None, "verify-x.../../../out").parent == Path("runs")
    assert not (tmp_path.parent / "out").exists()
