"""Run folders: one solve with its settings, metrics, policy, trajectories, figures, result and report.

- settings.json: what rebuilds the game and the network or table
- metrics.jsonl: a line an update, and a line a checkpoint
- policy.npz: the parameters of a network or table by path, or the pages of a policy on the noise tree
- trajectories.npz: mean fields, noise, quantities and policy along chosen noise paths
- result.json: what `structmfg solve --json` prints
- figures/*.png, and report.html, which holds them too
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, PyTree

from structmfg._files import read_json, subfolder, write_arrays, write_bytes, write_json
from structmfg._json import to_json
from structmfg.games import Game
from structmfg.policies import ParametricPolicy, Policy, TreePolicy
from structmfg.reports import Anchors, Evaluation, figures, trajectories
from structmfg.runs._html import render
from structmfg.runs._loading import blamed, load_policy, load_result
from structmfg.runs._result import result_object
from structmfg.runs._settings import Settings
from structmfg.solvers import Checkpoint, Solution

_NEEDED = ("settings.json", "policy.npz")


class Run(NamedTuple):
    """A saved solve: the policy is bound to the game."""

    path: Path
    game: Game
    policy: Policy
    settings: Settings
    result: dict[str, Any]  # empty if the solve was interrupted between training and report


def load_settings(path: str | Path, *, policy: bool = True) -> Settings:
    """The settings of a run, with a `policy` or without. `ValueError` says what is missing where it is not one."""
    path = Path(path)
    if not os.path.isdir(path):
        raise ValueError(f"{path} is not a run folder: there is no such folder")
    needed = _NEEDED if policy else _NEEDED[:1]
    missing = [name for name in needed if not os.path.lexists(path / name)]
    if missing:
        raise ValueError(f"{path} is not a run folder: it has no {', '.join(missing)}")
    saved = read_json(path / "settings.json")
    with blamed(path / "settings.json"):
        return Settings.parse(saved)


def load_run(path: str | Path) -> Run:
    """A run from its folder, whoever wrote it. `ValueError` says what is missing or does not fit.

    Parameters take JAX's default float: a run of precision float64 gives the same numbers only where
    `jax_enable_x64` is set.
    """
    path, settings = Path(path), load_settings(path)
    with blamed(path / "settings.json"):
        game = settings.build_game()
    policy = load_policy(path / "policy.npz", settings, game)
    if not os.path.lexists(path / "result.json"):  # interrupted between training and report
        return Run(path, game, policy, settings, {})
    return Run(path, game, policy, settings, load_result(path / "result.json", settings))


def save_run(
    folder: Path, settings: Settings, game: Game, solution: Solution, evaluation: Evaluation, beside: Anchors
) -> Run:
    """Write everything but the settings, which are written first of all, before training; the result last."""
    policy = save_policy(folder, solution)
    curve = checkpoints(settings, solution, evaluation)
    write_bytes(folder / "metrics.jsonl", _metrics(settings, solution, curve).encode())
    shown = trajectories(game, policy)
    write_arrays(folder / "trajectories.npz", shown.arrays())
    pictures = figures(game, settings.solver, shown, curve, beside, kind=settings.own_kind)
    for picture in pictures:
        write_bytes(subfolder(folder, "figures") / f"{picture.name}.png", picture.png)
    report = folder / "report.html"
    result = result_object(settings, solution, evaluation, beside, out=str(folder), report=str(report))
    write_bytes(report, render(settings, result, pictures).encode())
    write_json(folder / "result.json", result)
    return Run(folder, game, policy, settings, result)


def save_settings(folder: Path, settings: Settings) -> None:
    """Write settings.json: the first file of a run, so that a folder that cannot be written is found out early."""
    write_json(folder / "settings.json", settings._asdict())


def save_policy(folder: Path, solution: Solution) -> Policy:
    """Write policy.npz: before all that may take long or be interrupted."""
    policy = solution.policy
    assert isinstance(policy, ParametricPolicy | TreePolicy)
    parameters = policy.parameters if isinstance(policy, ParametricPolicy) else _pages(policy)
    write_arrays(folder / "policy.npz", flatten(parameters))
    return policy


def _pages(policy: TreePolicy) -> dict[str, Array]:
    return {field.name: getattr(policy, field.name) for field in dataclasses.fields(policy) if field.name != "informed"}


def checkpoints(settings: Settings, solution: Solution, evaluation: Evaluation) -> list[Checkpoint]:
    """The exploitability that is followed over the solve, the final evaluation last where it is of that kind."""
    stats, final = solution.stats, evaluation.exploitability[settings.own_kind]
    earlier = [point for point in stats["checkpoints"] if point.step < stats["steps"]]
    if settings.on_tree:
        seconds = stats["train_seconds"] / max(stats["steps"], 1)  # every step costs alike
        pairs = zip(stats["certified"], stats["exploitabilities"], strict=True)
        return [Checkpoint(step, step * seconds, value, 0.0) for step, value in pairs]
    if final is None:
        return earlier
    return [*earlier, Checkpoint(stats["steps"], stats["train_seconds"], final.value, final.stderr)]


def _metrics(settings: Settings, solution: Solution, curve: Sequence[Checkpoint]) -> str:
    """JSON lines by step; within a chunk of updates the seconds are interpolated."""
    stats = solution.stats
    steps = np.array(stats.get("certified", np.arange(1, len(stats["returns"]) + 1)), int)
    ends = np.array([(0, 0.0), *stats["clock"], (stats["steps"], stats["train_seconds"])])
    seconds = np.interp(steps, ends[:, 0], ends[:, 1])
    updates = [
        {"step": int(step), "train_seconds": float(time), "return": mean_return}
        for step, time, mean_return in zip(steps, seconds, stats["returns"], strict=True)
    ]
    for line, norm in zip(updates, stats.get("gradient_norms", ()), strict=False):
        line["gradient_norm"] = norm
    measured = [
        {
            "step": point.step,
            "train_seconds": point.train_seconds,
            "exploitability": {settings.own_kind: point.value},
            "exploitability_stderr": {settings.own_kind: point.stderr},
        }
        for point in curve
    ]
    lines = sorted([*updates, *measured], key=lambda line: line["step"])
    return "".join(to_json(line) + "\n" for line in lines)


def flatten(parameters: PyTree[Array]) -> dict[str, np.ndarray]:
    """Arrays by the path to them."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(parameters)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves}
