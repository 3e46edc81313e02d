"""Read the learning curve of a run from its metrics.jsonl, whoever wrote it."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from structmfg._files import check_types, file_error_context, open_plain_file, parse_object

METRICS_FILE = "metrics.jsonl"
_MAX_BYTES = 2**26
_Number = float | None
_LINE: dict[str, Any] = {"step": int, "train_seconds": float, "return": _Number, "gradient_norm": _Number}
_LINE |= dict.fromkeys(("exploitability", "exploitability_stderr"), dict[str, _Number])


class Curve(NamedTuple):
    """How a run went: returns by update, exploitabilities by kind. Seconds are of training, without compilation.

    Attributes:
        returns: (K, 2); the seconds, and the return, of every update that is kept.
        exploitability: By kind, the seconds and the value (L, 2) of every checkpoint.
    """

    returns: Float[np.ndarray, "updates 2"]
    exploitability: dict[str, Float[np.ndarray, "checkpoints 2"]]


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl: of every update and every checkpoint; none where the run was interrupted before.

    Raises:
        ValueError: The file is damaged, too large, or a link.
    """
    path = folder / METRICS_FILE
    if not os.path.lexists(path):
        return []
    with open_plain_file(path, _MAX_BYTES) as file, file_error_context(path, "does not hold the metrics of a run"):
        return [_parse_line(number, line) for number, line in enumerate(file, 1)]


def read_curve(folder: Path) -> Curve | None:
    """The learning curve of a run; None where it was interrupted before it was written.

    Raises:
        ValueError: The file is damaged, too large, or a link.
    """
    if not os.path.lexists(folder / METRICS_FILE):
        return None
    lines = read_metrics(folder)
    returns = [(line["train_seconds"], line["return"]) for line in lines if line.get("return") is not None]
    checkpoints: dict[str, list[tuple[float, float]]] = {}
    for line in lines:
        for kind, value in line.get("exploitability", {}).items():
            if value is not None:
                checkpoints.setdefault(kind, []).append((line["train_seconds"], value))
    return Curve(_points(returns), {kind: _points(points) for kind, points in checkpoints.items()})


def _parse_line(number: int, line: bytes) -> dict[str, Any]:
    with file_error_context(Path(f"line {number}"), "is not one of metrics"):
        parsed = parse_object(line)
        check_types(parsed, _LINE, required=("step", "train_seconds"))
    return parsed


def _points(pairs: list[tuple[float, float]]) -> np.ndarray:
    return np.array(pairs, float).reshape(-1, 2)
