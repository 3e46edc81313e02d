"""Save a solve to its folder: settings, metrics, policy, trajectories, figures, result and report.

- settings.json: what rebuilds the game and the network or table; run.toml: the same for `structmfg solve --config`
- metrics.jsonl: a line for every update, and a line for every checkpoint
- policy.safetensors: the parameters of a network or table by path, or the arrays of a policy on the noise tree or
  of a stationary one
- trajectories.npz: mean fields, noise, quantities and policy along chosen noise paths
- result.json: what `structmfg solve --json` prints
- figures/*.png, and report.html, which holds them too, with a panel to look around in
"""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from structmfg._files import file_name, subfolder, to_json, write_arrays, write_bytes, write_json
from structmfg._npz import write_npz
from structmfg._pages import Picture
from structmfg.games import Game
from structmfg.policies import ParametricPolicy, Policy, StationaryPolicy, TreePolicy
from structmfg.reports import Evaluation, ReferenceValues, Trajectories, figures, trajectories
from structmfg.runs._config import as_toml
from structmfg.runs._html import render
from structmfg.runs._load import CONFIG_FILE, POLICY_FILE, RESULT_FILE, SETTINGS_FILE, TRAJECTORIES_FILE, Run, leaf_name
from structmfg.runs._panel import panel_data
from structmfg.runs._result import result_object
from structmfg.runs._settings import Settings
from structmfg.solvers import Checkpoint, Solution


def save_run(
    folder: Path,
    settings: Settings,
    game: Game,
    solution: Solution,
    evaluation: Evaluation,
    reference: ReferenceValues,
) -> Run:
    """Write everything but the settings, which `save_settings` writes before training; the result comes last.

    Args:
        folder: The folder of the run.
        settings: What the solve was asked for.
        game: The game.
        solution: What the solver returned.
        evaluation: What `reports.evaluate` measured of its policy.
        reference: What `reports.reference_values` found to compare it with.

    Returns:
        The run, as `load_run` would load it.

    Raises:
        ValueError: A file cannot be written.
    """
    policy = save_policy(folder, solution)
    curve = _checkpoints(settings, solution, evaluation)
    write_bytes(folder / "metrics.jsonl", _metrics(settings, solution, curve).encode())
    shown = trajectories(game, policy)
    write_npz(folder / TRAJECTORIES_FILE, trajectory_arrays(shown))
    pictures = figures(
        game, settings.solver, shown, curve, reference, kind=settings.own_kind, gains=evaluation.gains,
        bounds=evaluation.bounds,
    )  # fmt: skip
    save_figures(folder, pictures)
    report = folder / "report.html"
    result = result_object(settings, solution, evaluation, reference, out=str(folder), report=str(report))
    write_bytes(report, render(settings, result, pictures, panel_data(game, shown)).encode())
    write_json(folder / RESULT_FILE, result)
    return Run(folder, game, policy, settings, result)


def save_settings(folder: Path, settings: Settings) -> None:
    """Write settings.json and run.toml: first of all, so that a folder that cannot be written is found out early."""
    write_bytes(folder / CONFIG_FILE, as_toml(settings).encode())
    write_json(folder / SETTINGS_FILE, settings._asdict())


def save_policy(folder: Path, solution: Solution) -> Policy:
    """Write the policy, before anything that may take long or be interrupted, and return it."""
    policy = solution.policy
    assert isinstance(policy, ParametricPolicy | TreePolicy | StationaryPolicy)
    if isinstance(policy, ParametricPolicy):
        leaves, _ = jax.tree_util.tree_flatten_with_path(policy.parameters)
        arrays = {leaf_name(path): np.asarray(leaf) for path, leaf in leaves}
    else:
        names = [field.name for field in dataclasses.fields(policy) if field.name != "informed"]
        arrays = {name: np.asarray(getattr(policy, name)) for name in names}
    write_arrays(folder / POLICY_FILE, arrays)
    return policy


def save_figures(folder: str | Path, pictures: Iterable[Picture], format: str = "png") -> list[Path]:
    """Write figures/NAME.png for every picture, or NAME.svg or NAME.pdf, and return the paths.

    Args:
        folder: The folder of a run, or any other that exists.
        pictures: The figures, as `reports.figures` returns them.
        format: "png", or for a paper "svg" (in which text stays text) or "pdf". The same figure gives the same bytes.

    Raises:
        ValueError: The format is another, a picture is known as PNG only, or `figures` cannot be written: a link that
            leads elsewhere is not followed.
    """
    paths = []
    for picture in pictures:
        data = picture.as_bytes(format)
        paths.append(subfolder(Path(folder), "figures") / f"{picture.name}.{format}")
        write_bytes(paths[-1], data)
    return paths


def trajectory_arrays(shown: Trajectories) -> dict[str, np.ndarray]:
    """The arrays of trajectories.npz: quantities and the leaves of the noise under names of their own."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(shown.noise)
    return {
        "labels": np.array(shown.labels),
        "times": np.arange(shown.mean_field.shape[1]),
        "mean_field": shown.mean_field,
        "policy": shown.policy,
        "policy_times": shown.policy_times,
        **{f"quantities/{file_name(name)}": values for name, values in shown.quantities.items()},
        **{f"noise/{leaf_name(path)}".rstrip("/"): np.asarray(leaf) for path, leaf in leaves},
    }


def _checkpoints(settings: Settings, solution: Solution, evaluation: Evaluation) -> list[Checkpoint]:
    """The exploitability that is followed over the solve, the final evaluation last where it is of that kind."""
    stats, final = solution.stats, evaluation.exploitability[settings.own_kind]
    if settings.on_tree:
        seconds = stats["train_seconds"] / max(stats["steps"], 1)  # every step takes the same time
        pairs = zip(stats["certified"], stats["exploitabilities"], strict=True)
        return [Checkpoint(step, step * seconds, value, 0.0) for step, value in pairs]
    earlier = [point for point in stats["checkpoints"] if point.step < stats["steps"]]
    if final is None:
        return earlier
    return [*earlier, Checkpoint(stats["steps"], stats["train_seconds"], final.value, final.stderr)]


def _metrics(settings: Settings, solution: Solution, curve: Sequence[Checkpoint]) -> str:
    """JSON lines in the order of steps; within a chunk of updates the seconds are interpolated."""
    stats = solution.stats
    steps = np.array(stats.get("certified", np.arange(1, len(stats["returns"]) + 1)), int)
    ends = np.array([(0, 0.0), *stats["clock"], (stats["steps"], stats["train_seconds"])])
    seconds = np.interp(steps, ends[:, 0], ends[:, 1])
    lines: list[dict[str, Any]] = [
        {"step": int(step), "train_seconds": float(time), "return": mean_return}
        for step, time, mean_return in zip(steps, seconds, stats["returns"], strict=True)
    ]
    for line, norm in zip(lines, stats.get("gradient_norms", ()), strict=False):
        line["gradient_norm"] = norm
    lines += [
        {
            "step": point.step,
            "train_seconds": point.train_seconds,
            "exploitability": {settings.own_kind: point.value},
            "exploitability_stderr": {settings.own_kind: point.stderr},
        }
        for point in curve
    ]
    return "".join(to_json(line) + "\n" for line in sorted(lines, key=lambda line: line["step"]))
