"""What a walk found as arrays: successors, rewards and guards of every move, with an axis for the time.

A row is a move: an action in a state under its guards. Without guards there are S*A rows, those of action a in state s
at s*A + a. With guards, a state and an action may have several rows, of which the one holds whose guards do.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from structmfg.games.imports._programs import Formula, Numbers, collapsed, formula_of, gathered
from structmfg.games.imports._walk import Move, Successor, Walk


class Tables(NamedTuple):
    """A game in arrays; T, the first axis, is 1 where all times have the same.

    Attributes:
        num_states: S, the largest number of states at one time.
        action_ids: The game's own numbers (A,) of the actions, as far as they are ever allowed.
        horizon: The number of steps.
        initial: mu_0 (S,).
        pair: s*A + a of every row (T, R).
        allowed: Whether it is a move (T, R), or an action that is not allowed.
        indices: Its successors (T, R, K).
        probabilities: Their probabilities (T, R, K).
        paid: Which of the rewards is paid on the way there (T, R, K).
        rewards: The rewards at t + 1, functions of the mean field at t + 1.
        first_paid: Which of the first rewards is paid in each state (S,) at t = 0.
        first_rewards: The rewards at t = 0.
        guards: The numbers at t of which guards are made, functions of the mean field at t; None without guards.
        guard: Which of them are the guards (T, R, G) of every row.
        result: What the guards must be (T, R, G); NaN for a place that is not used.
    """

    num_states: int
    action_ids: tuple[int, ...]
    horizon: int
    initial: Float[np.ndarray, " states"]
    pair: Int[np.ndarray, "times rows"]
    allowed: Bool[np.ndarray, "times rows"]
    indices: Int[np.ndarray, "times rows width"]
    probabilities: Float[np.ndarray, "times rows width"]
    paid: Int[np.ndarray, "times rows width"]
    rewards: Numbers
    first_paid: Int[np.ndarray, " states"]
    first_rewards: Numbers
    guards: Numbers | None
    guard: Int[np.ndarray, "times rows guards"]
    result: Float[np.ndarray, "times rows guards"]

    @property
    def num_actions(self) -> int:
        """A."""
        return len(self.action_ids)


def tables_of(walk: Walk) -> Tables:
    """The arrays of a walk."""
    horizon, sizes = len(walk.moves), [len(stage.names) for stage in walk.stages]
    states = max(2, *sizes)
    used = sorted({move.action for moves in walk.moves for move in moves if move.successors})
    rows = [_rows(walk, time, states, used) for time in range(horizon)]
    count = max(map(len, rows))
    width = max(len(row.successors) for each in rows for row in each)
    guards_width = max(len(row.guards) for each in rows for row in each)
    pair, allowed = np.zeros((horizon, count), np.int32), np.zeros((horizon, count), bool)
    indices, paid = (np.zeros((horizon, count, width), np.int32) for _ in range(2))
    probabilities = np.zeros((horizon, count, width))
    guard = np.zeros((horizon, count, guards_width), np.int32)
    result = np.full((horizon, count, guards_width), np.nan)
    rewards, where = gathered(walk.rewards[1:])
    guards, where_guards = gathered(walk.guards)
    for time, each in enumerate(rows):
        for k, row in enumerate(each):
            pair[time, k], allowed[time, k] = row.state * len(used) + row.action, row.allowed
            for j, (place, probability, reward) in enumerate(row.successors):
                indices[time, k, j], probabilities[time, k, j] = place, probability
                paid[time, k, j] = where[time][reward]
            for j, (number, value) in enumerate(row.guards):
                guard[time, k, j], result[time, k, j] = where_guards[time][number], value
        for k in range(len(each), count):  # a second row of the first pair, whose guard never holds
            probabilities[time, k, 0], result[time, k, :1] = 1.0, np.inf
    first_rewards, (where_first,) = gathered(walk.rewards[:1])
    first_paid = np.zeros(states, np.int32)
    first_paid[: sizes[0]] = where_first[np.array(walk.first_rewards)]
    initial = np.zeros(states)
    initial[: sizes[0]] = walk.initial
    return Tables(
        num_states=states,
        action_ids=tuple(used),
        horizon=horizon,
        initial=initial,
        pair=collapsed(pair),
        allowed=collapsed(allowed),
        indices=collapsed(indices),
        probabilities=collapsed(probabilities),
        paid=collapsed(paid),
        rewards=rewards,
        first_paid=first_paid,
        first_rewards=first_rewards,
        guards=guards if walk.depends_on_mean_field else None,
        guard=collapsed(guard),
        result=collapsed(result),
    )


class _Row(NamedTuple):
    state: int
    action: int
    allowed: bool
    guards: tuple[tuple[int, int], ...]
    successors: tuple[Successor, ...]


def _rows(walk: Walk, time: int, states: int, used: list[int]) -> list[_Row]:
    """The rows at a time in the order of their pairs; every pair has one.

    What is no move stays where it is, and pays nothing. In a state that is none at this time any action may be taken.
    """
    none = walk.rewards[time + 1].add(_NOTHING)
    moves: dict[tuple[int, int], list[Move]] = {}
    for move in walk.moves[time]:
        moves.setdefault((move.state, move.action), []).append(move)
    rows = []
    for state in range(states):
        real = state < len(walk.stages[time].names)
        for place, action in enumerate(used):
            found = moves.get((state, action), [])
            stays = (Successor(min(state, states - 1), 1.0, none),)
            if not found:
                rows.append(_Row(state, place, not real, (), stays))
            for move in found:
                rows.append(_Row(state, place, bool(move.successors), move.guards, move.successors or stays))
    return rows


_NOTHING: Formula = formula_of(0.0, 0)
