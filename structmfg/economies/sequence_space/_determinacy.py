"""Whether an economy has exactly one bounded response to a shock: the winding number of its equations.

Far from both ends, H_U[t, s] depends on t - s only: A_j with j = t - s. The curve det sum_j A_j e^(i j w), w from 0 to
2 pi, winds around zero as often as there are free choices in excess (below zero: indeterminate) or too few of them
(above: explosive). Onatski (2006), Journal of Economic Dynamics and Control 30, pages 323-345.
"""

import numpy as np
from jaxtyping import Float

from structmfg.economies.sequence_space._linear import LinearEconomy

_POINTS = 4096


def winding_number(linear: LinearEconomy) -> int | None:
    """Return how often the determinant winds around zero: 0 where every small shock has one bounded response.

    A positive number says that no bounded response exists (explosive), a negative one that there are several
    (indeterminate). None says that the horizon is too short to tell: the number differs if the last quarter of the
    effects on either side is left out. It is a test in floating point on the Jacobian in the middle of the horizon, and
    no proof.
    """
    blocks = _middle(np.asarray(linear.system))
    left_out = len(blocks) // 8
    number = _turns(blocks)
    return number if number == _turns(blocks[left_out : len(blocks) - left_out]) else None


def _middle(system: Float[np.ndarray, "rows horizon columns horizon"]) -> Float[np.ndarray, "lags rows columns"]:
    """A_j, j = -h..h, from the column in the middle of the horizon."""
    horizon = system.shape[1]
    middle = horizon // 2
    reach = min(middle, horizon - 1 - middle)
    return np.moveaxis(system[:, middle - reach : middle + reach + 1, :, middle], 1, 0)


def _turns(blocks: Float[np.ndarray, "lags rows columns"]) -> int:
    reach = len(blocks) // 2
    frequencies = 2 * np.pi * np.arange(max(_POINTS, 4 * len(blocks))) / max(_POINTS, 4 * len(blocks))
    symbol = np.fft.fft(blocks, n=len(frequencies), axis=0)  # sum_k A_{k - reach} e^(-i k w)
    curve = np.linalg.det(symbol * np.exp(1j * reach * frequencies)[:, None, None])
    turns = np.angle(np.roll(curve, -1) / curve).sum() / (2 * np.pi)
    return int(np.rint(-turns)) if np.isfinite(turns) else 0
