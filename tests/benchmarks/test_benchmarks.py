"""Benchmarks: that they measure, report what fails, and judge by the figures. How fast anything is, is not tested."""

import importlib.metadata
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from structmfg import benchmarks
from structmfg.benchmarks import NotRun
from structmfg.benchmarks.suite import _peers, _plan, _run, _updates
from structmfg.benchmarks.suite._cases import Case, find
from structmfg.benchmarks.suite._forms import operator_forms, product_bytes
from structmfg.benchmarks.suite._targets import scaling, targets
from structmfg.benchmarks.suite._timing import TimingBudget, time_calls, time_plain
from structmfg.cli import main
from structmfg.games import LinearQuadratic, make

TINY = {
    "linear_quadratic": {"num_states": 12},
    "beach_bar": {"num_states": 12},
    "macro": {"num_wealth": 5, "num_income": 2},
}
KEY = {"form": "structured", "kernel": "prebuilt", "direction": "forward", "paths": 1, "batch": "single"}
SMALL_PLAN = benchmarks.QUICK._replace(
    sizes={"linear_quadratic": (99,)}, layouts=((1, "single"),), explicit=(), budget=(1e-4, 1), updates=(), training={},
    paths=(), checked={},
)  # fmt: skip

PEER = """
import os
from structmfg.benchmarks import Update


class Mine:
    name = "mine"

    def version(self):
        print("a library that talks")
        return "1.2"

    def update(self, num_states, num_actions):
        return Update(lambda: sum(range(1000)), 2, num_states, num_actions, "a sum")


class Missing(Mine):
    name = "missing"

    def version(self):
        import no_such_library


class Dies(Mine):
    def version(self):
        os.abort()
"""


