"""The files of a run against its settings: what the policy must be is known before its arrays are read."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from structmfg._checks import check_name
from structmfg._reading import Header, read_arrays, read_json
from structmfg._results import SOLVE_RESULTS
from structmfg._typed import check_types
from structmfg.games import Game
from structmfg.policies import ParametricPolicy, Policy, TreePolicy, signal_of
from structmfg.runs._settings import Settings, check_fits

_Number = float | None
_RESULT: dict[str, Any] = {
    "game": str,
    "solver": str,
    "seed": int,
    "iterations": int,
    "train_seconds": float,
    "compile_seconds": float,
    "result": str,
}
_MORE: dict[str, Any] = {  # of result.json, where they are there
    "preset": str,
    "return": _Number,
    "return_stderr": _Number,
    "exploitability": dict[str, _Number],
    "exploitability_stderr": dict[str, _Number],
    "evaluation": dict[str, Any],
    "certificate": dict[str, Any] | None,
    "message": str,
    "anchors": dict[str, Any],
    "precision": Literal["float32", "float64"],
    "device": str,
    "versions": dict[str, str],
    "out": str,
    "report": str,
}


@contextlib.contextmanager
def blamed(path: Path) -> Iterator[None]:
    """What its content leads to is said to be the fault of the file."""
    try:
        yield
    except (ValueError, TypeError, ArithmeticError, RecursionError, MemoryError) as error:
        raise ValueError(f"{path} does not describe a run: {error}") from error


def load_result(path: Path, settings: Settings) -> dict[str, Any]:
    """What was reached. `ValueError` unless it is the result of these settings, with values of the right types."""
    result = read_json(path)
    missing = [name for name in _RESULT if name not in result]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}")
    with blamed(path):
        check_types(result, _RESULT | _MORE)
        check_name("result", result["result"], SOLVE_RESULTS)
        for name in ("game", "solver", "seed"):
            if result[name] != (asked := getattr(settings, name)):
                raise ValueError(f"{name} is {result[name]!r}, but that of settings.json is {asked!r}")
        for name in ("iterations", "train_seconds", "compile_seconds"):
            if result[name] < 0:
                raise ValueError(f"{name} must not be negative, but is {result[name]}")
    return result


def load_policy(path: Path, settings: Settings, game: Game) -> Policy:
    """The policy from its file. `ValueError` unless its arrays are exactly those of the settings, and finite."""
    if settings.on_tree:
        return _load_pages(path, settings, game)
    with blamed(path.with_name("settings.json")):
        policy = settings.build_policy(game)
    return policy.with_parameters(_load_parameters(path, policy))


def _load_parameters(path: Path, policy: ParametricPolicy) -> PyTree[Array]:
    """A policy's parameters."""

    def judge(found: Mapping[str, Header]) -> None:
        if getattr(policy.settings, "depth", 0) > len(found):  # no use in building so many layers
            raise ValueError(
                f"{path} does not fit the {policy.kind_name} of settings.json: {len(found)} arrays are too few"
            )
        with blamed(path.with_name("settings.json")):
            names, _ = _expected(policy)
        _compare(path, policy.kind_name, names, found)

    saved = read_arrays(path, judge)
    names, structure = _expected(policy)
    return jax.tree_util.tree_unflatten(structure, [_real(path, name, saved[name]) for name in names])


def _expected(policy: ParametricPolicy) -> tuple[dict[str, tuple[int, ...]], Any]:
    """The shapes of a policy's parameters by the paths to them, and their structure."""
    expected = jax.eval_shape(lambda key: policy.initialised(key).parameters, jax.random.key(0))
    prepared = jax.eval_shape(lambda parameters: policy.with_parameters(parameters).prepare(), expected)
    check_fits(f"the {policy.kind_name}", sum(math.prod(leaf.shape) for leaf in jax.tree.leaves((expected, prepared))))
    leaves, structure = jax.tree_util.tree_flatten_with_path(expected)
    return {jax.tree_util.keystr(where, simple=True, separator="/"): leaf.shape for where, leaf in leaves}, structure


def _compare(path: Path, noun: str, wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, Header]) -> None:
    shapes = {name: header.shape for name, header in found.items()}
    if shapes != wanted:
        wrong = sorted(name for name in wanted.keys() | shapes.keys() if wanted.get(name) != shapes.get(name))
        named = ", ".join(wrong[:8]) + (", ..." if len(wrong) > 8 else "")
        raise ValueError(f"{path} does not fit the {noun} of settings.json: {named} missing or of another shape")


def _real(path: Path, name: str, array: np.ndarray) -> Array:
    """In JAX's default float. `ValueError` unless all numbers are finite in it."""
    with np.errstate(over="ignore"):
        taken = jnp.asarray(array, float)
    if array.dtype.kind != "f" or not bool(jnp.isfinite(taken).all()):
        raise ValueError(f"{path} must hold finite real numbers, but {name} does not")
    return taken


def _whole(path: Path, name: str, array: np.ndarray, end: int) -> Array:
    if array.dtype.kind not in "iu" or (array < 0).any() or (array >= end).any():
        raise ValueError(f"{path} must hold whole numbers from 0 to {end - 1} in {name}, but does not")
    return jnp.asarray(array, int)


def _load_pages(path: Path, settings: Settings, game: Game) -> TreePolicy:
    """A policy on the noise tree."""
    informed = settings.information == "full"
    with blamed(path.with_name("settings.json")):
        noise = jax.eval_shape(lambda key: signal_of(game.initial(key).noise), jax.random.key(0))
        signal = noise.shape[0] if informed else game.observation_size

    def judge(found: Mapping[str, Header]) -> None:
        shape = found["parent"].shape if "parent" in found else ()
        count = max(shape[0] if shape else 1, 1)
        page, index = (count, game.num_states, game.num_actions), dict.fromkeys(("parent", "members", "time"), (count,))
        _compare(path, "game", {"logits": page, "signals": (count, signal), **index}, found)

    saved = read_arrays(path, judge)
    count = len(saved["parent"])
    return TreePolicy(
        logits=_real(path, "logits", saved["logits"]),
        parent=_whole(path, "parent", saved["parent"], count),
        members=_whole(path, "members", saved["members"], count),
        time=_whole(path, "time", saved["time"], game.horizon),
        signals=_real(path, "signals", saved["signals"]),
        informed=informed,
    )
