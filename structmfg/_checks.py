"""Checks of static faults: every failure says what was given and what is allowed."""

import difflib
import math
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def printable(text: str, *, keep: str = "") -> str:
    """The text with what a terminal, a page or a font would act on or choke on spelled out by its code; but `keep`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def check_shape(name: str, array: Any, shape: tuple[int, ...]) -> None:
    """Raise `ValueError` unless `array` is one of exactly this shape."""
    if not hasattr(array, "shape"):
        raise ValueError(f"{name} must be an array of shape {shape}, but is a {type(array).__name__}")
    check_reals(name, array)
    if tuple(array.shape) != shape:
        raise ValueError(f"{name} must have shape {shape}, but has shape {tuple(array.shape)}")


def check_integer(name: str, value: Any, *, at_least: int, at_most: int | None = None) -> int:
    """Return `value` as an int, or raise `ValueError` unless it is a whole number from `at_least` to `at_most`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < at_least:
        hint = " (a float)" if isinstance(value, float) else ""
        raise ValueError(f"{name} must be a whole number of at least {at_least}, but is {brief(value)}{hint}")
    if at_most is not None and value > at_most:
        raise ValueError(f"{name} must be at most {at_most}, but is {brief(value)}")
    return int(value)


def brief(value: Any) -> str:
    """Its repr, but for one that nobody would read; Python refuses to print numbers of thousands of digits."""
    if isinstance(value, int) and abs(value) > 10**30:
        return f"a number of about {value.bit_length() * 3 // 10} digits"
    return repr(value)


def check_seed(value: Any) -> int:
    """Return `value` as an int, or raise `ValueError` unless it is a whole number that JAX's keys can hold."""
    largest = 2**32 - 1
    if check_integer("seed", value, at_least=0) > largest:
        raise ValueError(f"seed must be at most {largest}, but is {value}")
    return int(value)


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except (TypeError, OverflowError):  # not a number, or an int beyond all floats
        return False


def check_between(name: str, value: float, low: float, high: float, *, open_low: bool = False) -> None:
    """Raise `ValueError` unless low <= value <= high (low < value if `open_low`)."""
    if not _is_finite(value) or value > high or value < low or (open_low and value == low):
        raise ValueError(f"{name} must lie in {'(' if open_low else '['}{low:g}, {high:g}], but is {value!r}")


def check_positive(name: str, value: float) -> None:
    """Raise `ValueError` unless `value` is finite and above zero."""
    if not (_is_finite(value) and value > 0):
        raise ValueError(f"{name} must be finite and above 0, but is {value!r}")


def plain(value: Any) -> Any:
    """A number of NumPy's or JAX's as Python's, which compiled code can keep; anything else as it is."""
    known = isinstance(value, np.generic | np.ndarray | jax.Array) and not isinstance(value, jax.core.Tracer)
    return value.item() if known and value.ndim == 0 else value


def check_kind(name: str, value: Any, kind: Any) -> None:
    """Raise `ValueError` unless `value` is an instance of `kind`, a class or a union of some."""
    if not isinstance(value, kind):
        given = f"the class {value.__name__} itself" if isinstance(value, type) else f"a {type(value).__name__}"
        wanted = " or ".join(member.__name__ for member in getattr(kind, "__args__", (kind,)))
        raise ValueError(f"{name} must be a {wanted}, but is {given}")


def check_name(kind: str, name: str, allowed: Iterable[str]) -> None:
    """Raise `ValueError` with the nearest allowed names unless `name` is one of them."""
    allowed = sorted(allowed)
    if name in allowed:
        return
    near = difflib.get_close_matches(str(name), allowed, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise ValueError(f"unknown {kind} {name!r}; {hint}allowed: {', '.join(allowed) or 'none'}")


def concrete(array: Any) -> np.ndarray | None:
    """The array in NumPy, or None where its values are not known yet, inside `jit`: they are the caller's to see to."""
    return None if isinstance(array, jax.core.Tracer) else np.asarray(array)


def as_reals(name: str, values: Any, dtype: Any = None) -> jax.Array:
    """A JAX array, or `ValueError` where it is not one of real numbers (or of booleans)."""
    try:
        if isinstance(values, jax.Array | np.ndarray | np.generic):
            check_reals(name, values)
        # With the dtype at once: JAX may remember what an array of NumPy's became without one in single precision.
        array = jnp.asarray(values, dtype)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be an array of real numbers, but is {_shown(values)}") from None
    check_reals(name, array)
    return array


def check_reals(name: str, array: Any) -> None:
    """Raise `ValueError` unless it is an array of real numbers or booleans, known or traced."""
    kind = getattr(array, "dtype", None)
    real = kind is not None and any(jnp.issubdtype(kind, one) for one in (jnp.floating, jnp.integer, jnp.bool_))
    if not real or not getattr(kind, "isnative", True):
        raise ValueError(f"{name} must be an array of real numbers, but is {_shown(array)}")


def _shown(value: Any) -> str:
    kind = getattr(value, "dtype", None)
    return f"a {type(value).__name__}" if kind is None else f"an array of {kind}"


def check_key(key: Any) -> None:
    """Raise `ValueError` unless `key` is a random key of JAX, of the new kind or the old one."""
    try:
        jax.eval_shape(lambda: jax.random.fold_in(key, 0))
    except (TypeError, ValueError, AttributeError):
        raise ValueError(f"key must be one of jax.random.key, but is {key!r:.60}") from None


def check_whole(name: str, values: Any, low: int, high: int) -> None:
    """Raise `ValueError` unless all are whole numbers in low..high; of values not known yet, inside `jit`, the type."""
    array = values if isinstance(values, jax.Array) else np.asarray(values)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise ValueError(f"{name} must be of whole numbers in {low}..{high}, but is {_shown(values)}: {values!r:.60}")
    known = concrete(array)
    if known is not None and known.size and not (known.min() >= low and known.max() <= high):
        raise ValueError(f"{name} must lie in {low}..{high}, but goes from {known.min()} to {known.max()}")


def check_rows(name: str, rows: Any, *, tolerance: float = 1e-5) -> None:
    """Raise `ValueError`, naming the first bad one, unless all rows are distributions (where values are known)."""
    if (known := concrete(rows)) is None:
        return
    good = np.isfinite(known).all(-1) & (known >= 0).all(-1) & (np.abs(known.sum(-1) - 1) <= tolerance)
    if not good.all():
        row = tuple(int(i) for i in np.argwhere(~good)[0])
        where = f"row {row[0] if len(row) == 1 else row}" if known.shape[0] > 1 else "their row"
        entries = ", ".join(f"{entry:g}" for entry in known[row][:8]) + (", ..." if known.shape[-1] > 8 else "")
        raise ValueError(
            f"{name} must be nonnegative and sum to 1 within {tolerance:g}, but {where} is [{entries}], with sum "
            f"{known[row].sum():.8g}"
        )
