"""The best of all deterministic policies of one agent, by enumeration, against a population that it does not move.

Plain NumPy with loops. Models as in `_numpy_games`, with two states and two actions; noise is (N, T+1).
"""

import itertools
from typing import NamedTuple

import numpy as np
from _numpy_games import rollout

STATES, ACTIONS = range(2), range(2)


class Path(NamedTuple):
    """Kernels (T, S, A, S), rewards (T, S, A) and public observations along one noise path."""

    dense: np.ndarray
    rewards: np.ndarray
    observed: list[tuple[float, ...]]


def follow(model, table, noise):
    """A population that plays a table (T, S, A) along a noise path."""
    path = rollout(model, table, noise)
    times = range(model.horizon)
    dense = np.array([model.dense(path.mean_fields[t], noise[t], t) for t in times])
    observed = [() if t in model.game.veiled else tuple(np.round(path.observations[t], 9).tolist()) for t in times]
    return Path(dense, path.rewards, observed)


def values_of(model, path, choose):
    """Values (..., S) at t = 0 of choose(t, s), the index (...) of the action, or its probabilities (A,)."""
    values = np.zeros(2)
    for t in reversed(range(model.horizon)):
        q = path.rewards[t] + model.discount * np.einsum("sau,...u->...sa", path.dense[t], values)
        chosen = [choose(t, s) for s in STATES]
        if np.ndim(chosen[0]) == 1 and np.asarray(chosen[0]).dtype == float:
            values = np.stack([q[..., s, :] @ chosen[s] for s in STATES], axis=-1)
        else:
            q = np.broadcast_to(q, (len(chosen[0]), 2, 2))
            values = np.stack([q[np.arange(len(q)), s, chosen[s]] for s in STATES], axis=-1)
    return values


def best(model, paths, weights, information, root):
    """Values (N, S) at t = 0, given root[i], of the best of all maps (s, information[i][t]) -> action, for every s."""
    places = sorted({(s, information[i][t]) for i in range(len(paths)) for t in range(model.horizon) for s in STATES})
    plans = np.array(list(itertools.product(ACTIONS, repeat=len(places))))
    column = {place: plans[:, k] for k, place in enumerate(places)}
    values = np.array(
        [values_of(model, path, lambda t, s, i=i: column[s, information[i][t]]) for i, path in enumerate(paths)]
    )  # (N, plans, S)
    found = np.zeros((len(paths), 2))
    for i, s in np.ndindex(*found.shape):
        known = [information[j][0] == information[i][0] for j in range(len(paths))]
        plan = np.argmax((weights * known) @ values[:, :, s])
        same = weights * (np.asarray(root) == root[i])
        found[i, s] = same @ values[:, plan, s] / same.sum()
    return found


def information_of(kind, paths, noise):
    """What is known at every time on every path, and at t = 0 of its noise."""
    horizon = noise.shape[1] - 1
    if kind == "clairvoyant":
        return [[(t, i) for t in range(horizon)] for i in range(len(paths))], list(range(len(paths)))
    histories = [path.observed for path in paths] if kind == "public" else noise.tolist()
    return [[tuple(history[: t + 1]) for t in range(horizon)] for history in histories], noise[:, 0]
