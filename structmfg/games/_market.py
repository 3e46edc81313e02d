"""Prices that clear markets: a bracketing root finder that runs inside `jit`.

Agents take prices as given, so no derivative passes through them, and a bracket is all that is needed. The method is
Chandrupatla's (1997, doi:10.1016/s0965-9978(96)00051-8), which takes inverse quadratic steps where they are safe and
halves the bracket elsewhere: about ten evaluations to full precision, each of which evaluates a policy, where bisection
takes fifty. `scipy.optimize.elementwise.find_root` is the same method outside `jit`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

_MAX_EVALUATIONS = 100
_MAX_ROUNDS = 20  # over several markets, one by one
_MAX_STEPS = 50  # of all prices at once
_HALVINGS = 8  # of such a step
_TOLERANCE = 1e-6

Excess = Callable[[Float[Array, " markets"]], Float[Array, " markets"]]


def market_tolerance(at_low: Float[Array, "*at"], at_high: Float[Array, "*at"]) -> Float[Array, "*at"]:
    """The excess demand up to which a market counts as cleared, given that at both ends of its bracket.

    It is 1e-6, and 64 units of rounding, of the smaller one of the two, or of 1 where that is larger or infinite.
    """
    smaller = jnp.minimum(jnp.abs(at_low), jnp.abs(at_high))
    smaller = jnp.where(jnp.isinf(smaller), 1, smaller)
    return (_TOLERANCE + 64 * jnp.finfo(smaller.dtype).eps) * jnp.maximum(1, smaller)


class _Bracket(NamedTuple):
    """The newest point, the one on the other side of the root, and the one before; with the values there."""

    newest: Float[Array, ""]
    other: Float[Array, ""]
    before: Float[Array, ""]
    at_newest: Float[Array, ""]
    at_other: Float[Array, ""]
    at_before: Float[Array, ""]
    share: Float[Array, ""]  # of the way from the newest point to the other, where to evaluate next
    evaluations: Int[Array, ""]
    done: Bool[Array, ""]


def clear(excess: Excess, low: Float[Array, " markets"], high: Float[Array, " markets"]) -> Float[Array, " markets"]:
    """The prices (P,) at which excess demand is zero.

    With several markets each is cleared in turn at the prices of the others, until none moves (Gauss and Seidel). Where
    that goes round in circles, or some market has no root at the prices of the others, steps of Newton's method move
    all prices at once.

    Args:
        excess: Excess demand (P,) at given prices.
        low: The lowest prices (P,).
        high: The highest prices (P,).

    Returns:
        The prices. That of a single market is NaN where excess demand has the same sign, is zero or is not a number at
        both ends of the bracket; of several markets, the prices of those that do not clear are NaN.
    """
    low, high = jnp.asarray(low, float), jnp.asarray(high, float)

    def round_of(prices: Array) -> Array:
        for market in range(low.shape[0]):

            def one(price: Array, market: int = market, prices: Array = prices) -> Array:
                return excess(_known(prices, low, high).at[market].set(price))[market]

            prices = prices.at[market].set(root(one, low[market], high[market]))
        return prices

    if low.shape[0] == 1:
        return round_of(low)
    least_move = 8 * jnp.finfo(low.dtype).eps * (high - low)

    def moves(state: tuple[Array, Array, Array]) -> Array:
        prices, before, rounds = state
        return (rounds < _MAX_ROUNDS) & jnp.any(jnp.abs(prices - before) > least_move)

    start = (round_of((low + high) / 2), (low + high) / 2, jnp.zeros((), int))
    prices, *_ = jax.lax.while_loop(moves, lambda state: (round_of(state[0]), state[0], state[2] + 1), start)
    tolerance = market_tolerance(excess(low), excess(high))
    together, left = _newton(lambda p: excess(p) / tolerance, _known(prices, low, high), low, high)
    alone = jnp.where(jnp.abs(excess(_known(prices, low, high))) <= tolerance, prices, jnp.nan)
    return jnp.where(left <= 1, together, alone)


def _known(prices: Array, low: Array, high: Array) -> Array:
    """The prices, with the middles of the brackets for those that are NaN."""
    return jnp.where(jnp.isnan(prices), (low + high) / 2, prices)


def _newton(
    excess: Excess, start: Float[Array, " markets"], low: Float[Array, " markets"], high: Float[Array, " markets"]
) -> tuple[Float[Array, " markets"], Float[Array, ""]]:
    """Prices by damped steps of Newton's method from `start`, and the largest excess demand at them.

    There is none where the largest excess demand is at most 1. They stop where no share of a step brings it down, or,
    below 1, to less than half. Derivatives are differences: a policy lets none through from what it observes.
    """
    small = jnp.finfo(low.dtype).eps ** 0.5 * (high - low)

    def largest(value: Array) -> Array:
        return jnp.where(jnp.all(jnp.isfinite(value)), jnp.max(jnp.abs(value)), jnp.inf)

    def step(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        prices, left, _, count = state
        value, moved = excess(prices), jnp.where(prices + small > high, -small, small)
        rows = jax.lax.map(lambda move: excess(prices + move) - value, jnp.diag(moved)) / moved[:, None]
        direction = -jnp.linalg.solve(rows.T, value)
        shares = 0.5 ** jnp.arange(_HALVINGS, dtype=low.dtype)
        tries = jnp.clip(prices + shares[:, None] * direction, low, high)
        found = jax.lax.map(lambda prices: largest(excess(prices)), tries)
        best = jnp.argmin(found)
        better = found[best] < jnp.where(left > 1, left, left / 2)
        return jnp.where(better, tries[best], prices), jnp.where(better, found[best], left), better, count + 1

    def goes_on(state: tuple[Array, Array, Array, Array]) -> Array:
        return state[2] & (state[3] < _MAX_STEPS)

    left = largest(excess(start))
    prices, left, *_ = jax.lax.while_loop(goes_on, step, (start, left, left > 1, jnp.zeros((), int)))
    return prices, left


def root(
    function: Callable[[Float[Array, ""]], Float[Array, ""]], low: Float[Array, ""], high: Float[Array, ""]
) -> Float[Array, ""]:
    """A point between `low` and `high` where a function changes its sign; NaN where its signs at the ends agree."""
    at_low, at_high = function(low), function(high)
    least = jnp.finfo(low.dtype).eps * (high - low)

    def step(state: _Bracket) -> _Bracket:
        point = state.newest + state.share * (state.other - state.newest)
        value = function(point)
        same_side = jnp.sign(value) == jnp.sign(state.at_newest)
        before, at_before = _where(same_side, (state.newest, state.at_newest), (state.other, state.at_other))
        other, at_other = _where(same_side, (state.other, state.at_other), (state.newest, state.at_newest))
        width = jnp.abs(other - point)
        limit = jnp.minimum(
            (2 * jnp.finfo(low.dtype).eps * jnp.abs(point) + least) / jnp.where(width > 0, width, 1), 0.5
        )
        share = _next_share(point, other, before, value, at_other, at_before)
        done = (limit >= 0.5) | (value == 0) | (width == 0)
        return _Bracket(
            point, other, before, value, at_other, at_before,
            jnp.clip(share, limit, 1 - limit), state.evaluations + 1, done,
        )  # fmt: skip

    start = _Bracket(
        high,
        low,
        low,
        at_high,
        at_low,
        at_low,
        jnp.full_like(low, 0.5),
        jnp.zeros((), int),
        (at_low == 0) | (at_high == 0),
    )
    bracketed = ((at_low <= 0) & (at_high >= 0) | (at_low >= 0) & (at_high <= 0)) & ((at_low != 0) | (at_high != 0))
    end = jax.lax.while_loop(
        lambda state: ~state.done & (state.evaluations < _MAX_EVALUATIONS) & bracketed, step, start
    )
    nearer = jnp.where(jnp.abs(end.at_newest) <= jnp.abs(end.at_other), end.newest, end.other)
    return jnp.where(bracketed, nearer, jnp.nan)


def _next_share(a: Array, b: Array, c: Array, at_a: Array, at_b: Array, at_c: Array) -> Array:
    """Where between a and b to evaluate next: by inverse quadratic interpolation where Chandrupatla allows it."""
    way = (a - b) / jnp.where(c == b, 1, c - b)
    rise = (at_a - at_b) / jnp.where(at_c == at_b, 1, at_c - at_b)
    safe = (rise**2 < way) & ((1 - rise) ** 2 < 1 - way) & (at_c != at_a) & (at_c != at_b) & (at_a != at_b)
    ab, ac, bc = (jnp.where(safe, x, 1) for x in (at_b - at_a, at_c - at_a, at_c - at_b))
    quadratic = (c - a) / jnp.where(a == b, 1, b - a) * at_a / ac * at_b / bc - at_a / ab * at_c / bc
    return jnp.where(safe, quadratic, 0.5)


def _where(which: Array, yes: tuple[Array, Array], no: tuple[Array, Array]) -> tuple[Array, Array]:
    return jnp.where(which, yes[0], no[0]), jnp.where(which, yes[1], no[1])
