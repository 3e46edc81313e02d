"""Checks of what users hand over: every `ValueError` says, in one line, what was given and what is allowed."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from structmfg._flags import known_at_once
from structmfg._text import brief as brief
from structmfg._text import check_name as check_name
from structmfg._text import printable as printable

_REALS = (jnp.floating, jnp.integer, jnp.bool_)


def check_shape(name: str, array: Any, shape: tuple[int, ...]) -> None:
    """Raise `ValueError` unless `array` is one of exactly this shape."""
    if not hasattr(array, "shape"):
        raise ValueError(f"{name} must be an array of shape {shape}, but is a {type(array).__name__}")
    check_reals(name, array)
    if tuple(array.shape) != shape:
        raise ValueError(f"{name} must have shape {shape}, but has shape {tuple(array.shape)}")


def plain(value: Any) -> Any:
    """Return a scalar of NumPy or JAX with a known value as a number of Python, and any other value as it is.

    As an array, a number would be an input of compiled programs, and not known while they are compiled.
    """
    if not isinstance(value, np.ndarray | np.generic | jax.Array) or value.ndim or isinstance(value, jax.core.Tracer):
        return value
    return value.item() if any(jnp.issubdtype(value.dtype, kind) for kind in _REALS) else value


def plain_fields(instance: Any) -> None:
    """Make the fields of a frozen dataclass plain numbers; for its `__post_init__`."""
    for field in dataclasses.fields(instance):
        if (number := plain(given := getattr(instance, field.name))) is not given:
            object.__setattr__(instance, field.name, number)


def check_integer(name: str, value: Any, *, at_least: int, at_most: int | None = None) -> int:
    """Return `value` as an int, or raise `ValueError` unless it is a whole number from `at_least` to `at_most`."""
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < at_least:
        hint = " (a float)" if isinstance(value, float) else ""
        raise ValueError(f"{name} must be a whole number of at least {at_least}, but is {brief(value)}{hint}")
    if at_most is not None and value > at_most:
        raise ValueError(f"{name} must be at most {at_most}, but is {brief(value)}")
    return int(value)


def check_seed(value: Any) -> int:
    """Return `value` as an int, or raise `ValueError` unless it is a whole number that JAX's keys can hold."""
    return check_integer("seed", value, at_least=0, at_most=2**32 - 1)


def _is_finite(value: Any) -> bool:
    if isinstance(value, bool | np.bool_ | np.ndarray | np.datetime64 | np.timedelta64):
        return False  # a date counts as a float there, and `plain` has made a number of every array that is one
    try:
        return math.isfinite(value)
    except (TypeError, OverflowError):  # not a number, or an int beyond all floats
        return False


def check_between(name: str, value: Any, low: float, high: float, *, open_low: bool = False) -> float:
    """Return `value` as a plain number, or raise `ValueError` unless low <= value <= high (low < if `open_low`)."""
    value = plain(value)
    if not _is_finite(value) or value > high or value < low or (open_low and value == low):
        raise ValueError(f"{name} must lie in {'(' if open_low else '['}{low:g}, {high:g}], but is {value!r}")
    return value


def check_positive(name: str, value: Any) -> float:
    """Return `value` as a plain number, or raise `ValueError` unless it is finite and above zero."""
    value = plain(value)
    if not (_is_finite(value) and value > 0):
        raise ValueError(f"{name} must be finite and above 0, but is {value!r}")
    return value


def check_kind(name: str, value: Any, kind: Any) -> None:
    """Raise `ValueError` unless `value` is an instance of `kind`, a class or a union of some."""
    if not isinstance(value, kind):
        given = f"the class {value.__name__} itself" if isinstance(value, type) else f"a {type(value).__name__}"
        wanted = " or ".join(member.__name__ for member in getattr(kind, "__args__", (kind,)))
        raise ValueError(f"{name} must be a {wanted}, but is {given}")


def concrete(array: Any) -> np.ndarray | None:
    """Return the array in NumPy, or None where its values are traced and so not known yet."""
    return None if isinstance(array, jax.core.Tracer) else np.asarray(array)


