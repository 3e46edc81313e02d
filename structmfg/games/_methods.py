"""The methods that a game defines: whether they take what they are given, and which line of theirs failed."""

import contextlib
import inspect
import linecache
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_CALLED = {  # what each is called with, by position
    "kernel": ("aggregate",),
    "reward": ("aggregate", "following"),
    "observe": ("aggregate",),
    "initial_noise": ("uniform",),
    "next_noise": ("noise", "uniform", "time"),
    "initial_mean_field": ("noise",),
    "move_agents": ("aggregate", "states", "actions", "key"),
    "noise_chain": (),
    "scenarios": (),
    "aggregates": ("mean_field",),
    "state_features": (),
    "action_positions": (),
    "normalise": ("observation",),
    "quantities": ("aggregate",),
    "state_axis": (),
    "noise_label": ("noise",),
    "as_noise": ("noise",),
}
_DRAWING = ("initial_noise", "next_noise")
_LISTING = ("noise_chain", "scenarios")
_PACKAGE = str(Path(__file__).parents[1])
_LIBRARIES = tuple(f"/{name}/" for name in ("jax", "jaxlib", "equinox", "numpy", "haiku", "jaxtyping", "beartype"))


def check_methods(game: Any) -> None:
    """Raise `ValueError` on a method that cannot be called with what this package gives it.

    Where a game lists its noise, the methods that draw it may never be called, and are not looked at.
    """
    listed = any("structmfg.games._base" not in getattr(type(game), name).__module__ for name in _LISTING)
    for name, given in _CALLED.items():
        if listed and name in _DRAWING:
            continue
        method = getattr(game, name)
        if not callable(method):
            raise ValueError(f"{name} must be a method {name}({', '.join(given)}), but is {method!r:.60}")
        try:
            signature = inspect.signature(method)
        except (TypeError, ValueError):  # none is known
            continue
        try:
            signature.bind(*given)
        except TypeError as error:
            taken = ", ".join(str(one).partition(":")[0] for one in signature.parameters.values())
            raise ValueError(
                f"{name} is called as {name}({', '.join(given)}), but is defined to take ({taken}): {error}"
            ) from None


@contextlib.contextmanager
def told(name: str) -> Iterator[None]:
    """A TypeError of a game's method as a `ValueError` that names the method and its own line."""
    try:
        yield
    except TypeError as error:
        place = _own_line(error)
        said = str(error).partition("\n")[0]
        raise ValueError(f"{name} raised TypeError{place}: {said}") from error


def _own_line(error: TypeError) -> str:
    """The innermost line that is neither this package's nor a library's."""
    place, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith(_PACKAGE) and not any(part in file for part in _LIBRARIES) and "<" not in file[:1]:
            line = linecache.getline(file, trace.tb_lineno).strip()
            place = f" in {Path(file).name}, line {trace.tb_lineno}" + (f", `{line}`" if line else "")
        trace = trace.tb_next
    return place
