"""Newton's method for a stationary equilibrium, as a complementarity problem, along its central path.

With the occupancy x(s, a) = mu(s) pi(a | s) an equilibrium is a solution of

    sum_a x(s', a) = sum_{s, a} x(s, a) P(s' | s, a; mu),      sum x = 1,
    w(s, a) = V(s) - r(s, a; mu) - gamma sum_s' P(s' | s, a; mu) V(s'),
    x >= 0,   w >= 0,   x w = 0,

with mu = sum_a x(., a) (the conditions of MF-OMO: Guo, Hu & Zhang 2024, doi:10.1137/22M1524084). The primal-dual
interior-point method makes Newton steps for x w = tau with tau falling to zero, short of the boundary (Kojima, Megiddo,
Noma & Yoshise 1991, doi:10.1007/3-540-54509-3). In monotone games every point of the path is unique. x and w are
eliminated, so that a step solves 2 S linear equations in mu and V.
"""

import numpy as np
from jaxtyping import Float

from structmfg.evaluation import StationaryProblem

_TO_BOUNDARY = 0.995  # the share of the way to the boundary that a step may go
_CENTRING = 0.1  # the factor by which a full step lowers tau
_SMALLEST = 1e-15  # relative to the scale of action values: tau at which the path ends
_PATIENCE = 6  # steps without a better point, after which it ends


def follow_central_path(
    problem: StationaryProblem,
    occupancy: Float[np.ndarray, "states actions"],
    *,
    max_steps: int,
) -> Float[np.ndarray, "states actions"]:
    """The occupancy (S, A) at the end of the central path, or the best one where no more progress was made.

    Args:
        problem: The game.
        occupancy: A distribution (S, A) with positive entries, the start.
        max_steps: The most Newton steps.
    """
    x, discount = occupancy / occupancy.sum(), problem.game.discount
    states, actions = x.shape
    mean_field = x.sum(axis=1)
    q = problem.respond(mean_field).action_values
    values = q.max(axis=1)
    sensitivity = problem.linearised(mean_field, values, x).values_in_mean_field
    scale = float(np.ptp(q) + np.abs(sensitivity).max()) or 1.0
    w = values[:, None] - q + 0.1 * scale
    best, error, since = x, np.inf, 0
    gather = np.repeat(np.eye(states), actions, axis=0)  # (S*A, S): the state of a row
    for _ in range(max_steps):
        mean_field = x.sum(axis=1)
        at = problem.linearised(mean_field, values, x)
        moves = problem.tables(mean_field)[0].toarray()
        off_values = (values[:, None] - at.action_values - w).ravel()
        off_mass = mean_field - at.pushed
        gap = float(np.mean(x * w))
        now = gap + scale * float(np.abs(off_mass).mean()) + float(np.mean(x.ravel() * np.abs(off_values)))
        best, error, since = (x, now, 0) if now < error else (best, error, since + 1)
        if gap <= _SMALLEST * scale or since > _PATIENCE:
            break
        in_values = gather - discount * moves  # of w, in V
        in_mean_field = at.values_in_mean_field.reshape(-1, states)  # of -w, in mu
        stiffness = (x / w).ravel()
        base = (_CENTRING * gap / w - x).ravel() - stiffness * off_values
        to_values = -stiffness[:, None] * in_values
        to_mean_field = stiffness[:, None] * in_mean_field
        balance = gather - moves + 1 / states  # the last term: sum x = 1
        try:
            change = np.linalg.solve(
                np.block([
                    [gather.T @ to_mean_field - np.eye(states), gather.T @ to_values],
                    [balance.T @ to_mean_field - at.push_in_mean_field, balance.T @ to_values],
                ]),
                np.concatenate([-gather.T @ base, -off_mass - (x.sum() - 1) / states - balance.T @ base]),
            )  # fmt: skip
        except np.linalg.LinAlgError:
            break
        dx = (base + to_mean_field @ change[:states] + to_values @ change[states:]).reshape(x.shape)
        dw = (off_values + in_values @ change[states:] - in_mean_field @ change[:states]).reshape(x.shape)
        if not (np.isfinite(dx).all() and np.isfinite(dw).all()):
            break
        length = min(1.0, _TO_BOUNDARY * min(_room(x, dx), _room(w, dw)))
        x, w, values = x + length * dx, w + length * dw, values + length * change[states:]
    return best / best.sum()


def _room(point: np.ndarray, change: np.ndarray) -> float:
    """How often the change may be added before an entry is zero."""
    falling = change < 0
    return float(np.min(-point[falling] / change[falling], initial=np.inf))
