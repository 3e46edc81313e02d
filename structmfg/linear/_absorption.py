"""What happens until a chain reaches some states for the first time: hitting times, total rewards, absorption.

With D the moves among the other states and r the rewards there, the total until then solves (I - D) x = r. Elimination
without subtraction gives every digit of it for r >= 0, also where times are astronomically long (see `_elimination`);
where it would take too long, sparse LU does, with a bound from a guess h of the hitting times: (I - D) h >= c > 0
proves that |x - x~| <= ||r - (I - D) x~|| max h / c.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
from jaxtyping import Array, ArrayLike, Bool, Float

from structmfg._checks import check_kind, check_reals, check_shape, check_whole
from structmfg.linear._classes import closed_classes
from structmfg.linear._elimination import UNDERFLOW, UNIT, affordable, banded_order, eliminate, factorise
from structmfg.linear._solution import LinearSolution, as_matrix, certified, dtype_of, is_traced
from structmfg.operators import TransitionOperator

States = ArrayLike | Sequence[int]


def hitting_times(operator: TransitionOperator, targets: States, *, tolerance: float | None = None) -> LinearSolution:
    """Return the expected number of steps until the chain is in one of the targets, h (S,).

    Times are zero in the targets, and infinite in states from which they are missed with positive probability.

    Args:
        operator: A, of concrete values; its diagonal is what the other probabilities of a row lack to one.
        targets: The states, as a list of indices or as booleans (S,); at least one.
        tolerance: The largest relative error allowed. By default 1e-6 in double precision and 1e-3 in single.

    Returns:
        `value` h; `result`: `converged` if `stats["relative_bound"]`, on the relative error of every entry that is not
        infinite because targets are missed, is within the tolerance; else `precision`, or `nonfinite` where a time is
        beyond the largest number.

    Raises:
        ValueError: Targets are not states, or values are traced, inside jit.
    """
    return total_rewards(operator, np.ones(operator.num_states), targets, tolerance=tolerance)


def total_rewards(
    operator: TransitionOperator,
    rewards: Float[Array | np.ndarray, " states"],
    targets: States,
    *,
    tolerance: float | None = None,
) -> LinearSolution:
    """Return the expected sum of rewards, x (S,), without discounting, until the chain is in a target.

    x(s) = r(s) + sum_s' A(s, s') x(s') outside the targets and zero in them: the resolvent at discount 1. It is NaN in
    states from which the targets are missed with positive probability, where it need not exist, or infinite if the
    rewards are all positive.

    Args:
        operator: See `hitting_times`.
        rewards: r (S,), collected in each step; those of targets do not count.
        targets: See `hitting_times`.
        tolerance: See `hitting_times`; relative to the total of |r|.

    Returns:
        As `hitting_times`; `relative_bound` is on the error relative to the total of |r|.

    Raises:
        ValueError: As `hitting_times`, or where a reward is not finite.
    """
    moves = _known_matrix(operator, (targets, rewards))
    check_shape("rewards", rewards, (operator.num_states,))
    check_reals("rewards", rewards)
    reward, goal = np.asarray(rewards, np.float64), _as_mask(targets, operator.num_states)
    if not (finite := np.isfinite(reward)).all():
        raise ValueError(f"rewards must be finite, but that of state {finite.argmin()} is {reward[finite.argmin()]:g}")
    missed = _may_miss(moves, goal)
    solved = _totals(
        moves, ~goal & ~missed, np.stack([np.maximum(reward, 0), np.maximum(-reward, 0)], 1), _known(operator)
    )
    exact = solved.totals[:, 0] - solved.totals[:, 1]
    exact[missed] = np.inf if (reward > 0).all() else np.nan
    size = solved.totals.sum(1)
    error = np.inf if ((size > 0) & (size < UNDERFLOW)).any() else solved.error
    with np.errstate(over="ignore"):  # in single precision; the status reports it
        value = jnp.asarray(exact, float)
    reached = ~missed & (size > 0) & np.isfinite(exact)
    moved = np.abs(np.asarray(value, np.float64)[reached] - exact[reached]) / size[reached]
    bound = error + float(moved.max(initial=0.0))
    return certified(value, bound, np.isfinite(value)[~missed].all(), {"relative_bound": bound}, tolerance=tolerance)


def absorption(operator: TransitionOperator, *, tolerance: float | None = None) -> LinearSolution:
    """Return the probability of ending in each closed class, (S, classes), from every state.

    Classes are in the order of their first states; `stats["classes"]` (S,) numbers the class of each state, -1 for
    transient ones. For absorbing states every class is one of them.

    Args:
        operator: See `hitting_times`.
        tolerance: The largest error of a probability allowed. Default: as in `hitting_times`.

    Returns:
        `value` (S, classes); `result`: `converged` if `stats["bound"]`, on that error, is within the tolerance.
    """
    moves = _known_matrix(operator, None)
    classes = closed_classes(moves)
    label = np.full(operator.num_states, -1)
    for number, states in enumerate(classes):
        label[states] = number
    solved = absorption_probabilities(moves, classes, _known(operator))
    value = jnp.asarray(solved.totals, float)
    bound = solved.error + float(np.abs(np.asarray(value, np.float64) - solved.totals).max(initial=0.0))
    stats = {"bound": bound, "classes": label}
    return certified(value, bound, np.isfinite(value).all(), stats, tolerance=tolerance)


def absorption_probabilities(moves: scipy.sparse.csr_array, classes: list[np.ndarray], known: float) -> "Totals":
    """The probabilities (S, classes) of `absorption`; `known` is the relative error of the probabilities of moves."""
    member = np.zeros((moves.shape[0], len(classes)))
    for number, states in enumerate(classes):
        member[states, number] = 1
    transient = np.asarray(member.sum(axis=1) == 0)
    solved = _totals(moves, transient, moves @ member, known)
    return Totals(np.where(transient[:, None], solved.totals, member), solved.error)


def _known(operator: TransitionOperator) -> float:
    """The relative error of the operator's numbers."""
    return float(jnp.finfo(dtype_of(operator)).eps)


class Totals(NamedTuple):
    """Totals (S, m), zero outside the states of interest, and a bound on their relative error."""

    totals: Float[np.ndarray, "states columns"]
    error: float


def _known_matrix(operator: TransitionOperator, arguments: Any) -> scipy.sparse.csr_array:
    """The matrix of an operator, or `ValueError` where its values or those of the arguments are not concrete."""
    check_kind("operator", operator, TransitionOperator)
    if is_traced((operator, arguments)):
        raise ValueError("hitting times, totals and absorption need concrete values: call them outside jit and grad")
    moves = as_matrix(operator)
    if not np.isfinite(moves.data).all() or (moves.data < 0).any():
        raise ValueError("transition probabilities must be finite and nonnegative, but some are not; see A.validate()")
    return moves


def _as_mask(targets: States, size: int) -> Bool[np.ndarray, " states"]:
    """The targets as booleans."""
    given = np.atleast_1d(np.asarray(targets))
    if given.dtype == bool:
        check_shape("targets", given, (size,))
        goal = given
    else:
        if given.size:
            check_whole("targets", given, 0, size - 1)
        goal = np.zeros(size, bool)
        goal[given.astype(int)] = True
    if not goal.any():
        raise ValueError("targets must name at least one state, but name none")
    return goal


def _may_miss(moves: scipy.sparse.csr_array, goal: Bool[np.ndarray, " states"]) -> Bool[np.ndarray, " states"]:
    """States that may reach others from which no target can be reached."""
    never = ~_can_reach(moves, goal, through=np.ones(len(goal), bool))
    return _can_reach(moves, never, through=~goal) & ~goal if never.any() else never


def _can_reach(
    moves: scipy.sparse.csr_array, ends: Bool[np.ndarray, " states"], through: Bool[np.ndarray, " states"]
) -> Bool[np.ndarray, " states"]:
    """States with a path to one of the ends; all other states on the path must be in `through`."""
    size = len(ends)
    backward = moves.T.tocoo()
    rows, columns = backward.coords
    kept = through[columns]  # the states that a path begins in
    start = np.flatnonzero(ends)
    edges = (np.concatenate([rows[kept], np.full(len(start), size)]), np.concatenate([columns[kept], start]))
    graph = scipy.sparse.csr_array((np.ones(len(edges[0])), edges), shape=(size + 1, size + 1))
    reached = scipy.sparse.csgraph.breadth_first_order(graph, size, return_predecessors=False)
    return np.isin(np.arange(size), reached)


def _totals(
    moves: scipy.sparse.csr_array,
    inside: Bool[np.ndarray, " states"],
    rewards: Float[np.ndarray, "states columns"],
    known: float,
) -> Totals:
    """Totals of rewards >= 0 over the steps that begin in the states `inside`, which the chain leaves for good."""
    totals = np.zeros(rewards.shape)
    states = np.flatnonzero(inside)
    if not states.size:
        return Totals(totals, 0.0)
    within = moves[states][:, states]
    within = within - scipy.sparse.diags_array(within.diagonal())
    leaving = moves[states][:, np.flatnonzero(~inside)].sum(axis=1)
    order, band = banded_order(within)
    data = 2 * known + 8 * UNIT
    if affordable(len(states), band):
        chain = eliminate(within, leaving, order, band)
        totals[states] = chain.right(rewards[states])
        error = 1.1 * (chain.error + 2 * len(states) * data) + data
        return Totals(totals, error if error < 0.1 else np.inf)
    return _by_lu(within, leaving, rewards, states, data)


def _by_lu(
    within: scipy.sparse.csr_array, leaving: np.ndarray, rewards: np.ndarray, states: np.ndarray, data: float
) -> Totals:
    """Totals by sparse LU; their error is relative to the largest total of a column."""
    totals = np.zeros(rewards.shape)
    total = within.sum(axis=1) + leaving
    solver = factorise(within, total)
    if solver is None:
        return Totals(np.full(rewards.shape, np.nan), np.inf)
    factors, hitting = solver
    reward = rewards[states]
    x = factors.solve(reward)
    outflow, inflow = total[:, None] * x, within @ x
    terms = (np.diff(within.indptr) + 4)[:, None]
    off = np.abs(reward - (outflow - inflow))
    off += (UNIT * terms + 2 * data) * (np.abs(outflow) + np.abs(inflow) + reward)
    totals[states] = np.maximum(x, 0)
    least = np.maximum(x.min(axis=0), np.finfo(float).tiny)
    return Totals(totals, float((hitting * off.max(axis=0) / least).max()))
