"""Whether an economy has exactly one bounded response to a shock: the winding number of its equations.

Far from both ends, H_U[t, s] depends on t - s only: A_j with j = t - s. The curve det sum_j A_j e^(i j w), w from 0 to
2 pi, winds around zero as often as there are free choices in excess (below zero: indeterminate) or too few of them
(above: explosive). Onatski (2006), Journal of Economic Dynamics and Control 30, pages 323-345.
"""

import numpy as np
from jaxtyping import Float

from structmfg.economies.sequence_space._linear import LinearEconomy

_POINTS = 4096


def winding_number(linear: LinearEconomy) -> int:
    """Return how often the determinant winds around zero: 0 where every small shock has one bounded response.

    A positive number says that no bounded response exists (explosive), a negative one that there are several
    (indeterminate). It is a test in floating point on the Jacobian in the middle of the horizon, and no proof: it needs
    a horizon in which the effects of a shock die away.
    """
    blocks = _middle(np.asarray(linear.system))
    size = max(_POINTS, 4 * blocks.shape[0])
    padded = np.zeros((size, *blocks.shape[1:]))
    padded[: blocks.shape[0]] = blocks
    shift = blocks.shape[0] // 2  # the index of j = 0
    frequencies = 2 * np.pi * np.arange(size) / size
    symbol = np.fft.fft(padded, axis=0) * np.exp(1j * shift * frequencies)[:, None, None]  # sum_j A_j e^(-i j w)
    curve = np.linalg.det(symbol)
    turns = np.angle(np.roll(curve, -1) / curve).sum() / (2 * np.pi)
    return int(np.rint(-turns))


def _middle(system: Float[np.ndarray, "rows horizon columns horizon"]) -> Float[np.ndarray, "lags rows columns"]:
    """A_j, j = -T/2..T/2 - 1, from the column in the middle of the horizon."""
    horizon = system.shape[1]
    middle = horizon // 2
    return np.moveaxis(system[:, middle - horizon // 2 : middle + horizon // 2, :, middle], 1, 0)
