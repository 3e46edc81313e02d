"""Callbacks see every chunk, and write what they saw."""

import csv
import logging
import sys
import types

import jax
import pytest

from structmfg import evaluation, games, policies, solvers


def follow(callbacks, **options):
    game = games.make("linear_quadratic", num_states=9, horizon=3)
    solver = solvers.RSPG(policies.recurrent(game, hidden=4, width=4, depth=1), num_paths=2)
    evaluate = lambda policy: evaluation.exploitability(game, policy)  # noqa: E731
    return solvers.solve(
        game,
        solver,
        key=jax.random.key(0),
        max_steps=4,
        evaluate=evaluate,
        evaluations=2,
        callbacks=callbacks,
        **options,
    )


class Writer:
    """A stand-in for the libraries that draw curves."""

    def __init__(self, *arguments, **options):
        self.rows, self.options, self.finished = [], options, False
        Writer.last = self

    def add_scalar(self, name, value, step):
        self.rows.append((step, name, value))

    def log(self, metrics, step):
        self.rows.append((step, metrics))

    def flush(self):
        pass

    def finish(self):
        self.finished = True


def test_all_are_called_with_the_same_progress(tmp_path, caplog, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=Writer))
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=Writer))
    board = solvers.TensorBoardCallback(tmp_path)
    of_board, seen = Writer.last, []
    others = [solvers.CSVCallback(tmp_path / "log.csv"), solvers.LogCallback(), solvers.WandbCallback(), board]
    with caplog.at_level(logging.INFO, "structmfg"):
        solution = follow([seen.append, *others], callback=seen.append)
    of_wandb = Writer.last
    assert seen[::2] == seen[1::2]
    steps = [progress.step for progress in seen[::2]]
    assert steps[-1] == 4
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert [int(row["step"]) for row in rows] == steps
    points = {point.step: point for point in solution.stats["checkpoints"]}
    for row in rows:
        point = points.get(int(row["step"]))
        assert row["exploitability"] == ("" if point is None else str(point.value))
    assert float(rows[-1]["return"]) == seen[-1].mean_return
    assert [step for step, _ in of_wandb.rows] == steps
    assert (of_wandb.finished, of_wandb.options["mode"]) == (True, "offline")
    assert [value for _, name, value in of_board.rows if name == "return"] == [float(row["return"]) for row in rows]
    assert [record.message.partition(":")[0] for record in caplog.records] == [f"step {step} of 4" for step in steps]


@pytest.mark.usefixtures("unchecked")
def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ImportError, match="pip install"):
        solvers.WandbCallback()
    with pytest.raises(ValueError, match="must be a function of Progress"):
        follow([3])
