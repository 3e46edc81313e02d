"""Lorenz curve and Gini coefficient of a discrete distribution.

For a distribution of values x with mean m > 0, L(p) is the share of the total that the fraction p of the population
with the least x has. The Gini coefficient is

    G = 1 - 2 int_0^1 L(p) dp = E|x - x'| / (2 m),   x and x' independent draws.

Among people who have the same value none comes first, so L is linear between its points and both are exact. Values may
be negative, as for debtors: L then falls below zero before it rises, and G may exceed 1. At m <= 0 there are no shares.
Gastwirth (1972), "The estimation of the Lorenz curve and Gini index", Review of Economics and Statistics 54, pages
306-316.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from structmfg._checks import as_array, check_entries


class LorenzCurve(NamedTuple):
    """The points of a Lorenz curve, from (0, 0) to (1, 1); it is linear between them.

    Attributes:
        population: p (k,), the share of the population with the least values, which increases.
        share: L(p) (k,), their share of the total.
    """

    population: Float[np.ndarray, " points"]
    share: Float[np.ndarray, " points"]

    @property
    def gini(self) -> float:
        """G, the area between the diagonal and the curve over the area below the diagonal."""
        return float(1 - np.diff(self.population) @ (self.share[1:] + self.share[:-1]))

    def bottom(self, population: float) -> float:
        """L(p), the share of the total that this fraction of the population has, those with the least values."""
        return float(np.interp(population, self.population, self.share))

    def top(self, population: float) -> float:
        """1 - L(1 - p), the share of the total that this fraction has, those with the largest values."""
        return 1 - self.bottom(1 - population)


def lorenz_curve(values: Any, weights: Any = None) -> LorenzCurve:
    """Return the Lorenz curve of a discrete distribution; see the module.

    Args:
        values: x, an array of any shape, in any unit.
        weights: How many people have each value, in any unit, with the shape of `values`; by default as many each.

    Raises:
        ValueError: If a value is not finite, a weight is negative, shapes differ, or the total is not above zero.
    """
    x = np.asarray(as_array("values", values), float)
    mass = np.ones(x.shape) if weights is None else np.asarray(as_array("weights", weights), float)
    if x.shape != mass.shape or not x.size:
        raise ValueError(f"values and weights must share a shape, not empty, but have {x.shape} and {mass.shape}")
    check_entries("values", x, -np.inf, np.inf)
    check_entries("weights", mass, 0, np.inf)
    distinct, place = np.unique(x.ravel(), return_inverse=True)
    people = np.bincount(place.ravel(), mass.ravel())
    distinct, people = distinct[people > 0], people[people > 0]
    total = people @ distinct
    if not 0 < total < np.inf:
        raise ValueError(f"the total of values must be above 0 and finite, or it has no shares, but is {total:g}")
    population, share = (np.concatenate([[0.0], np.cumsum(part)]) for part in (people, people * distinct))
    return LorenzCurve(population / population[-1], share / share[-1])


def gini(values: Any, weights: Any = None) -> float:
    """Return the Gini coefficient of a discrete distribution; see `lorenz_curve` for arguments and errors.

    >>> gini([0.0, 0.0, 0.0, 4.0])  # one of four has all
    0.75
    >>> gini([1.0, 3.0], weights=[3.0, 1.0])
    0.25
    """
    return lorenz_curve(values, weights).gini
