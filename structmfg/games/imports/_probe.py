"""Formulas of rewards that can be called but not read: a constant, a function of an agent's own mass, or linear.

Each formula that is found is held against further mean fields before it is trusted.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from structmfg.games.imports._programs import Formula, formula_of, value_of
from structmfg.games.imports._trace import Path, UntraceableError, entries, untold

Reward = Callable[[Float[np.ndarray, " states"]], float]
_TOLERANCE = 1e-12
_SHARES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.85, 0.9, 0.94, 0.96, 0.98, 0.99, 0.999, 1.0)
_CORNERS = 6  # other states in which all the mass is put
_ROUNDS = 3  # in which the number within the logarithm and the coefficients are improved in turn


def identified(reward: Reward, own: int, size: int) -> Formula:
    """The formula of a reward.

    Args:
        reward: The reward, as a function of the mean field.
        own: The place in the mean field of the agent's own state.
        size: The number of states.

    Raises:
        UntraceableError: It is of none of the forms that are tried.
    """
    random = np.random.default_rng(size * 7919 + own).dirichlet(np.full(size, 0.3), 4)
    others = np.where(np.arange(size) == own, 0, 1)
    points = [np.full(size, 1 / size), *random, others / others.sum() if size > 1 else np.ones(1)]
    if own >= 0 and size > 1:
        points += [share * np.eye(size)[own] + (1 - share) * points[5] for share in _SHARES]
    points += list(np.eye(size)[np.random.default_rng(size).permutation(size)[:_CORNERS]])
    values = np.array([reward(point) for point in points])
    for form in (_constant, _of_own_mass, _linear):
        for formula in form(reward, own, size):
            with np.errstate(all="ignore"):
                found = np.array([value_of(formula, point) for point in points])
                close = np.abs(found - values) <= _TOLERANCE * (1 + np.abs(values))
            if (close | (found == values)).all():
                return formula
    raise UntraceableError("the rewards depend on the mean field in a way that cannot be told from outside")


def _constant(reward: Reward, own: int, size: int) -> list[Formula]:
    return [formula_of(reward(np.full(size, 1 / size)), 0)]


def _of_own_mass(reward: Reward, own: int, size: int) -> list[Formula]:
    """a + b m + c log(m + e), m being the mass at the agent's own state."""
    if own < 0 or size < 2:
        return []

    def at(mass: float) -> float:
        point = np.full(size, (1 - mass) / (size - 1))
        point[own] = mass
        return reward(point)

    masses = np.array([0.125, 0.25, 0.375, 0.5, 0.75, 1.0])
    values, empty = np.array([at(mass) for mass in masses]), at(0.0)
    small = 0.0
    for _ in range(_ROUNDS):
        basis = np.column_stack([np.ones_like(masses), masses, np.log(masses + small)])
        a, b, c = (
            float(f"{x:.14g}") if abs(x) > _TOLERANCE else 0.0 for x in np.linalg.lstsq(basis, values, rcond=None)[0]
        )
        if c == 0 or not np.isfinite(empty):
            break
        exponent = (empty - a) / c
        small = float(f"{np.exp(exponent):.14g}") if exponent < 0 else 0.0
    number = entries(0, size, Path(untold))[own]
    return [formula_of(a + b * number + (c * (number + small).log() if c else 0.0), 0)]


def _linear(reward: Reward, own: int, size: int) -> list[Formula]:
    """a + sum of b_i m_i."""
    corners = np.array([reward(point) for point in np.eye(size)])
    if not np.isfinite(corners).all():
        return []
    base = float(np.median(corners))
    numbers = entries(0, size, Path(untold))
    total = base + sum((float(c) - base) * m for c, m in zip(corners, numbers, strict=True) if c != base)
    return [formula_of(total, 0)]