def as_reals(name: str, values: Any, dtype: Any = None) -> jax.Array:
    """Return a JAX array, or raise `ValueError` where the values are not real numbers or booleans."""
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
    """Raise `ValueError` unless it is an array of real numbers or booleans; their values may be traced."""
    kind = getattr(array, "dtype", None)
    real = kind is not None and any(jnp.issubdtype(kind, allowed) for allowed in _REALS)
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
    """Raise `ValueError` unless all are whole numbers in low..high; of traced values, check only the type."""
    array = values if isinstance(values, jax.Array) else np.asarray(values)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise ValueError(f"{name} must be of whole numbers in {low}..{high}, but is {_shown(values)}: {values!r:.60}")
    known = concrete(array)
    if known is not None and known.size and not (known.min() >= low and known.max() <= high):
        raise ValueError(f"{name} must lie in {low}..{high}, but goes from {known.min()} to {known.max()}")


def known_values(values: Any) -> np.ndarray | jax.Array | None:
    """Return known values without a copy: an array of NumPy, or of JAX where it lies on another device.

    The result is None where values are traced, inside `jit`, or where other processes hold some of them.
    """
    if isinstance(values, jax.core.Tracer) or (isinstance(values, jax.Array) and not values.is_fully_addressable):
        return None
    on_device = isinstance(values, jax.Array) and any(device.platform != "cpu" for device in values.devices())
    return values if on_device else np.asarray(values)


def check_entries(name: str, values: Any, low: float, high: float, *, hint: str = "") -> None:
    """Raise `ValueError`, naming the first entry outside, unless all known values lie in low..high."""
    known = known_values(values)
    if known is None or not known.size:
        return
    with known_at_once():  # inside jit, too, on another device
        least, most = known.min().item(), known.max().item()  # in Python, as `high` may be beyond their type
    if least >= low and most <= high:
        return
    array = np.asarray(known)
    place = tuple(int(i) for i in np.argwhere(~((array >= low) & (array <= high)))[0])
    allowed = f"{low}..{high}" if jnp.issubdtype(array.dtype, jnp.integer) else f"[{low:g}, {high:g}]"
    which = f"{name}[{', '.join(map(str, place))}]" if place else ""
    raise ValueError(f"{name} must lie in {allowed}, but{which and ' '}{which} is {array[place].item()}{hint}")


def _rounding(dtype: Any, width: float) -> float:
    """Bound how far the sum of a row of `width` entries may be from one after it was normalised in this precision.

    Random errors of epsilon in each of n terms add up to about epsilon * sqrt(n); the bound is twice that.
    """
    return 2 * float(jnp.finfo(dtype).eps) * max(width, 1) ** 0.5 if jnp.issubdtype(dtype, jnp.floating) else 0.0


def check_rows(name: str, rows: Any, *, tolerance: float = 1e-5, least: float = 0.0) -> None:
    """Raise `ValueError`, naming the first bad one, unless all rows (..., n) of known values are distributions.

    Their sums may be off by `tolerance`, or by what rounding makes of them, if that is more.
    """
    if (known := known_values(rows)) is None:
        return
    tolerance = max(tolerance, _rounding(known.dtype, known.shape[-1]))
    if known.size and _are_distributions(known, tolerance, least):
        return
    exact = np.asarray(known).astype(np.float64)
    with np.errstate(invalid="ignore"):
        good = (exact >= least).all(-1) & (np.abs(exact.sum(-1) - 1) <= tolerance)
        if not good.all():
            row = tuple(int(i) for i in np.argwhere(~good)[0])
            where = f"row {row[0] if len(row) == 1 else row}" if good.size > 1 else "the whole"
            raise ValueError(
                f"{name} must be nonnegative and sum to 1 within {tolerance:g}, but {where} is {_list(exact[row])}, "
                f"with sum {exact[row].sum():.8g}"
            )


def _are_distributions(known: np.ndarray | jax.Array, tolerance: float, least: float) -> bool:
    """Whether all rows are distributions, by sums in single precision; NaN and infinity show in the sum of a row."""
    sums: Any
    with np.errstate(all="ignore"), known_at_once():
        if isinstance(known, np.ndarray):
            flat = known.reshape(-1, known.shape[-1])
            if flat.dtype not in (np.float32, np.float64):
                flat = flat.astype(np.float32)
            sums = flat @ np.ones(flat.shape[1], flat.dtype)  # 15 times as fast as `sum` over a short axis
        else:
            sums = known.sum(-1, dtype=float)
        return bool(known.min() >= least) and bool(sums.min() >= 1 - tolerance) and bool(sums.max() <= 1 + tolerance)


