"""One step of the endogenous grid method (Carroll 2006, doi:10.1016/j.econlet.2005.09.013), as both equilibria use it.

Where the borrowing limit does not bind, an optimal policy obeys the Euler equation u'(c) = beta E[(1 + r') u'(c')] with
u'(c) = c^-sigma. For each a' on the grid, consumption c' one period later gives consumption c now, in closed form, and
with it the cash on hand c + a' at which a' is optimal: the endogenous grid.
"""

from typing import Any, NamedTuple


def consumption_before(
    later: Any, probability: Any, returns: Any, discount: Any, risk_aversion: Any, axis: int | tuple[int, ...]
) -> tuple[Any, Any]:
    """Consumption c with u'(c) = beta E[(1 + r') u'(c')], and how much each outcome adds to the expectation.

    Powers are taken of ratios to the least c' that may come, which neither overflow nor vanish at any risk aversion.

    Args:
        later: c' in every outcome, an array of NumPy or JAX.
        probability: The probability of every outcome; broadcasts against `later`.
        returns: 1 + r' in every outcome; broadcasts likewise.
        discount: beta.
        risk_aversion: sigma.
        axis: The axes of the outcomes.

    Returns:
        c, without the axes of the outcomes, and the shares of the outcomes in the expectation, with them.
    """
    numpy = later.__array_namespace__()
    least = numpy.min(numpy.where(probability > 0, later, numpy.inf), axis=axis, keepdims=True)
    least = numpy.where(least > 0, least, 1)  # a household that may be left with nothing consumes nothing now
    ratio = numpy.where(probability > 0, later / least, 1)
    marginal = probability * (returns * ratio**-risk_aversion)
    expected = numpy.sum(marginal, axis=axis, keepdims=True)
    return numpy.squeeze(least * (discount * expected) ** (-1 / risk_aversion), axis), marginal / expected


def consumption_before_chain(later: Any, chain: Any, discount: Any, risk_aversion: Any) -> Any:
    """The same where c' (n, m) depends on assets and on the next income state alone: one product with the chain.

    Ratios are to the least c' at the same assets, of whatever probability, so that they vanish only where risk aversion
    is extreme and that c' cannot come.
    """
    numpy = later.__array_namespace__()
    least = numpy.min(later, axis=1, keepdims=True)
    expected = (later / least) ** -risk_aversion @ chain.T
    return least * (discount * expected) ** (-1 / risk_aversion)


class Interpolated(NamedTuple):
    """Consumption (n, m) at cash on hand, and how it was interpolated.

    Consumption at cash (i, e) lies between that before assets `interval` and `interval` + 1, with `weight` on the
    latter; `slope`, of savings in cash, is 0 where an end of the grid binds.
    """

    consumption: Any
    interval: Any
    weight: Any
    slope: Any


def consumption_at(cash: Any, before: Any, assets: Any, position: Any) -> Interpolated:
    """Consumption at the cash on hand that households have.

    Consumption is interpolated, not savings: their difference from cash would lose digits where households are rich.
    Below the endogenous grid the borrowing limit binds; above it, savings stay at the end of the grid.

    Args:
        cash: Cash on hand (n, m), an array of NumPy or JAX.
        before: Consumption (n, m) before each a' on the grid, from `consumption_before`.
        assets: The grid (n,), from the borrowing limit.
        position: The last point (n, m) of the endogenous grid `before + assets` that is at most `cash`, or -1.
    """
    numpy = cash.__array_namespace__()
    at = before + assets[:, None]
    last, incomes = len(assets) - 2, numpy.arange(cash.shape[1])
    index = numpy.clip(position, 0, last)
    width = at[index + 1, incomes] - at[index, incomes]
    weight = (cash - at[index, incomes]) / width
    between = before[index, incomes] + weight * (before[index + 1, incomes] - before[index, incomes])
    limited, ended = position < 0, position > last
    consumption = numpy.where(limited, cash - assets[0], numpy.where(ended, cash - assets[-1], between))
    slope = numpy.where(limited | ended, 0, (assets[index + 1] - assets[index]) / width)
    return Interpolated(consumption, index, weight, slope)