@pytest.fixture
def own_peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a module of peers, where commands are given."""
    (tmp_path / "own.py").write_text(PEER)
    monkeypatch.chdir(tmp_path)


def case_of(parameters: dict[str, Any]) -> Case:
    arguments = {"game": "linear_quadratic", "parameters": parameters, "seed": 0, "budget": [1e-4, 2]}
    return Case("operator", {"game": "linear_quadratic", "states": parameters["num_states"]}, arguments, [KEY])


def case_of_peer(name: str) -> Case:
    arguments = {"peer": f"own:{name}", "num_states": 9, "num_actions": 3, "budget": [1e-4, 2]}
    return Case("peer", {"peer": f"own:{name}"}, arguments, [{}])


@pytest.mark.parametrize(
    ("game", "changed"),
    [
        ("linear_quadratic", {}),
        ("linear_quadratic", {"direction": "adjoint"}),
        ("linear_quadratic", {"form": "bcoo"}),
        ("linear_quadratic", {"form": "bcsr"}),
        pytest.param(
            "linear_quadratic",
            {"form": "bcsr", "direction": "adjoint", "paths": 2, "batch": "vmap"},
            marks=pytest.mark.slow,
        ),
        ("beach_bar", {"form": "successors", "paths": 2, "batch": "vmap"}),
        ("macro", {"kernel": "rebuilt", "direction": "adjoint"}),
        ("macro", {"form": "successors", "kernel": "rebuilt", "paths": 2, "batch": "map"}),
    ],
)
def test_every_form_is_timed(game: str, changed: dict[str, Any]) -> None:
    measured = operator_forms(game, TINY[game], 0, [1e-4, 2])(**{**KEY, **changed})
    for figure in ("seconds", "least", "compile_seconds", "bytes_per_second"):
        assert math.isfinite(measured[figure])
        assert measured[figure] > 0
    assert measured["calls"] == 2
    assert measured["least"] <= measured["seconds"]
    assert measured["peak_bytes"] >= 0


def test_what_a_matrix_costs_to_make_is_timed_apart() -> None:
    measure = operator_forms("beach_bar", TINY["beach_bar"], 0, [1e-4, 2])
    assert measure(**{**KEY, "form": "bcsr", "direction": "build"})["seconds"] > 0


def test_too_large_a_list_is_not_made() -> None:
    measure = operator_forms("linear_quadratic", TINY["linear_quadratic"], 0, [1e-4, 2], 10)
    with pytest.raises(NotRun, match="588 listed successors are more than 10"):
        measure(**{**KEY, "form": "successors"})


def test_bytes_are_those_of_the_policy_and_two_vectors() -> None:
    assert product_bytes(LinearQuadratic(num_states=100)) == 4 * (100 * 7 + 100 + 100)


def test_calls_are_timed() -> None:
    compiled = time_calls(lambda x: x + 1, (1.0,), TimingBudget(1e-4, 3))
    assert compiled.seconds > 0
    assert compiled.compile_seconds > 0
    long = time_plain(lambda: sum(range(10_000)), TimingBudget(1e-9, 3))  # outlasts its budget: not repeated
    assert (long.calls, long.steps) == (1, 1)


def test_the_papers_games_are_measured_by_default() -> None:
    assert {case.labels["game"] for case in benchmarks.cases(benchmarks.QUICK) if "game" in case.labels} == {*TINY}


def test_what_a_gpu_compiles_for_long_comes_last() -> None:
    kinds = [case.kind for case in benchmarks.cases(benchmarks.QUICK, games=["macro", "beach_bar"])]
    assert kinds == sorted(kinds, key=["copy", "check", "operator", "paths", "update", "training"].index)


@pytest.mark.parametrize("game", sorted(TINY))
def test_the_generic_game_moves_alike(game: str) -> None:
    built = make(game, **TINY[game])
    lists, aggregate = _updates.generic_game(built), jax.jit(built.initial)(jax.random.key(0))
    policy = jnp.full((built.num_states, built.num_actions), 1 / built.num_actions)
    move = jax.jit(lambda g: g.kernel(aggregate).under(policy).T.mv(aggregate.mean_field), static_argnums=0)
    expected, found = move(built), move(lists)
    assert jnp.allclose(found, expected, atol=1e-6)
    assert lists != built


def row(form: str, states: int, seconds: float, **labels: Any) -> dict[str, Any]:
    return {
        **KEY, "kind": "operator", "game": "linear_quadratic", "states": states, "form": form, "seconds": seconds,
        "status": "ok", "bytes_per_second": 1e9, "peak_bytes": 2**29, **labels,
    }  # fmt: skip


def judged(rows: list[dict[str, Any]], part: str) -> tuple[float | None, str]:
    (target,) = [target for target in targets(rows) if part in target.name]
    return target.measured, target.status


def test_a_miss_is_a_miss() -> None:
    name = "linear_quadratic A^T mu, S = 10,000, against"
    assert judged([row("structured", 10_000, 1.0), row("successors", 10_000, 20.0)], name) == (20.0, "met")
    assert judged([row("structured", 10_000, 1.0), row("successors", 10_000, 19.9)], name) == (19.9, "missed")
    assert judged([row("structured", 10_000, 1.0)], name) == (None, "not measured")
    failed = [row("structured", 10_000, 1.0), row("successors", 10_000, 20.0, status="failed")]
    assert judged(failed, name) == (None, "not measured")


def test_bandwidth_memory_and_scaling_are_judged() -> None:
    copy = {"kind": "copy", "status": "ok", "bytes_per_second": 2e9}
    rows = [copy, *(row("structured", states, 1e-9 * states**1.2) for states in (10_000, 100_000, 1_000_000))]
    assert judged(rows, "linear_quadratic A^T mu, S = 100,000, share") == (50, "met")
    assert judged(rows, "linear_quadratic A^T mu, S = 1,000,000, peak") == (0.5, "met")
    measured, status = judged(rows, "linear_quadratic A^T mu, exponent")
    assert (measured, status) == (pytest.approx(1.2), "missed")
    assert judged(rows[:-1], "linear_quadratic A^T mu, exponent") == (None, "not measured")  # the range is not covered
    (fit,) = scaling(rows)
    assert fit.sizes == [10_000, 100_000, 1_000_000]


def test_updates_and_peers_are_judged() -> None:
    update = {"kind": "update", "status": "ok", "game": "macro"}
    rows = [
        {**update, "update": "default, 8 paths", "seconds": 1.0},
        {**update, "update": "paper, successors", "seconds": 8.0},
        {
            "kind": "peer",
            "peer": "structmfg.benchmarks:MFGLib",
            "status": "ok",
            "library": "MFGLib",
            "seconds": 1.0,
        },
        row("structured", 99, 1e-4),
    ]
    assert judged(rows, "macro, one RSPG update") == (0.125, "missed")
    assert judged(rows, "MFGLib") == (pytest.approx(1e4), "met")
    assert judged(rows, "OpenSpiel") == (None, "not measured")


@pytest.mark.slow
@pytest.mark.usefixtures("own_peers")
def test_what_fails_is_reported_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    planned = [case_of({"num_states": 1}), case_of_peer("Dies"), case_of_peer("Missing"), case_of({"num_states": 12})]
    told = []
    result = _run.run(planned, timeout=60, callback=lambda case, *_: told.append(case.title))
    refused, died, missing, measured = result["measurements"]
    assert (refused["status"], refused["states"]) == ("failed", 1)
    assert "num_states must be a whole number of at least 2" in refused["reason"]
    assert (died["status"], died["peer"]) == ("failed", "own:Dies")
    assert "signal 6" in died["reason"]
    assert missing["status"] == "not run"
    assert "missing is not installed (No module named 'no_such_library')" in missing["reason"]
    assert (measured["status"], measured["seconds"] > 0) == ("ok", True)
    assert result["counts"] == {"ok": 1, "failed": 2, "not run": 1}
    assert len(told) == 4


def test_a_case_that_takes_too_long_is_stopped() -> None:
    (stopped,) = _run.run_case(case_of({"num_states": 12}), timeout=0.05)
    assert (stopped["status"], stopped["reason"]) == ("failed", "stopped after 0.05 s")


def test_an_interrupt_leaves_out_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_run, "run_case", interrupted)
    result = _run.run([case_of({"num_states": 12})] * 2, timeout=60)
    assert [measured["reason"] for measured in result["measurements"]] == ["interrupted"] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can pin a process")
def test_processes_are_pinned_and_this_one_is_not() -> None:
    before = os.sched_getaffinity(0)
    with _run.pinned():
        command = [sys.executable, "-c", "import os; print(len(os.sched_getaffinity(0)))"]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "1\n"
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize("peer", _peers.BUILT_IN)
def test_a_missing_peer_is_skipped_with_its_line(peer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    with pytest.raises(NotRun, match=r"is not installed .*pip install '\.\[peers\]'"):
        _peers.peer_update(peer, 9, 3, [1e-4, 2])()


def test_the_plans_cover_what_is_judged() -> None:
    """Every target can be measured, in a quick run as well."""
    for plan in (benchmarks.QUICK, benchmarks.FULL):
        rows = []
        for case in benchmarks.cases(plan):
            library = {"library": case.labels["peer"].rpartition(":")[2]} if case.kind == "peer" else {}
            figures = {"seconds": 1.0, "bytes_per_second": 1.0, "peak_bytes": 1, "difference": 0.0, "tolerance": 1.0}
            figures |= library
            rows += [case.row(key, {"status": "ok", **figures}) for key in case.keys]
        assert {target.status for target in targets(rows)} <= {"met", "missed", "for comparison"}


@pytest.mark.slow
@pytest.mark.usefixtures("own_peers")
def test_the_command_writes_json_and_a_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmarks, "QUICK", SMALL_PLAN)
    monkeypatch.setattr(_plan, "BUILT_IN", ())
    command = ["bench", "--quick", "--games", "linear_quadratic", "--peer", "own:Mine", "--json"]
    assert main(command) == 0
    captured = capsys.readouterr()
    printed = json.loads(captured.out)
    saved = json.loads(Path("runs/bench/bench.json").read_text())
    assert printed == saved
    assert saved.keys() == {
        "format", "machine", "device", "seconds", "measurements", "scaling", "targets", "counts", "settings", "out",
        "report",
    }  # fmt: skip
    assert {"processor", "cores", "pinned_to_core", "versions", "date"} <= saved["machine"].keys()
    rows = saved["measurements"]
    assert all(measured["status"] in ("ok", "failed", "not run") for measured in rows)
    assert all(measured["status"] == "ok" or measured["reason"] for measured in rows)
    own = find(rows, kind="peer", peer="own:Mine")
    assert own is not None
    assert (own["library"], own["version"], own["seconds"] > 0) == ("mine", "1.2", True)
    assert {target["status"] for target in saved["targets"]} <= {"met", "missed", "not measured", "for comparison"}
    page = Path("runs/bench/report.html").read_text()
    assert "a sum" in page
    assert "<img" in page
    assert "http" not in page
    assert "peer own:Mine: 1 of 1 measured" in captured.err
    assert "targets:" in captured.err


def test_nothing_measured_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_run, "run_case", lambda case, **_: case.rows("failed", "no luck <here>"))
    assert main(["bench", "--quick", "--quiet", "--out", "out"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "nothing could be measured" in captured.err
    assert "no luck &lt;here&gt;" in Path("out/report.html").read_text()