def check_rows_of_matrix(
    data: Any,
    indices: Any,
    shape: tuple[int, ...],
    *,
    num_actions: int | None = None,
    least: float = -1e-5,
    tolerance: float | None = None,
) -> None:
    """Raise `ValueError`, naming the first bad one, unless the rows of a sparse matrix are distributions.

    Args:
        data: The entries (n,); those given twice add up. Only values that are known are checked.
        indices: Their rows and columns (n, 2). An entry in no row of the matrix is an unused slot.
        shape: The rows and columns of the matrix.
        num_actions: A, where row s*A + a belongs to state s and action a; None where rows are states.
        least: What no entry may lie below.
        tolerance: By how much a sum may be off; None for 1e-5, or what rounding makes of it, if that is more.
    """
    entries, places = known_values(data), known_values(indices)
    if entries is None or places is None or entries.ndim != 1:
        return
    mass, (rows, columns) = np.asarray(entries).astype(np.float64), np.asarray(places).T
    unused = rows >= shape[0]
    for name, given, last in (("row", rows, shape[0] - 1), ("column", columns, shape[1] - 1)):
        outside = (given < 0) | ((given > last) & ~unused)
        if outside.any():
            i = int(outside.argmax())
            raise ValueError(f"{name}s of the matrix must lie in 0..{last}, but that of entry {i} is {given[i]}")
    rows = np.where(unused, shape[0], rows).astype(np.intp)
    sums = np.bincount(rows, mass, shape[0] + 1)[: shape[0]]
    if tolerance is None:
        tolerance = max(1e-5, _rounding(data.dtype, len(mass) / max(shape[0], 1)))
    wrong = ~(np.abs(sums - 1) <= tolerance)
    wrong[rows[(mass < least) & ~unused]] = True
    if wrong.any():
        row = int(wrong.argmax())
        pair = "" if num_actions is None else f" (state {row // num_actions}, action {row % num_actions})"
        raise ValueError(
            f"rows of the matrix must be nonnegative and sum to 1 within {tolerance:g}, but row {row}{pair} has the "
            f"entries {_list(mass[rows == row])}, with sum {sums[row]:.8g}; divide each row by its sum, or transpose "
            "the matrix if columns sum to 1, or say checks=False"
        )


def _list(entries: np.ndarray) -> str:
    return f"[{', '.join(f'{entry:g}' for entry in entries[:8])}{', ...' if entries.size > 8 else ''}]"


def as_floats(name: str, values: Any) -> jax.Array:
    """Return a JAX array as `as_reals` does, with whole numbers and booleans in the default precision."""
    kind = getattr(values, "dtype", None)
    return as_reals(name, values, None if kind is not None and jnp.issubdtype(kind, jnp.floating) else float)


def as_array(name: str, values: Any) -> jax.Array | np.ndarray:
    """Return an array of JAX as it is and all else in NumPy, where JAX might cut off the upper bits of numbers."""
    if not isinstance(values, jax.Array):
        try:
            values = np.asarray(values)
        except (TypeError, ValueError):  # nested sequences, of traced numbers or ragged
            values = as_reals(name, values)
    check_reals(name, values)
    return values


def as_indices(name: str, values: Any, *, last: int, room: int = 0, checks: bool = True, hint: str = "") -> jax.Array:
    """Return whole numbers in 0..last as a JAX array of a type of at least 32 bits that counts to `room`.

    Args:
        name: What the numbers are called in messages.
        values: The numbers, in any integer type.
        last: The largest number allowed.
        room: The largest number that will be computed from them.
        checks: Whether to look at known values.
        hint: What a message about a value outside ends with.

    Raises:
        ValueError: They are of another type, one lies outside, or no type of JAX's present precision counts to `room`.
    """
    array = as_array(name, values)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise ValueError(f"{name} must be of whole numbers, but is of {array.dtype}")
    if checks:
        check_entries(name, array, 0, last, hint=hint)
    room = max(room, last)
    keep = array.dtype in (np.int32, np.int64) and room <= np.iinfo(array.dtype).max
    if isinstance(values, int):
        array = jnp.asarray(values)  # weak in its type, as everywhere in JAX
    elif not (keep and isinstance(array, jax.Array)):
        array = jnp.asarray(array, np.int32 if keep and array.dtype == np.int32 else int)
    if room > jnp.iinfo(array.dtype).max:
        raise ValueError(f"{name} must count to {room}, which {array.dtype} does not: set jax_enable_x64")
    return array


def finite_horizon(game: Any) -> int:
    """The horizon T of a game.

    Raises:
        ValueError: If the game goes on for ever.
    """
    if game.horizon is None:
        raise ValueError(
            "this needs a finite horizon, but the game's horizon is None (infinite): solve it with "
            "solvers.StationaryMeanFieldEquilibrium, or give it a horizon by games.truncated(game, 30)"
        )
    return int(game.horizon)
