"""One step of the endogenous grid method (Carroll 2006, doi:10.1016/j.econlet.2005.09.013), as both equilibria use it.

Where the borrowing limit does not bind, an optimal policy obeys the Euler equation u'(c) = beta E[(1 + r') u'(c')] with
u'(c) = c^-sigma. For each a' on the grid, consumption c' one period later gives consumption c now, in closed form, and
with it the cash on hand c + a' at which a' is optimal: the endogenous grid.
"""

from typing import Any


def consumption_before(
    later: Any, probability: Any, returns: Any, discount: float, risk_aversion: float, axis: int | tuple[int, ...]
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
