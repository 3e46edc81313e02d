"""The same solves for matrices of SciPy in double precision, for what iterates on the host."""

from typing import NamedTuple

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jaxtyping import Float

from structmfg.linear._absorption import absorption_probabilities
from structmfg.linear._classes import class_distribution, closed_classes
from structmfg.linear._elimination import UNIT

ROUNDING = 1e-4  # a row whose sum is this near one is a distribution up to rounding


class Limit(NamedTuple):
    """The limit (S,) of Cesaro means, a bound on its error in the 1-norm, and the number of closed classes."""

    mass: Float[np.ndarray, " states"]
    bound: float
    closed_classes: int


def cesaro_limit(moves: scipy.sparse.csr_array, initial: Float[np.ndarray, " states"], known: float = UNIT) -> Limit:
    """The limit of (1/n) sum_{k<n} (A^T)^k mu_0, which exists for every chain and is a stationary distribution.

    It is the mixture of the distributions of the closed classes by the probabilities with which the chain ends in each
    (Kemeny & Snell 1960, chapter 5). A period of a class does not matter.

    Args:
        moves: A (S, S).
        initial: mu_0 (S,), a distribution.
        known: The relative error of each probability.

    Returns:
        The limit.
    """
    classes = closed_classes(moves)
    if len(classes) == 1:
        weights, bound = np.ones(1), 0.0
    else:
        ends = absorption_probabilities(moves, classes, known)
        weights, bound = initial @ ends.totals, ends.error
        weights = weights / weights.sum()
    mass = np.zeros(moves.shape[0])
    for states, weight in zip(classes, weights, strict=True):
        if weight > 0:
            distribution = class_distribution(moves[states][:, states], known)
            mass[states] = weight * distribution.mass
            bound += float(weight) * distribution.bound
    return Limit(mass, bound, len(classes))


def solve_resolvent(
    moves: scipy.sparse.csr_array,
    rewards: Float[np.ndarray, " states"],
    discount: float,
    *,
    transpose: bool = False,
) -> Float[np.ndarray, " states"]:
    """The solution of (I - gamma A) x = r, or of that with A^T, by sparse LU.

    What the entries of a row lack to one, up to rounding, is on its diagonal.

    Args:
        moves: A (S, S).
        rewards: r (S,).
        discount: gamma in [0, 1).
        transpose: Whether to solve with A^T.

    Returns:
        x (S,).
    """
    staying, near = moves.diagonal(), np.abs(moves.sum(axis=1) - 1) <= ROUNDING
    moves = moves - scipy.sparse.diags_array(staying)
    leaving = moves.sum(axis=1)
    diagonal = np.where(near, 1 - discount + discount * leaving, 1 - discount * staying)
    moved = moves.T if transpose else moves
    matrix = scipy.sparse.diags_array(diagonal) - discount * moved
    return scipy.sparse.linalg.splu(matrix.tocsc()).solve(np.asarray(rewards, np.float64))
