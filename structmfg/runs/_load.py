"""Load a run from its folder. What the policy must be follows from the settings, and is known before arrays are read.

Anybody may have written the folder: every fault is a `ValueError` that names the file.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from structmfg._checks import check_name, printable
from structmfg._files import ArrayHeader, check_types, file_error_context, open_arrays, read_json
from structmfg._npz import read_npz
from structmfg._results import SOLVE_RESULTS
from structmfg.games import Game
from structmfg.policies import ParametricPolicy, Policy, StationaryPolicy, TreePolicy, signal_of
from structmfg.runs._metrics import read_metrics
from structmfg.runs._settings import Precision, Settings, check_fits

SETTINGS_FILE, POLICY_FILE, RESULT_FILE = "settings.json", "policy.safetensors", "result.json"
CONFIG_FILE, TRAJECTORIES_FILE = "run.toml", "trajectories.npz"
_NOT_A_RUN = "does not describe a run"
_OLD_POLICY_FILE = "policy.npz"  # of structmfg 0.1.0 and before
_MAX_NAMES = 8  # of arrays, in a message
_Number = float | None
# What result.json must hold, and what it may hold.
_RESULT: dict[str, Any] = dict.fromkeys(("game", "solver", "result"), str) | dict.fromkeys(("seed", "iterations"), int)
_RESULT |= dict.fromkeys(("train_seconds", "compile_seconds"), float)
_RESULT_OPTIONAL: dict[str, Any] = dict.fromkeys(("preset", "message", "device", "out", "report"), str)
_RESULT_OPTIONAL |= dict.fromkeys(("return", "return_stderr"), _Number)
_RESULT_OPTIONAL |= dict.fromkeys(("exploitability", "exploitability_stderr"), dict[str, _Number])
_RESULT_OPTIONAL |= dict.fromkeys(("evaluation", "anchors"), dict[str, Any])
_RESULT_OPTIONAL |= {"populations": dict[str, dict[str, Any]]}
_RESULT_OPTIONAL |= {"certificate": dict[str, Any] | None, "precision": Precision, "versions": dict[str, str]}


class Run(NamedTuple):
    """A saved solve.

    Attributes:
        path: The folder.
        game: The game, built from the settings.
        policy: The policy, bound to the game.
        settings: What the solve was asked for.
        result: What result.json holds; empty if the solve was interrupted between training and report.
        metrics: What metrics.jsonl holds: a dict for every update ("step", "train_seconds", "return") and for every
            checkpoint ("exploitability" by kind). `pandas.DataFrame(run.metrics)` is a table of them. Read when it is
            asked for; a damaged file raises `ValueError`.
        trajectories: The arrays of trajectories.npz by name: mean fields (N, T+1, S), quantities, noise and policies
            along the N noise paths of the figures. Read when they are asked for, like the metrics.
    """

    path: Path
    game: Game
    policy: Policy
    settings: Settings
    result: dict[str, Any]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """See the class."""
        return read_metrics(self.path)

    @property
    def trajectories(self) -> dict[str, np.ndarray]:
        """See the class."""
        path = self.path / TRAJECTORIES_FILE
        return read_npz(path) if os.path.lexists(path) else {}


def load_settings(path: str | Path, *, policy: bool = True) -> Settings:
    """Load the settings of a run.

    Args:
        path: The folder of the run.
        policy: Whether the folder must hold a policy, too.

    Raises:
        ValueError: The folder is not that of a run, its settings are damaged, or an older version wrote it.
    """
    path = Path(path)
    if not os.path.isdir(path):
        raise ValueError(f"{path} is not a run folder: there is no such folder")
    old = os.path.lexists(path / _OLD_POLICY_FILE)
    needed = (SETTINGS_FILE, POLICY_FILE) if policy and not old else (SETTINGS_FILE,)
    missing = [name for name in needed if not os.path.lexists(path / name)]
    if missing:
        raise ValueError(f"{path} is not a run folder: it has no {', '.join(missing)}")
    saved = read_json(path / SETTINGS_FILE)
    with file_error_context(path / SETTINGS_FILE, _NOT_A_RUN):
        settings = Settings.parse(saved)
    if old:
        version = printable(settings.versions.get("structmfg", "unknown")[:40])
        raise ValueError(
            f"{path / _OLD_POLICY_FILE} was written by structmfg {version}; policies are now read from {POLICY_FILE}: "
            "solve the game again, or load the run with that version"
        )
    return settings


def load_run(path: str | Path, *, settings: Settings | None = None) -> Run:
    """Load a run from its folder, whoever wrote it.

    Parameters take JAX's default float: a run of precision float64 gives the same numbers only where
    `jax_enable_x64` is set.

    Args:
        path: The folder of the run.
        settings: What `load_settings` returned for the folder, if it was called before.

    Raises:
        ValueError: A file is missing, damaged, or does not fit the settings.
    """
    path, settings = Path(path), load_settings(path) if settings is None else settings
    with file_error_context(path / SETTINGS_FILE, _NOT_A_RUN):
        game = settings.build_game()
    load = _load_tree_policy if settings.on_tree else _load_parametric_policy
    policy = _load_stationary_policy(path, game) if game.horizon is None else load(path, settings, game)
    interrupted = not os.path.lexists(path / RESULT_FILE)
    return Run(path, game, policy, settings, {} if interrupted else _load_result(path / RESULT_FILE, settings))


def _load_result(path: Path, settings: Settings) -> dict[str, Any]:
    """What was reached. `ValueError` unless it is the result of these settings, with values of the right types."""
    result = read_json(path)
    with file_error_context(path, _NOT_A_RUN):
        check_types(result, _RESULT | _RESULT_OPTIONAL, required=_RESULT)
        check_name("result", result["result"], SOLVE_RESULTS)
        for name in ("game", "solver", "seed"):
            if result[name] != (expected := getattr(settings, name)):
                raise ValueError(f"{name} is {result[name]!r}, but that of settings.json is {expected!r}")
        for name in ("iterations", "train_seconds", "compile_seconds"):
            if result[name] < 0:
                raise ValueError(f"{name} must not be negative, but is {result[name]}")
    return result


def _load_parametric_policy(folder: Path, settings: Settings, game: Game) -> ParametricPolicy:
    """A network or table with its parameters."""
    path = folder / POLICY_FILE
    with file_error_context(folder / SETTINGS_FILE, _NOT_A_RUN):
        policy = settings.build_policy(game)
    kind = policy.kind_name
    with open_arrays(path) as file:
        if getattr(policy.settings, "depth", 0) > (count := len(file.headers)):  # no use in building so many layers
            raise ValueError(f"{path} does not fit the {kind} of settings.json: {count} arrays are too few")
        with file_error_context(folder / SETTINGS_FILE, _NOT_A_RUN):
            shapes, structure = _parameter_shapes(policy)
        _check_shapes(path, kind, shapes, file.headers)
        saved = file.read()
    leaves = [_as_finite_floats(path, name, saved[name]) for name in shapes]
    return policy.with_parameters(jax.tree_util.tree_unflatten(structure, leaves))


def _parameter_shapes(policy: ParametricPolicy) -> tuple[dict[str, tuple[int, ...]], Any]:
    """The shapes of a policy's parameters by their paths, and the structure of the tree that they are leaves of."""
    parameters = jax.eval_shape(lambda key: policy.initialised(key).parameters, jax.random.key(0))
    prepared = jax.eval_shape(lambda parameters: policy.with_parameters(parameters).prepare(), parameters)
    entries = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves((parameters, prepared)))
    check_fits(f"the {policy.kind_name}", entries)
    leaves, structure = jax.tree_util.tree_flatten_with_path(parameters)
    return {leaf_name(path): leaf.shape for path, leaf in leaves}, structure


