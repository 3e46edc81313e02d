"""The panel of a report in a browser without a window: choosing a path, a time and a state changes what is shown."""

import dataclasses
import re
import shutil
import subprocess

import numpy as np
import pytest

from structmfg import reports
from structmfg._pages import page
from structmfg.games import Macro
from structmfg.policies import tabular
from structmfg.runs._panel import panel_data

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="there is no chromium")]

# As a reader would: choose with the keyboard or the mouse, which sends these events.
CHOOSE = """
<script>
window.addEventListener("load", () => {
  const choose = (id, value) => {
    const control = document.getElementById(id);
    control.value = value;
    control.dispatchEvent(new Event("input", { bubbles: true }));
  };
  choose("panel-path", "2");
  choose("panel-level", "1");
  choose("panel-time", "3");
  choose("panel-point", "0");
  const panel = document.getElementById("panel").dataset;
  panel.before = [panel.path, panel.level, panel.time, panel.point].join(" ");  // the pointer has not moved yet
  const drawing = document.getElementById("panel-mass"), place = drawing.getBoundingClientRect();
  const x = place.left + place.width * (720 - 12) / 720;
  drawing.dispatchEvent(new PointerEvent("pointermove", { clientX: x, clientY: place.top + 5, bubbles: true }));
});
</script>
"""


@pytest.fixture(scope="module")
def shown():
    """Trajectories of a small game of wealth and income under a policy that changes with time."""
    game = Macro(num_wealth=6, num_income=3, horizon=4, num_actions=4)
    policy = tabular(game, np.random.default_rng(0).dirichlet(np.ones(4), (4, 18)))
    return game, reports.trajectories(game, policy)


def seen(tmp_path, shown, fragment="", added=""):
    """The attributes of the panel and its words, as the browser has them after all scripts have run."""
    path = tmp_path / "page.html"
    text = page("structmfg.runs", "panel.html", [], panel=panel_data(*shown))
    path.write_text(f"<!doctype html><meta charset=utf-8><body>{text}{added}</body>")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=3000", "--dump-dom"]
    done = subprocess.run(
        [*command, f"file://{path}{fragment}"], capture_output=True, text=True, timeout=120, check=True
    )
    assert "CONSOLE" not in done.stderr  # no error, no warning
    panel = re.search(r'<section class="panel"[^>]*>', done.stdout)[0]
    words = re.search(r"<output[^>]*>(.*?)</output>", done.stdout, re.S)[1]
    return dict(re.findall(r'data-(\w+)="([^"]*)"', panel)), words, "hidden" in panel, done.stdout


def test_the_panel_opens_at_what_the_address_names(tmp_path, shown):
    _, trajectories = shown
    found, words, hidden, text = seen(tmp_path, shown, "#path=1&level=2&time=3&point=4")
    assert not hidden
    assert (found["path"], found["level"], found["time"]) == ("1", "2", "3")
    state = 4 * 3 + 1  # wealth 4, the second income
    assert float(found["mass"]) == pytest.approx(trajectories.mean_field[1, 3, state], rel=1e-3, abs=1e-6)
    assert float(found["action"]) == pytest.approx(trajectories.mean_action[1, 3, state], rel=1e-3)
    assert "typical productivity, time 3; wealth " in words
    assert re.search(r'id="panel-mass"[^>]*aria-label="Mean field, typical productivity, time 3', text)
    assert text.count("<circle") == 2


def test_choosing_changes_what_is_shown(tmp_path, shown):
    _, trajectories = shown
    found, words, *_ = seen(tmp_path, shown, added=CHOOSE)
    assert (found["path"], found["level"], found["time"]) == ("2", "1", "3")
    assert found["before"] == "2 1 3 0"
    state = 5 * 3  # hovering at the right end: the most wealth, at the first income
    assert float(found["point"]) == pytest.approx(99)
    assert float(found["mass"]) == pytest.approx(trajectories.mean_field[2, 3, state], rel=1e-3, abs=1e-6)
    assert float(found["action"]) == pytest.approx(trajectories.mean_action[2, 3, state], rel=1e-3)
    assert "high productivity, time 3; wealth 99, income 0.1" in words


def test_the_end_and_what_an_address_may_not_say(tmp_path, shown):
    found, words, *_ = seen(tmp_path, shown, "#time=9999&path=<b>&__proto__=1&point=%00&level=77")
    assert (found["path"], found["level"], found["time"], found["action"]) == ("0", "3", "4", "")
    assert "the game is over" in words


def test_points_are_called_by_their_names(tmp_path, shown):
    """Where the game gives names, also beside the axis."""
    game, trajectories = shown
    names = ["debt", "none", "little", "some", "much", "most"]
    named = type("Named", (Macro,), {"state_axes": lambda self: [("wealth", names), ("income", np.arange(3.0))]})
    found, words, _, text = seen(tmp_path, (named(**dataclasses.asdict(game)), trajectories), "#time=3&point=4")
    assert found["point"] == "4"
    assert "time 3; wealth much:" in words
    assert all(f">{name}</text>" in text for name in names)
