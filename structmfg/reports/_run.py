"""Run folders: one solve with its settings, metrics, policy, trajectories, figures, result and report.

- settings.json: what rebuilds the game and the network or table
- metrics.jsonl: a line an update, and a line a checkpoint
- policy.npz: the parameters of a network or table by path, or the pages of a policy on the noise tree
- trajectories.npz: mean fields, noise, quantities and policy along chosen noise paths
- result.json: what `structmfg solve --json` prints
- figures/*.png, and report.html, which holds them too
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from structmfg._json import to_json
from structmfg.games import Game
from structmfg.policies import ParametricPolicy, Policy, TreePolicy
from structmfg.reports._evaluation import Anchors, Evaluation
from structmfg.reports._figures import figures
from structmfg.reports._files import read_arrays, read_json, write_arrays, write_bytes, write_json
from structmfg.reports._html import render
from structmfg.reports._result import result_object
from structmfg.reports._settings import Settings
from structmfg.reports._trajectories import trajectories
from structmfg.solvers import Checkpoint, Solution

_NEEDED = ("settings.json", "policy.npz")
_RESULT = ("game", "solver", "seed", "iterations", "train_seconds", "compile_seconds", "result")  # of result.json


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
    if not path.is_dir():
        raise ValueError(f"{path} is not a run folder: there is no such folder")
    needed = _NEEDED if policy else _NEEDED[:1]
    missing = [name for name in needed if not (path / name).is_file()]
    if missing:
        raise ValueError(f"{path} is not a run folder: it has no {', '.join(missing)}")
    return Settings.parse(read_json(path / "settings.json"))


def load_run(path: str | Path) -> Run:
    """A run from its folder. `ValueError` says what is missing or does not fit.

    Parameters take JAX's default float: a run of precision float64 gives the same numbers only where
    `jax_enable_x64` is set.
    """
    path, settings = Path(path), load_settings(path)
    try:
        game = settings.build_game()
        policy = _load_policy(path / "policy.npz", settings, game)
    except (TypeError, OverflowError) as error:  # values of a type that nothing here writes
        raise ValueError(f"{path} does not describe a run: {error}") from error
    if not (path / "result.json").exists():  # interrupted between training and report
        return Run(path, game, policy, settings, {})
    result = read_json(path / "result.json")
    missing = [name for name in _RESULT if name not in result]
    if missing:
        raise ValueError(f"{path / 'result.json'} lacks {', '.join(missing)}")
    return Run(path, game, policy, settings, result)


def save_run(
    folder: Path, settings: Settings, game: Game, solution: Solution, evaluation: Evaluation, beside: Anchors
) -> Run:
    """Write everything but the settings, which are written first of all, before training; the result last."""
    policy = save_policy(folder, solution)
    curve = checkpoints(settings, solution, evaluation)
    write_bytes(folder / "metrics.jsonl", _metrics(settings, solution, curve).encode())
    shown = trajectories(game, policy)
    write_arrays(folder / "trajectories.npz", shown.arrays())
    (folder / "figures").mkdir(exist_ok=True)
    pictures = figures(game, settings.solver, shown, curve, beside, kind=settings.own_kind)
    for picture in pictures:
        write_bytes(folder / "figures" / f"{picture.name}.png", picture.png)
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


def _load_policy(path: Path, settings: Settings, game: Game) -> Policy:
    if not settings.on_tree:
        policy = settings.build_policy(game)
        return policy.with_parameters(_unflatten(path, policy))
    saved, count = read_arrays(path), len(read_arrays(path).get("parent", ()))
    page, whole = (count, game.num_states, game.num_actions), {"parent", "members", "time"}
    shapes = {"logits": page, **dict.fromkeys(whole, (count,))}
    wrong = sorted(name for name, shape in shapes.items() if name not in saved or saved[name].shape != shape)
    if wrong or saved.keys() != {*shapes, "signals"} or saved["signals"].shape[:1] != (count,):
        raise ValueError(f"{path} does not fit the game of settings.json: {', '.join(wrong) or 'other arrays'}")
    if any(not np.isfinite(array).all() for array in saved.values()):
        raise ValueError(f"{path} must hold finite numbers")
    arrays = {name: jnp.asarray(array, int if name in whole else float) for name, array in saved.items()}
    return TreePolicy(**arrays, informed=settings.information == "full")


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


def _unflatten(path: Path, policy: ParametricPolicy) -> PyTree[Array]:
    """A policy's parameters from a file. `ValueError` unless it holds exactly those that the policy has."""
    saved = read_arrays(path)
    expected = jax.eval_shape(lambda key: policy.initialised(key).parameters, jax.random.key(0))
    leaves, structure = jax.tree_util.tree_flatten_with_path(expected)
    names = {jax.tree_util.keystr(where, simple=True, separator="/"): leaf.shape for where, leaf in leaves}
    found = {name: array.shape for name, array in saved.items()}
    if found != names:
        wrong = sorted(name for name in names.keys() | found.keys() if names.get(name) != found.get(name))
        named = ", ".join(wrong)
        raise ValueError(f"{path} does not fit the {policy.noun} of settings.json: {named} missing or of another shape")
    bad = [name for name, array in saved.items() if array.dtype.kind != "f" or not np.isfinite(array).all()]
    if bad:
        raise ValueError(f"{path} must hold finite real numbers, but {', '.join(bad)} does not")
    return jax.tree_util.tree_unflatten(structure, [jnp.asarray(saved[name], float) for name in names])
