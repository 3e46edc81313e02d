"""Whether an economy has exactly one bounded response to a shock: the winding number of its equations.

Far from both ends, H_U[t, s] depends on t - s only: A_j with j = t - s. The curve det sum_j A_j e^(i j w), w from 0 to
2 pi, winds around zero as often as there are free choices in excess (below zero: indeterminate) or too few of them
(above: explosive). Onatski (2006), Journal of Economic Dynamics and Control 30, pages 323-345.
"""

import numpy as np
from jaxtyping import Float

from structmfg.economies.sequence_space._linear import LinearEconomy

_POINTS = 4096
_LARGEST_END = 0.2
_LEFT_OUT = (0, 1 / 16, 1 / 8, 3 / 16, 1 / 4)  # of the effects, on either side


def winding_number(linear: LinearEconomy) -> int | None:
    """Return how often the determinant winds around zero: 0 where every small shock has one bounded response.

    A positive number says that no bounded response exists (explosive), a negative one that there are several
    (indeterminate). None says that the horizon is too short to tell: effects have not fallen below a fifth of the
    largest one at either end, or the number is not the same if up to half of them, the farthest ones, are left out. It
    is a test in floating point on the Jacobian in the middle of the horizon, and no proof.
    """
    blocks = _middle(np.asarray(linear.system))
    sizes = np.abs(blocks)
    if (sizes[[0, -1]] > _LARGEST_END * sizes.max(axis=0)).any():
        return None
    ends = [round(share * len(blocks)) for share in _LEFT_OUT]
    numbers = {_turns(blocks[end : len(blocks) - end]) for end in ends}
    return numbers.pop() if len(numbers) == 1 else None


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
