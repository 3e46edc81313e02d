"""Whether an economy has exactly one bounded response to a shock: the winding number of its equations.

Far from both ends, H_U[t, s] depends on t - s only: A_j with j = t - s. The curve det sum_j A_j e^(i j w), w from 0 to
2 pi, winds around zero as often as there are free choices in excess (below zero: indeterminate) or too few of them
(above: explosive). Onatski (2006), Journal of Economic Dynamics and Control 30, pages 323-345.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Float

from structmfg.economies.sequence_space._linear import LinearEconomy

_POINTS = 4096
_LEAST_DETERMINANT = 1e-12
_LARGEST_INVERSE = 1e12
_LARGEST_GROWTH = 10.0
_LARGEST_END = 0.2
_LEFT_OUT = (0, 1 / 16, 1 / 8, 3 / 16, 1 / 4)  # of the effects, on either side


def winding_number(linear: LinearEconomy) -> int | None:
    """Return how often the determinant winds around zero: 0 where shocks have one bounded response.

    A positive number says that no bounded response exists (explosive), a negative one that there are several
    (indeterminate). None says that the horizon is too short to tell: effects have not fallen below a fifth of the
    largest one at either end, or the number is not the same if up to half of them, the farthest ones, are left out. It
    is a test in floating point on the Jacobian in the middle of the horizon, and no proof; with several unknowns 0 is
    necessary, not sufficient, as numbers of parts of the economy may cancel (see `inverse_growth`).
    """
    blocks = _middle(np.asarray(linear.system))
    sizes = np.abs(blocks).max(axis=2)  # of every equation
    if (sizes[[0, -1]] > _LARGEST_END * sizes.max(axis=0)).any():
        return None
    ends = [round(share * len(blocks)) for share in _LEFT_OUT]
    numbers = {_turns(blocks[end : len(blocks) - end]) for end in ends}
    return numbers.pop() if len(numbers) == 1 else None


def inverse_growth(linear: LinearEconomy) -> float:
    """Return how the inverse of the equations grows with the horizon: its size at T over that at T / 2.

    Where every shock has one bounded response it is a small number, at any T. It grows with T, as fast as responses do,
    where there is none, or several, also where winding numbers of parts of the economy cancel. It is infinite where
    the equations do not determine the unknown paths, to rounding.
    """
    system, half = np.asarray(linear.system), linear.horizon // 2
    whole, part = _inverse_size(system), _inverse_size(system[:, :half, :, :half])
    return float(whole / part) if whole <= _LARGEST_INVERSE else math.inf


def examine(linear: LinearEconomy) -> tuple[bool, dict[str, Any]]:
    """Whether nothing speaks against one bounded response to every shock, and what the tests found."""
    number, growth = winding_number(linear), inverse_growth(linear)
    return number in (0, None) and growth <= _LARGEST_GROWTH, {"winding_number": number, "inverse_growth": growth}


def _inverse_size(system: Float[np.ndarray, "rows horizon columns horizon"]) -> float:
    """The norm of the inverse, of the rows and columns divided by their largest entries."""
    matrix = system.reshape(system.shape[0] * system.shape[1], -1)
    with np.errstate(all="ignore"):
        matrix = matrix / np.abs(matrix).max(axis=1, keepdims=True)
        matrix = matrix / np.abs(matrix).max(axis=0, keepdims=True)
        try:
            return float(np.abs(np.linalg.inv(matrix)).sum(axis=0).max()) if np.isfinite(matrix).all() else math.inf
        except np.linalg.LinAlgError:
            return math.inf


def _middle(system: Float[np.ndarray, "rows horizon columns horizon"]) -> Float[np.ndarray, "lags rows columns"]:
    """A_j, j = -h..h, from the column in the middle of the horizon."""
    horizon = system.shape[1]
    middle = horizon // 2
    reach = min(middle, horizon - 1 - middle)
    return np.moveaxis(system[:, middle - reach : middle + reach + 1, :, middle], 1, 0)


def _turns(blocks: Float[np.ndarray, "lags rows columns"]) -> int | None:
    reach = len(blocks) // 2
    frequencies = 2 * np.pi * np.arange(max(_POINTS, 4 * len(blocks))) / max(_POINTS, 4 * len(blocks))
    symbol = np.fft.fft(blocks, n=len(frequencies), axis=0)  # sum_k A_{k - reach} e^(-i k w)
    curve = np.linalg.det(symbol * np.exp(1j * reach * frequencies)[:, None, None])
    if not np.abs(curve).min() > _LEAST_DETERMINANT * np.abs(curve).max():  # it goes through zero, or is nan
        return None
    return int(np.rint(-np.angle(np.roll(curve, -1) / curve).sum() / (2 * np.pi)))
