"""The G test of counts against given probabilities, with p-values that are right far in the tail.

G = 2 sum O log(O / E) over the cells, E being the expected counts. Divided by Williams's factor

    q = 1 + (sum 1 / p - 1) / (6 n (k - 1)),

its mean is that of chi-squared with k - 1 degrees of freedom up to O(n^-2) (Williams 1976, doi:10.1093/biomet/63.1.33).
Cells that expect fewer than `MIN_EXPECTED` are pooled into one; if that still expects fewer, it joins the least other.
The tail of Pearson's statistic is far heavier than chi-squared where few are expected, because the excess is squared,
while log O / E grows as slowly as the logarithm of its probability. With expectations of at least `MIN_EXPECTED`,
p <= alpha happens with a probability of up to 3.2 alpha with three cells and 1.6 alpha with four, for all alpha from
0.05 to 1e-10 (in the cases whose outcomes were all enumerated; the worst are equal cells, where G takes few values; for
Pearson's statistic it is up to 100 alpha). With two cells it would be up to 11 alpha, so that there the p-value is
exact: twice the smaller tail of the binomial distribution. A count where the probability is zero has p = 0.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.special import bdtr, bdtrc, chdtrc, xlogy

MIN_EXPECTED = 10.0  # draws expected in a cell that is not pooled; the tests compute the exact tail


def multinomial_p_values(
    observed: Int[np.ndarray, "rows cells"], probabilities: Float[np.ndarray, "rows cells"], num_draws: int
) -> Float[np.ndarray, " rows"]:
    """The p-value of every row of counts of `num_draws` draws.

    Probabilities are divided by their sum. Draws that are missing from `observed` fell outside all cells: p = 0.
    """
    counts, expected = _pooled(observed.astype(float), expected_counts(probabilities, num_draws))
    own = expected > 0
    cells = own.sum(-1)
    inverse = np.divide(num_draws, expected, out=np.zeros_like(expected), where=own).sum(-1)
    freedom = np.maximum(cells - 1, 1)
    g = 2 * (xlogy(counts, counts) - xlogy(counts, np.where(own, expected, 1))).sum(-1)
    g = np.maximum(g, 0)  # rounding takes it below where all counts are as expected
    p_values = np.where(cells > 1, chdtrc(freedom, g / (1 + (inverse - 1) / (6 * num_draws * freedom))), 1)
    first = np.arange(len(own)), own.argmax(-1)
    p_values = np.where(cells == 2, _binomial_p_values(counts[first], expected[first] / num_draws, num_draws), p_values)
    return np.where(_impossible(observed, probabilities, num_draws), 0, p_values)


def _binomial_p_values(counts: np.ndarray, probabilities: np.ndarray, num_draws: int) -> np.ndarray:
    """Twice the smaller tail of the binomial distribution, and 1 at most."""
    tails = bdtr(counts, num_draws, probabilities), bdtrc(counts - 1, num_draws, probabilities)
    return np.minimum(2 * np.minimum(*tails), 1)


def expected_counts(probabilities: Float[np.ndarray, "rows cells"], num_draws: int) -> Float[np.ndarray, "rows cells"]:
    """The expected counts n p: p is scaled to sum to one, and negative entries count as zero."""
    positive = np.maximum(probabilities.astype(float), 0)
    return num_draws * positive / np.maximum(positive.sum(-1, keepdims=True), np.finfo(float).tiny)


def worst_cells(
    observed: Int[np.ndarray, "rows cells"], expected: Float[np.ndarray, "rows cells"]
) -> Int[np.ndarray, " rows"]:
    """In every row the cell whose count is the most standard deviations from what is expected."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(np.abs(observed - expected) / np.sqrt(expected), posinf=np.inf).argmax(-1)


def _impossible(observed: np.ndarray, probabilities: np.ndarray, num_draws: int) -> np.ndarray:
    """Whether a draw fell where the probability is zero or outside all cells, or a probability is not finite."""
    impossible = ((observed > 0) & ~(probabilities > 0)).any(-1) | (observed.sum(-1) != num_draws)
    return impossible | ~np.isfinite(probabilities).all(-1)


def _pooled(observed: np.ndarray, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts and expectations, with cells that expect too few joined to a last cell, or to the least of the others."""
    small = expected < MIN_EXPECTED
    pools = [np.where(small, x, 0).sum(-1) for x in (observed, expected)]
    least = np.where(small, np.inf, expected).argmin(-1)
    target = np.where((pools[1] < MIN_EXPECTED) & ~small.all(-1), least, expected.shape[-1])
    rows = np.arange(len(expected))
    pooled = []
    for x, pool in zip((observed, expected), pools, strict=True):
        cells = np.concatenate([np.where(small, 0, x), np.zeros((len(x), 1))], axis=-1)
        cells[rows, target] += pool
        pooled.append(cells)
    return pooled[0], pooled[1]
