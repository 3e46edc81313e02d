"""Exact solvers of two methods, the second of which helps where the first one fails."""

import pytest

import structmfg as smfg
from structmfg.solvers import RESULTS, ExactEquilibrium, exploitability, solve
from structmfg.solvers.exact import _alternating
from structmfg.solvers.loop import _solve as driver
from structmfg.solvers.loop._tree_run import TreeRun


class OfAUser(ExactEquilibrium):
    """With a setting of its own."""

    extra: int = 3


@pytest.mark.slow
def test_where_the_fixed_point_is_lost_again_and_again_mirror_descent_goes_on(tmp_path, monkeypatch, double):
    """And a solve that was interrupted in between goes on to the same numbers."""
    monkeypatch.setattr(_alternating, "_PATIENCE", 2)
    monkeypatch.setattr(driver, "_CHUNK_SECONDS", 1e-9)
    compiled, certify = [], TreeRun._certify
    monkeypatch.setattr(TreeRun, "_certify", lambda run, count: (compiled.append(count), certify(run, count))[1])
    game = smfg.games.make("electricity_storage")

    def run(max_steps=1000, **options):
        return solve(game, ExactEquilibrium(tolerance=1e-6), max_steps=max_steps, **options)

    whole = run()
    assert whole.result is RESULTS.converged
    assert exploitability(game, whole.policy, kind="non_anticipative").value <= 1e-6
    assert compiled.count(0) == 2  # before the first step, and where the second method is added

    def stop(progress):
        if progress.step >= whole.stats["steps"] - 1:
            raise KeyboardInterrupt

    for callback, result in ((stop, RESULTS.interrupted), (None, RESULTS.converged)):
        with smfg.solvers.Snapshots(tmp_path, seconds=1e-9) as snapshots:
            resumed = run(callback=callback, snapshots=snapshots, throw=False)
        assert resumed.result is result
    assert resumed.stats["exploitabilities"] == whole.stats["exploitabilities"]
    monkeypatch.setattr(_alternating, "_PATIENCE", 10**6)
    assert run(whole.stats["steps"], throw=False).stats["exploitability"] > 1e-3


def test_a_class_of_a_user_stays_what_it_is(monkeypatch):
    monkeypatch.setattr(_alternating, "_PATIENCE", 0)
    game = smfg.games.make("left_right")
    alone = solve(game, ExactEquilibrium(method="annealed"), max_steps=60)
    solution = solve(game, OfAUser(), max_steps=60)
    assert solution.stats["exploitabilities"] == alone.stats["exploitabilities"]
