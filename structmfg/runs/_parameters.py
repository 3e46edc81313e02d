"""The parameters of a game as settings.json holds them: arrays and infinite numbers are written as small objects."""

import math
from typing import Any

import jax
import numpy as np

from structmfg.games import Game, parameter_fields

_DTYPES = ("bool", "float16", "float32", "float64", *(f"{kind}int{2**n}" for kind in ("", "u") for n in range(3, 7)))
_MAX_ENTRIES = 2**17  # of all arrays of a game: settings.json takes about four megabytes
_KEYS = {"dtype", "shape", "entries"}  # of an array, or of a number that is not finite


def parameters(game: Game) -> dict[str, Any]:
    """The parameters of a game that is a dataclass, as settings.json holds them; of another game, none.

    Raises:
        ValueError: One is of a type that a run folder cannot hold, such as a function, or arrays are too large.
    """
    found = {field.name: getattr(game, field.name) for field in parameter_fields(type(game))}
    sizes = {name: value.size for name, value in found.items() if isinstance(value, np.ndarray | jax.Array)}
    if sum(sizes.values()) > _MAX_ENTRIES:
        largest = max(sizes, key=lambda name: sizes[name])
        raise ValueError(
            f"the arrays among the parameters of {type(game).__name__} have {sum(sizes.values())} entries, of at most "
            f"{_MAX_ENTRIES} that a run folder holds; the largest is {largest}"
        )
    return {name: _stored(value, f"parameter {name} of {type(game).__name__}") for name, value in found.items()}


def _stored(value: Any, what: str) -> Any:
    """The value as JSON can hold it. `ValueError` where it cannot."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"dtype": "float", "shape": [], "entries": [str(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_stored(item, what) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _stored(item, what) for key, item in value.items()}
    if isinstance(value, np.ndarray | jax.Array) and str(value.dtype) in _DTYPES:
        entries = [
            entry if not isinstance(entry, float) or math.isfinite(entry) else str(entry)
            for entry in np.asarray(value).ravel().tolist()
        ]
        return {"dtype": str(value.dtype), "shape": list(value.shape), "entries": entries}
    kind = f"{type(value).__name__} of {value.dtype}" if hasattr(value, "dtype") else type(value).__name__
    raise ValueError(
        f"{what} is a {kind}, which a run folder cannot hold: parameters may be numbers, texts, true or false, None, "
        "arrays of real numbers, and lists, tuples or dicts of these; what no run changes can be an attribute of the "
        "class without an annotation"
    )


def restored(value: Any) -> Any:
    """The value that settings.json holds for a parameter: an array of NumPy for an array, a tuple for a list.

    Raises:
        ValueError: What should be an array is none.
    """
    if isinstance(value, list | tuple):
        return tuple(map(restored, value))
    if not isinstance(value, dict):
        return value
    if value.keys() != _KEYS:
        return {key: restored(item) for key, item in value.items()}
    dtype, shape, entries = value["dtype"], value["shape"], value["entries"]
    try:
        if dtype != "float" and dtype not in _DTYPES:
            raise ValueError(f"its dtype is none of {', '.join(_DTYPES)}")
        numbers = [float(entry) if isinstance(entry, str) else entry for entry in entries]
        return float(numbers[0]) if dtype == "float" else np.array(numbers, dtype).reshape(shape)
    except (TypeError, ValueError, IndexError, OverflowError) as error:
        raise ValueError(f"an array among the parameters of the game is damaged: {error}") from error


def in_words(value: Any) -> Any:
    """A parameter, or another setting, as a table shows it: of an array its shape and its type."""
    if isinstance(value, dict) and value.keys() == _KEYS and value["dtype"] != "float":
        return f"array of shape {tuple(value['shape'])}, {value['dtype']}"
    return restored(value)
