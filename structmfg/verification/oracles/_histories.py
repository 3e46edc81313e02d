"""Individual histories, enumerated: there are exponentially many, and policies pi(a | s_t, o_{0:t}) do not need them.

A history is h_t = (s_0, a_0, s_1, ..., s_t), what an agent knows of its own past. The reduction (Assumption 2 of
Wibault et al. 2026, arXiv 2602.20141) drops all of it but s_t. The mean field over histories has the reduced one for
a marginal where the population plays a reduced policy; and what a single agent loses by the reduction is measured here.

With the population's path given for every noise path i, an agent who knows h_t and what is public weighs the paths by

    w_i = p_i mu_0^i(s_0) prod_k P_k^i(s_{k+1} | s_k, a_k)

over the paths that agree with what is public: an unnormalised belief, linear in each step, on which the best response
is exact dynamic programming over a tree of histories. Within the reduced class the return is multilinear in the
decision rules, so some deterministic policy is best among all; they are tried one by one.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from structmfg.verification.oracles._faced_population import FacedPopulation, action_values
from structmfg.verification.oracles._model import Array, Model

MAX_HISTORIES = 2 * 10**6
MAX_PLANS = 5 * 10**5


class TooLargeError(ValueError):
    """The error where there is too much to enumerate."""


HistoryPolicy: TypeAlias = Callable[[int, Array], Array]


class Histories(NamedTuple):
    """The mean field over individual histories along one noise path.

    `histories` (H, 2T+1), rows s_0, a_0, s_1, ..., s_T, with their `mass` (H,); `mean_fields` (T+1, S), its marginals
    over the present state at every time; `total`, the mean over histories of the discounted sum of their rewards.
    """

    histories: Array
    mass: Array
    mean_fields: Array
    total: float


def follow_histories(model: Model, policy: Any, noise: Any) -> Histories:
    """The mean field over all histories h_0..h_T along z_0..z_T; kernels and rewards see its marginal over states.

    `policy` is a table (T, S, A), or a function of the time and histories (H, 2t+1) that returns probabilities (H, A).
    Raises `TooLargeError` where there are too many histories.
    """
    table = None if callable(policy) else np.asarray(policy)
    start = np.asarray(model.start(noise[0]), float)
    histories, mass, reward = np.arange(len(start))[:, None], start, np.zeros(len(start))
    mean_fields = [start]
    for t in range(model.horizon):
        mu, state = mean_fields[t], histories[:, -1]
        dense = np.asarray(model.dense(mu, noise[t], t))
        probabilities = policy(t, histories) if table is None else table[t, state]
        _check_count(len(histories) * dense[0].size, MAX_HISTORIES, "histories")
        moved = mass[:, None, None] * np.asarray(probabilities)[:, :, None] * dense[state]
        parent, action, target = np.nonzero(moved)
        mass = moved[parent, action, target]
        mean_fields.append(np.bincount(target, mass, minlength=len(start)))
        rewards = np.asarray(model.reward(mu, noise[t], t, mean_fields[-1], noise[t + 1]))[state[parent], action]
        reward = reward[parent] + model.discount**t * rewards
        histories = np.column_stack([histories[parent], action, target])
    return Histories(histories, mass, np.array(mean_fields), float(mass @ reward))


class PrivateHistory(NamedTuple):
    """The value of an agent's own past to its best response.

    Attributes:
        histories: The number of pairs of an individual and a public history, at each of which the agent decides.
        situations: The number of pairs of an individual state and a public history, at which a reduced policy decides.
        with_history: The value of the best response pi(a | h_t, what is known).
        without_history: The value of the best response pi(a | s_t, what is known).
    """

    histories: int
    situations: int
    with_history: float
    without_history: float

    @property
    def loss(self) -> float:
        """What the reduction loses, `with_history` - `without_history` >= 0."""
        return self.with_history - self.without_history


def private_history(faced: FacedPopulation) -> PrivateHistory:
    """Best responses with the whole individual history and with the individual state alone.

    Raises `TooLargeError` where there are too many histories, or policies, to enumerate.
    """
    value, count = best_with_history(faced)
    without = float(best_without_history(faced).sum())
    situations = faced.start.shape[1] * sum(len(np.unique(level)) for level in faced.known.T)
    return PrivateHistory(count, situations, value, without)


def best_with_history(faced: FacedPopulation) -> tuple[float, int]:
    """The value of the best response pi(a | h_t, what is known), and the number of histories at which it decides."""
    splits = [faced.known[:, t] == np.unique(faced.known[:, t])[:, None] for t in range(faced.horizon)]
    splits.append(np.ones((1, len(faced.start)), bool))
    first = splits[0][:, None] * (faced.probabilities * faced.start.T)  # (classes, S, N)
    known, state = np.nonzero(first.any(-1))
    belief, levels, count = first[known, state], [], 0
    for t in range(faced.horizon):
        count += len(state)
        _, _, size, actions, _ = faced.kernels.shape
        _check_count(count + len(state) * size * actions * len(splits[t + 1]), MAX_HISTORIES, "histories")
        rewards = np.einsum("hn,nha->ha", belief, faced.rewards[:, t, state])
        moved = np.einsum("hn,nhau->haun", belief, faced.kernels[:, t, state])
        split = moved[:, :, :, None] * splits[t + 1]  # (H, A, S, classes, N)
        parent, action, target, _ = places = np.nonzero(split.any(-1))
        levels.append((rewards, parent, action))
        belief, state = split[places], target
    values = np.zeros(len(state))
    for rewards, parent, action in reversed(levels):
        q = rewards.copy()
        np.add.at(q, (parent, action), faced.discount * values)
        values = q.max(-1)
    return float(values.sum()), count


def best_without_history(faced: FacedPopulation) -> Array:
    """The best response pi(a | s_t, what is known): how much every path (N,) adds to its value.

    Where a set of indistinguishable paths will split into single ones, or end, the best action in every state follows
    from where the agent is likely to be; before that, all decision rules are tried.
    """
    count, size = faced.start.shape
    known_path = np.zeros((faced.horizon + 1, count, size))  # values where the path is known
    for t in reversed(range(faced.horizon)):
        known_path[t] = action_values(faced, t, known_path[t + 1]).max(-1)
    agent = (faced.probabilities[:, None] * faced.start)[None]
    values = np.zeros(count)
    for paths in _classes(faced, 0, np.arange(count)):
        values[paths] = _best(faced, known_path, 0, paths, agent[:, paths])[0]
    return values


def _classes(faced: FacedPopulation, t: int, paths: Array) -> list[Array]:
    """The sets into which paths fall by what is known at t; at the end every path is by itself."""
    if t == faced.horizon:
        return [paths[i : i + 1] for i in range(len(paths))]
    return [paths[faced.known[paths, t] == known] for known in np.unique(faced.known[paths, t])]


def _best(faced: FacedPopulation, known_path: Array, t: int, paths: Array, agents: Array) -> Array:
    """What every path adds (B, n) under the best policy from t, for agents (B, n, S): where they are, with weights."""
    if len(paths) == 1:
        return np.einsum("bns,ns->bn", agents, known_path[t, paths])
    children = _classes(faced, t + 1, paths)
    if all(len(child) == 1 for child in children):
        q = action_values(faced, t, known_path[t + 1])[paths]
        best = np.argmax(np.einsum("bns,nsa->bsa", agents, q), axis=-1)
        chosen = np.take_along_axis(q[None], best[:, None, :, None], axis=-1)[..., 0]
        return np.einsum("bns,bns->bn", agents, chosen)
    size, actions = faced.rewards.shape[2:]
    _check_count(len(agents) * actions**size, MAX_PLANS, "policies")
    plans = np.array(list(itertools.product(range(actions), repeat=size)))  # (R, S), all decision rules
    rewards = faced.rewards[paths, t][:, np.arange(size), plans]
    kernels = faced.kernels[paths, t][:, np.arange(size), plans]
    adds = np.einsum("bns,nrs->brn", agents, rewards)
    moved = np.einsum("bns,nrsu->brnu", agents, kernels).reshape(-1, len(paths), size)
    for child in children:
        own = np.isin(paths, child)
        later = _best(faced, known_path, t + 1, child, moved[:, own])
        adds[:, :, own] += faced.discount * later.reshape(*adds.shape[:2], -1)
    best = np.argmax(adds.sum(-1), axis=1)
    return adds[np.arange(len(adds)), best]


def _check_count(count: int, allowed: int, what: str) -> None:
    if count > allowed:
        raise TooLargeError(
            f"this would enumerate {count:.3g} {what}, but at most {allowed} are allowed: take fewer states, actions "
            "or steps"
        )
