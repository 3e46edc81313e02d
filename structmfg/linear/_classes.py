"""The closed classes of a chain, and the stationary distribution of one of them with a proven bound on its error."""

from typing import NamedTuple

import numpy as np
import scipy.sparse
from jaxtyping import Float

from structmfg.linear._elimination import UNDERFLOW, UNIT, affordable, banded_order, eliminate, factorise

_PROVES_LITTLE, _PROVES_ENOUGH = 1e-7, 1e-8  # bounds by hitting times


def closed_classes(moves: scipy.sparse.csr_array) -> list[np.ndarray]:
    """The states of each closed class, in increasing order, by their first state."""
    count, labels = scipy.sparse.csgraph.connected_components(moves, directed=True, connection="strong")
    rows, columns = moves.nonzero()
    closed = np.ones(count, bool)
    closed[labels[rows[labels[rows] != labels[columns]]]] = False
    by_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels, minlength=count))[:-1])
    return sorted((by_class[label] for label in np.flatnonzero(closed)), key=lambda states: int(states[0]))


class Distribution(NamedTuple):
    """The distribution of one closed class, the logarithms of its entries, and a bound on its error in the 1-norm."""

    mass: Float[np.ndarray, " states"]
    logarithm: Float[np.ndarray, " states"]
    bound: float


def class_distribution(moves: scipy.sparse.csr_array, known: float) -> Distribution:
    """The distribution on one closed class, whose probabilities are known within a relative error of 2 `known`."""
    size = moves.shape[0]
    if size == 1:
        return Distribution(np.ones(1), np.zeros(1), 0.0)
    order, band = banded_order(moves)
    data = 2 * known + 8 * UNIT  # of each probability
    if band == 1:
        return _births_and_deaths(moves, data)
    if not affordable(size, band, modest=True):
        distribution = _by_lu(moves, data)
        if distribution.bound <= _PROVES_ENOUGH or not affordable(size, band):
            return distribution
    pinned, others = order[:1], order[1:]
    leaving = moves[others][:, pinned].toarray()[:, 0]
    chain = eliminate(moves[others][:, others], leaving, np.arange(size - 1), min(band, size - 1))
    mantissa, exponent = np.ones(size), np.zeros(size, int)
    visits = chain.left(moves[pinned][:, others].toarray()[0])
    mantissa[others], exponent[others] = visits.mantissa, visits.exponent
    error = np.inf if visits.lost else 1.1 * (chain.error + 2 * size * data) + size * UNIT
    return _scaled(mantissa, exponent, error)


def _scaled(mantissa: np.ndarray, exponent: np.ndarray, bound: float) -> Distribution:
    """The normalised distribution of entries mantissa * 2^exponent > 0."""
    if not (np.isfinite(mantissa).all() and (mantissa > UNDERFLOW).all()):
        bound = np.inf
    with np.errstate(divide="ignore"):
        logarithm = np.log(mantissa) + exponent * np.log(2)
    fraction, power = np.frexp(mantissa)
    power = power + exponent
    mass = np.ldexp(fraction, np.maximum(power - power.max(), -2000))
    return Distribution(mass / mass.sum(), logarithm, bound if bound < 0.1 else np.inf)


def _births_and_deaths(moves: scipy.sparse.csr_array, data: float) -> Distribution:
    """The distribution by mu_{s+1} / mu_s = up_s / down_{s+1}, in blocks of ratios that cannot overflow."""
    size, block = moves.shape[0], 512
    ratios, shifts = np.frexp(moves.diagonal(1) / moves.diagonal(-1))
    padded = np.ones(-(-size // block) * block)
    padded[1:size] = ratios
    blocks = np.cumprod(padded.reshape(-1, block), axis=1)
    starts, powers = np.ones(len(blocks)), np.zeros(len(blocks), int)
    for i in range(1, len(blocks)):
        starts[i], change = np.frexp(starts[i - 1] * blocks[i - 1, -1])
        powers[i] = powers[i - 1] + change
    mantissa = (blocks * starts[:, None]).ravel()[:size]
    exponent = np.repeat(powers, block)[:size] + np.concatenate([[0], np.cumsum(shifts, dtype=int)])
    distribution = _scaled(mantissa, exponent, 0.0)
    # The ratio of two entries is a product of as many quotients as there are steps between them.
    distance = np.abs(np.arange(size) - distribution.mass.argmax())
    bound = 2.2 * float(distribution.mass @ distance) * (2 * data + 4 * UNIT) + size * UNIT
    return distribution._replace(bound=distribution.bound + bound)


def _by_lu(moves: scipy.sparse.csr_array, data: float) -> Distribution:
    """The distribution by sparse LU without the first state, or without the one of most mass if this proves more."""
    moves = moves - scipy.sparse.diags_array(moves.diagonal())
    first = _without(moves, 0, data)
    if first.bound <= _PROVES_LITTLE or not np.isfinite(first.mass).all():
        return first
    return min(first, _without(moves, int(first.mass.argmax()), data), key=lambda distribution: distribution.bound)


def _without(moves: scipy.sparse.csr_array, pinned: int, data: float) -> Distribution:
    """The distribution by LU of I - A without the state `pinned`, with the bound by its hitting times."""
    size, total = moves.shape[0], moves.sum(axis=1)
    others = np.delete(np.arange(size), pinned)
    within = moves[others][:, others]
    solver = factorise(within, total[others], transpose=True)
    if solver is None:
        return Distribution(np.full(size, np.nan), np.full(size, np.nan), np.inf)
    factors, hitting = solver
    mass = np.ones(size)
    mass[others] = factors.solve(moves[[pinned]][:, others].toarray()[0])
    mass = np.maximum(mass, 0) / np.maximum(mass, 0).sum()
    inflow, outflow = moves.T @ mass, mass * total
    terms = np.bincount(moves.indices, minlength=size)
    off = np.abs(inflow - outflow) + UNIT * (terms + 3) * (inflow + outflow)
    with np.errstate(divide="ignore"):
        return Distribution(mass, np.log(mass), 2.2 * hitting * float(off[others].sum() + 2 * data))
