"""Whatever is typed ends in a result or in one line of refusal: never in a traceback, never in a hang.

What would compute for long is cut short where it begins: all before it (parsing, games, solvers, folders, settings,
plans) is the real thing. Some lines are let run to their end.
"""

import collections
import contextlib
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.command_lines import command_lines
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from structmfg import _flags, benchmarks, reports
from structmfg.benchmarks.comparison import _plan
from structmfg.cli import _evaluate, _verify, main
from structmfg.cli.economy.registry import NamedEconomy
from structmfg.evaluation._tree_problem import TreeProblem
from structmfg.solvers import SOLVERS
from structmfg.verification import _verify as verification

pytestmark = pytest.mark.usefixtures(
    "first_method_alone", "unchecked", "blank_figures"
)  # what is wrong has to be found by the package itself
EXAMPLES = {"solve": 30, "evaluate": 20, "compare": 20, "verify": 20, "bench": 20, "games": 5, "economy": 20}
SETTINGS = settings(
    deadline=5000, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], database=None
)
ran: collections.Counter[str] = collections.Counter()
ended: collections.Counter[Any] = collections.Counter()

TINY = ["linear_quadratic", "--num-states", "9", "--horizon", "3", "--iterations", "2", "--hidden", "4", "--width", "4"]


class Accepted(BaseException):
    """The input was taken, and the computation would begin."""


def begin(*_: Any, **__: Any) -> Any:
    raise Accepted


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, spared_estimates: None, blank_figures: None) -> Iterator[Path]:
    """A working folder with a run in it, another file, and no way out."""
    folder = tmp_path_factory.mktemp("fuzzed") / "a" / "b" / "c"
    (folder / "occupied").mkdir(parents=True)
    (folder / "occupied" / "file").write_text("mine")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(_flags, "keep_compiled_programs", lambda: None)
        assert main(["solve", *TINY, "--quiet", "--out", "run"]) == 0
        yield folder


@pytest.fixture
def cut_short(place: Path) -> Iterator[None]:
    """Long computations raise `Accepted` where they begin."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in SOLVERS.values():
            patch.setattr(kind, "init", begin)
        patch.setattr(TreeProblem, "of", begin)
        patch.setattr(_plan, "steps_within", begin)
        patch.setattr(verification, "run", begin)
        patch.setattr(_verify, "self_test", begin)
        patch.setattr(benchmarks, "run", begin)
        patch.setattr(reports, "evaluate", begin)
        patch.setattr(_evaluate, "players", begin)
        patch.setattr(NamedEconomy, "steady_state", begin)
        yield


def typed(argv: list[str]) -> tuple[int | None, str, str]:
    """The exit code, None where the computation would begin; what went to standard output and error."""
    out, err = io.StringIO(), io.StringIO()
    code = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.suppress(Accepted):
        code = main(argv)
    return code, out.getvalue(), err.getvalue()


def check(argv: list[str]) -> None:
    code, out, err = typed(argv)
    ended[code] += 1
    assert code in (None, 0, 1, 2, 130), (code, err)
    assert "Traceback" not in out + err
    if code == 2:
        assert out == ""
        assert err.startswith("structmfg: ")
        assert len(err.splitlines()) == 1, err
        assert len(err.strip()) > len("structmfg:")


def cleared(place: Path) -> None:
    for path in place.iterdir():
        if path.name not in ("run", "occupied"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert (place / "occupied" / "file").read_text() == "mine"


def fuzz(command: str, place: Path, **more: Any) -> None:
    @settings(SETTINGS, **more)
    @given(command_lines(command))
    def run(argv: list[str]) -> None:
        ran[command] += 1
        check(argv)
        cleared(place)

    run()


@pytest.mark.parametrize("command", EXAMPLES)
def test_command_lines(command, place, cut_short):
    fuzz(command, place, max_examples=EXAMPLES[command])
    assert ran[command] >= 0.8 * EXAMPLES[command]  # hypothesis stops where there is nothing new
    assert ended[2] > 0


@pytest.mark.slow
@pytest.mark.parametrize("command", EXAMPLES)
def test_more_command_lines(command, place, cut_short):
    """Others every time."""
    fuzz(command, place, max_examples=8 * EXAMPLES[command], derandomize=False)


@pytest.mark.parametrize(
    "argv",
    [
        ["solve", *TINY, "--seed", "4294967295", "--json"],
        ["solve", *TINY, "--max-seconds", "1e-320"],
        ["solve", "left_right", "--solver", "exact", "--tolerance", "1e308", "--iterations", "1"],
        ["evaluate", "run", "--kind", "clairvoyant", "--players", "2", "--games", "1", "--json"],
        ["games", "--json"],
        ["economy", "--json"],
    ],
    ids=" ".join,
)
def test_some_run_to_their_end(argv, place):
    code, out, err = typed(argv)
    assert code in (0, 1), err
    assert "Traceback" not in out + err


@settings(SETTINGS, max_examples=40)
@given(st.lists(st.text(max_size=20) | st.sampled_from(["solve", "--help", "-h", "--", "--version"]), max_size=5))
def test_any_words(place, cut_short, argv):
    ran["words"] += 1
    check([word for word in argv if not word.startswith("/")])