def leaf_name(path: tuple[Any, ...]) -> str:
    """The name under which a leaf of a tree is saved: the path to it."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _check_shapes(
    path: Path, kind: str, expected: Mapping[str, tuple[int, ...]], headers: Mapping[str, ArrayHeader]
) -> None:
    shapes = {name: header.shape for name, header in headers.items()}
    wrong = sorted(name for name in expected.keys() | shapes.keys() if expected.get(name) != shapes.get(name))
    if wrong:
        named = ", ".join(printable(name[:80]) for name in wrong[:_MAX_NAMES]) + ", ..." * (len(wrong) > _MAX_NAMES)
        raise ValueError(f"{path} does not fit the {kind} of settings.json: {named} missing or of another shape")


def _as_finite_floats(path: Path, name: str, array: np.ndarray) -> Array:
    """The array in JAX's default float. `ValueError` unless all its numbers are finite in it."""
    with np.errstate(over="ignore"):
        floats = jnp.asarray(array, float)
    if array.dtype.kind != "f" or not np.isfinite(np.asarray(floats)).all():
        raise ValueError(f"{path} must hold finite real numbers, but {name} does not")
    return floats


def _as_indices(path: Path, name: str, array: np.ndarray, end: int) -> Array:
    if array.dtype.kind not in "iu" or (array < 0).any() or (array >= end).any():
        raise ValueError(f"{path} must hold whole numbers from 0 to {end - 1} in {name}, but does not")
    return jnp.asarray(array, int)


def _load_tree_policy(folder: Path, settings: Settings, game: Game) -> TreePolicy:
    """A policy on the noise tree."""
    path, informed = folder / POLICY_FILE, settings.information == "full"
    with file_error_context(folder / SETTINGS_FILE, _NOT_A_RUN):
        noise = jax.eval_shape(lambda key: signal_of(game.initial(key).noise), jax.random.key(0))
        signal_size = noise.shape[0] if informed else game.observation_size

    with open_arrays(path) as file:
        shape = file.headers["parent"].shape if "parent" in file.headers else ()
        count = max(shape[0] if shape else 1, 1)
        shapes = {"logits": (count, game.num_states, game.num_actions), "signals": (count, signal_size)}
        shapes |= dict.fromkeys(("parent", "members", "time"), (count,))
        _check_shapes(path, "game", shapes, file.headers)
        saved = file.read()
    return TreePolicy(
        logits=_as_finite_floats(path, "logits", saved["logits"]),
        parent=_as_indices(path, "parent", saved["parent"], count),
        members=_as_indices(path, "members", saved["members"], count),
        time=_as_indices(path, "time", saved["time"], game.horizon),
        signals=_as_finite_floats(path, "signals", saved["signals"]),
        informed=informed,
    )


def _load_stationary_policy(folder: Path, game: Game) -> StationaryPolicy:
    """A policy for ever, with its mean field, in double precision."""
    path = folder / POLICY_FILE
    with open_arrays(path) as file:
        states, actions = game.num_states, game.num_actions
        _check_shapes(path, "game", {"table": (states, actions), "mean_field": (states,)}, file.headers)
        saved = file.read()
    for name, array in saved.items():
        if array.dtype.kind != "f" or not np.isfinite(array).all() or (array < 0).any():
            raise ValueError(f"{path} must hold probabilities, but {name} does not")
        if (np.abs(array.sum(axis=-1, dtype=float) - 1) > 1e-4).any():
            raise ValueError(f"{path} must hold probabilities, but those of {name} do not sum to 1")
    return StationaryPolicy(*(np.asarray(saved[name], np.float64) for name in ("table", "mean_field")))
