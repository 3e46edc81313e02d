"""Elimination of the states of a Markov chain without subtraction.

Let D be a matrix of nonnegative transition probabilities between n states, and c the probabilities of leaving them for
good, so that the diagonal of D is whatever the rows lack to one. Eliminating the last state k leaves the chain as it is
seen while it is in the others (Grassmann, Taksar & Heyman 1985, doi:10.1287/opre.33.5.1107):

    s_k = sum_{j<k} D_kj + c_k,    D_ij <- D_ij + D_ik D_kj / s_k,    c_i <- c_i + D_ik c_k / s_k.

The pivot s_k is a sum, not 1 - D_kk, so no digit is ever cancelled. Rounding then acts as a small relative change of
probabilities. By the Markov chain tree theorem a relative change by at most eta in r rows changes each entry of a
stationary distribution, and of (I - D)^-1, by at most 2 r eta of itself, to first order, however nearly the chain falls
apart (O'Cinneide 1993, doi:10.1007/BF01385737). The sum of 2 r eta over all eliminations is the proven error here.

States are eliminated in panels, so that most of the work is in products of matrices; of a matrix of bandwidth b only
windows of b and a panel are ever dense: n b^2 operations.
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
import scipy.sparse.linalg
from jaxtyping import Float, Int

UNDERFLOW = 1e-290  # below this a product may have lost digits
UNIT = float(np.finfo(np.float64).eps) / 2  # the largest relative error of one operation
_MODEST_WORK = 1e9  # n b^2: less than a second
_MOST_WORK = 2e10  # some seconds
_MOST_STATES = 200_000  # each costs some 30 microseconds
_MOST_STORED = 1e8  # numbers, n b
_DENSE = 64  # states that are not worth an ordering
_LARGE, _SMALL = 1e100, 1e-100  # beyond these, left solutions are rescaled


class Panel(NamedTuple):
    """States `first` <= k < `last`, in a window that begins at `low`.

    `into` (last - low, last - first): D_ik / s_k for i < k. `out` (last - first, last - low): D_kj for j < k.
    """

    low: int
    first: int
    last: int
    into: Float[np.ndarray, "window panel"]
    out: Float[np.ndarray, "panel window"]
    pivots: Float[np.ndarray, " panel"]


class Visits(NamedTuple):
    """Visits of the states, x = mantissa * 2^exponent (n,); `lost`: whether digits underflowed on the way."""

    mantissa: Float[np.ndarray, " states"]
    exponent: Int[np.ndarray, " states"]
    lost: bool

    @property
    def values(self) -> Float[np.ndarray, " states"]:
        """The numbers x themselves, where they are within the range of doubles."""
        return np.ldexp(self.mantissa, self.exponent)


class Elimination(NamedTuple):
    """A chain whose states have been eliminated, in the order `order`, the last first.

    `error`: a bound on the relative error of each entry of a solution, for a matrix known exactly; infinite where a
    number was too small to be held.
    """

    order: np.ndarray
    panels: list[Panel]
    error: float

    def left(self, inflow: Float[np.ndarray, " states"]) -> Visits:
        """Solve x (I - D) = b for b >= 0: visits of the states."""
        b = np.asarray(inflow, float)[self.order].copy()
        lost = False
        for low, first, last, _, out, pivots in reversed(self.panels):
            for k in range(last - 1, first - 1, -1):
                if b[k]:
                    row = out[k - first, : k - low]
                    share = (b[k] / pivots[k - first]) * row
                    b[low:k] += share
                    lost |= bool(((share < UNDERFLOW) & (row > 0) & (b[low:k] < UNDERFLOW / UNIT)).any())
        x, exponent = np.zeros(len(b)), np.zeros(len(b), int)
        scale = 0
        for low, first, last, into, _, pivots in self.panels:
            for k in range(first, last):
                x[k] = np.ldexp(b[k] / pivots[k - first], -scale) + x[low:k] @ into[: k - low, k - first]
                exponent[k] = scale
                if not _SMALL < x[k] < _LARGE:
                    scale += self._rescale(x, exponent, max(0, min(low, k)), k + 1)
        mantissa, power = np.empty_like(x), np.empty_like(exponent)
        mantissa[self.order], power[self.order] = x, exponent
        return Visits(mantissa, power, lost)

    @staticmethod
    def _rescale(x: np.ndarray, exponent: np.ndarray, low: int, stop: int) -> int:
        """Scale the window that is still used such that its largest entry is about one; return the exponent."""
        top = x[low:stop].max()
        if top == 0 or _SMALL < top < _LARGE:
            return 0
        change = int(np.frexp(top)[1])
        x[low:stop] = np.ldexp(x[low:stop], -change)
        exponent[low:stop] += change
        return change

    def right(self, rewards: Float[np.ndarray, "states columns"]) -> Float[np.ndarray, "states columns"]:
        """Solve (I - D) x = r for r >= 0 (n, m): the rewards collected from each state until the chain leaves."""
        r = np.asarray(rewards, float)[self.order].copy()
        with np.errstate(over="ignore", invalid="ignore"):  # the caller looks for infinite totals
            return self._right(r)

    def _right(self, r: Float[np.ndarray, "states columns"]) -> Float[np.ndarray, "states columns"]:
        for low, first, last, into, _, _ in reversed(self.panels):
            for k in range(last - 1, first - 1, -1):
                r[low:k] += into[: k - low, k - first, None] * r[k]
        for low, first, last, _, out, pivots in self.panels:
            for k in range(first, last):
                r[k] = (r[k] + out[k - first, : k - low] @ r[low:k]) / pivots[k - first]
        result = np.empty_like(r)
        result[self.order] = r
        return result


def _bandwidth(moves: scipy.sparse.csr_array, order: np.ndarray) -> int:
    """The largest distance between the places of two states of a transition, in this order."""
    place = np.empty(len(order), int)
    place[order] = np.arange(len(order))
    rows, columns = moves.nonzero()
    return int(np.abs(place[rows] - place[columns]).max(initial=0))


def banded_order(moves: scipy.sparse.csr_array) -> tuple[np.ndarray, int]:
    """An order of the states and its bandwidth: their own, or that of reverse Cuthill and McKee (1969)."""
    size = moves.shape[0]
    own = np.arange(size)
    if size <= _DENSE:
        return own, max(size - 1, 0)
    band = _bandwidth(moves, own)
    if band <= 2:
        return own, band
    other = scipy.sparse.csgraph.reverse_cuthill_mckee(moves + moves.T, symmetric_mode=True).astype(int)
    narrower = _bandwidth(moves, other)
    return (other, narrower) if narrower < band else (own, band)


def affordable(size: int, band: int, *, modest: bool = False) -> bool:
    """Whether elimination takes seconds, or less than one if `modest`, and fits the memory."""
    width = max(band, 1)
    work = _MODEST_WORK if modest else _MOST_WORK
    return size * float(width) ** 2 <= work and size <= _MOST_STATES and size * float(width) <= _MOST_STORED


def eliminate(
    moves: scipy.sparse.csr_array, leaving: Float[np.ndarray, " states"], order: np.ndarray, band: int
) -> Elimination:
    """Eliminate all n states.

    Args:
        moves: D (n, n), at least zero; its diagonal is not looked at.
        leaving: c (n,), at least zero; every state must be able to leave, perhaps by way of others.
        order: The order of the states; the last is eliminated first.
        band: The bandwidth of this order; see `banded_order`.
    """
    size = moves.shape[0]
    moves = moves[order][:, order].tocsr()
    left = np.asarray(leaving, float)[order].copy()
    width = int(np.clip(band, 8, 48))
    panels: list[Panel] = []
    error, last, known = 0.0, size, np.zeros((0, 0))
    while last > 0:
        first = max(last - width, 0)
        low = max(first - band, 0)
        window = moves[low:last, low:last].toarray()
        if len(known):
            window[-len(known) :, -len(known) :] = known
        panel, rounding = _eliminate_panel(window, left, low, first, last)
        panels.append(panel)
        error += rounding
        known = window[: first - low, : first - low]
        last = first
    return Elimination(order, panels[::-1], error * UNIT)


def _eliminate_panel(window: np.ndarray, left: np.ndarray, low: int, first: int, last: int) -> tuple[Panel, float]:
    """Eliminate one panel, in place: `window` and `left` become those of the states before it.

    Returns the panel, and its part of the error sum 2 r eta, in units of rounding.
    """
    start, pivots = first - low, np.empty(last - first)
    error = 0.0
    for j in range(last - low - 1, start - 1, -1):
        row, k = window[j, :j], low + j
        pivot = row.sum() + left[k]
        into = window[:j, j]
        terms, rows = np.count_nonzero(row) + 1, np.count_nonzero(into)
        if not pivot > np.finfo(float).tiny:
            error = np.inf
            pivot = max(pivot, np.finfo(float).tiny)
        into /= pivot
        window[start:j, :j] += into[start:, None] * row
        window[:start, start:j] += into[:start, None] * row[start:]
        left[low:k] += into * left[k]
        pivots[j - start] = pivot
        error += 2.0 * rows * (terms + 4) + terms + rows + 4  # the last ones: of the solution at k
    out = window[start:].copy()
    columns = window[:, start:].copy()
    if start:
        window[:start, :start] += columns[:start] @ out[:, :start]
        error += 2.0 * start * (last - first + 2)
    panel = Panel(low, first, last, columns, out, pivots)
    if _has_underflow(panel, window[:, :start], left[low:last]):
        error = np.inf
    return panel, error


def _has_underflow(panel: Panel, reached: np.ndarray, left: np.ndarray) -> bool:
    """Whether a product of two probabilities may have lost digits that matter in the sum it was added to.

    `reached` (window, states before the panel) and `left` (window,) are these sums.
    """
    into, out = panel.into, panel.out
    if _least(into) * min(_least(out), _least(left)) >= UNDERFLOW:
        return False
    size, width = into.shape
    sums = np.concatenate([reached, into * panel.pivots], axis=1)
    np.fill_diagonal(sums, 1)  # returns to the same state do not count
    for j in range(width):
        before = size - width + j
        source = into[:before, j, None]
        for factor, total in ((out[j, None, :before], sums[:before, :before]), (left[before], left[:before, None])):
            lost = (source * factor < UNDERFLOW) & (source > 0) & (np.asarray(factor) > 0)
            if (lost & (total < UNDERFLOW / UNIT)).any():
                return True
    return False


def _least(array: np.ndarray) -> float:
    """The least entry above zero, and at most one."""
    return float(np.min(array, where=array > 0, initial=1.0))


def factorise(
    moves: scipy.sparse.csr_array, total: Float[np.ndarray, " states"], *, transpose: bool = False
) -> tuple[Any, float] | None:
    """The sparse LU of D - P, or of its transpose, and `longest_time`; None where the matrix is exactly singular."""
    matrix = scipy.sparse.diags_array(total) - moves
    try:
        factors = scipy.sparse.linalg.splu((matrix.T if transpose else matrix).tocsc())
    except RuntimeError:
        return None
    times = factors.solve(np.ones(len(total)), trans="T" if transpose else "N")
    return factors, longest_time(moves, total, times)


def longest_time(
    moves: scipy.sparse.csr_array, total: Float[np.ndarray, " states"], times: Float[np.ndarray, " states"]
) -> float:
    """A proven bound on the largest row sum of (D - P)^-1, from a guess of its row sums; infinite where it fails.

    P are the probabilities of moves to other states, D a diagonal of at least their sums.
    """
    if not (np.isfinite(times).all() and (times > 0).all()):
        return np.inf
    outflow, inflow = total * times, moves @ times
    rounding = UNIT * (np.diff(moves.indptr) + 4) * (outflow + inflow)
    least = float((outflow - inflow - rounding).min())
    return float(times.max()) / least if least > 0 else np.inf
