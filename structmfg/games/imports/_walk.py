"""The states, moves and rewards of a mean field game of OpenSpiel's, found by walking through its nodes.

The individual states at a time are the nodes at which the population is about to move, told apart by their names. From
one of them the population moves, the agent decides, and chance moves, up to the next node of that kind, or the end. So
one step of the walk is one step of the game: the nodes of one time are listed with all that may follow.

A reward is paid where it arises, on the way from a state by an action to the next state. One node of each name stands
for the moves of all nodes of that name. `_against_source` looks at some of the others.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from structmfg.games.imports._against_source import Found, check_fixed, check_moves, check_rewards, check_twins
from structmfg.games.imports._nodes import GameError, Outcome, Shared, asked, in_order, kind_of, name_of, outcomes
from structmfg.games.imports._programs import Formula, Formulas, value_of
from structmfg.games.imports._readers import Probing, Reader, Stage, Tracing
from structmfg.games.imports._trace import NeedsFloatError, UntraceableError

_SPARED = 3_000  # successors at one time from which on not every one of them is made
_COMPARED = 100  # of those that are not made, so many are, to see whether they are like the others of their kind


class Successor(NamedTuple):
    """A state to which a move may lead: its place, the probability, and the number of the reward on the way."""

    place: int
    probability: float
    reward: int


class Move(NamedTuple):
    """What an action does in a state where all guards hold: numbers of formulas with their values.

    Without successors the action is not allowed there.
    """

    state: int
    action: int
    guards: tuple[tuple[int, int], ...]
    successors: tuple[Successor, ...]


class Walk(NamedTuple):
    """All that was found, by time.

    Attributes:
        stages: The nodes (T + 1).
        initial: The mean field at t = 0.
        moves: All moves (T).
        guards: The formulas (T) of which guards are made, of the mean field at t.
        rewards: The formulas (T + 1) of rewards, of the mean field at the time at which they are paid.
        first_rewards: The number of the reward of every state at t = 0.
        game: The other library's game, where it is known.
    """

    stages: list[Stage]
    initial: np.ndarray
    moves: list[list[Move]]
    guards: list[Formulas]
    rewards: list[Formulas]
    first_rewards: list[int]
    game: Any = None

    @property
    def depends_on_mean_field(self) -> bool:
        """Whether moves depend on the mean field."""
        return any(move.guards for moves in self.moves for move in moves)

    @property
    def rewards_follow_from_names(self) -> bool:
        """Whether nodes of one name pay one reward, however they are reached."""
        for moves in self.moves:
            by_place: dict[int, int] = {}
            for place, _, reward in (successor for move in moves for successor in move.successors):
                if by_place.setdefault(place, reward) != reward:
                    return False
        return True


def walk(root: Any, *, max_states: int, stands_for: dict[str, Any]) -> Walk:
    """Walk through a game.

    Args:
        root: Its root node.
        max_states: How many states there may be at one time.
        stands_for: Nodes that take the place of all nodes of their names.

    Raises:
        ValueError: The game has another structure, or too many states.
        UntraceableError: Its moves or rewards depend on the mean field in a way that no formula was found for, or are
            not finite.
        GameError: Its own code fails.
    """
    try:
        return _walk(root, Tracing(), max_states, stands_for)
    except (NeedsFloatError, GameError):  # some code that was not met at first takes floats alone
        return _walk(root, Probing(), max_states, stands_for)


def _walk(root: Any, reader: Reader, max_states: int, stands_for: dict[str, Any]) -> Walk:
    """Walk through a game with a reader, from the time on at which its code takes floats alone by probing."""
    start = outcomes(root, stands_for)
    probabilities: dict[str, float] = {}
    for outcome in start:
        probabilities[outcome.name] = probabilities.get(outcome.name, 0.0) + outcome.probability
    stage = _stage(0, start, max_states)
    if stage.kind == "mean field" and isinstance(reader, Tracing) and not _takes_traced(reader, stage):
        reader = Probing()
    reader.begin(stage)
    rewards = [Formulas()]
    first = [_added(reader, node, stage, rewards[0]) for node in stage.nodes]
    check_rewards(reader, stage, stage.nodes)
    stages, moves, guards = [stage], [], []
    while not _has_ended(reader, stage):
        formulas = Formulas()
        found = _all_moves(reader, stage, formulas, stands_for)
        following = _stage(stage.time + 1, [o for move in found for o in move.outcomes], max_states)
        check_moves(reader, stage, found, formulas, stands_for)
        if following.kind == "mean field" and isinstance(reader, Tracing) and not _takes_traced(reader, following):
            reader = Probing()
        guards.append(formulas)
        reader.begin(following)
        rewards.append(Formulas())
        moves.append(_with_rewards(reader, following, found, rewards[-1]))
        if not _has_ended(reader, following):
            check_twins(reader, following, found, stands_for)
        stages.append(following)
        stage = following
    if len(stages) == 1:
        raise ValueError("the game ends before a decision: there is nothing to solve")
    initial = np.array([probabilities[name] for name in stages[0].names])
    return Walk(stages, initial / initial.sum(), moves, guards, rewards, first)


def _has_ended(reader: Reader, stage: Stage) -> bool:
    """Whether the game is over when the population has moved."""
    after = [reader.first_branch(functools.partial(reader.after, node, stage)) for node in stage.nodes]
    ended = [kind_of(node) == "terminal" for node in after]
    if any(ended) and not all(ended):
        one, other = (stage.names[ended.index(flag)] for flag in (True, False))
        raise ValueError(
            f"the game ends at {one!r:.80} but goes on at {other!r:.80}, at time {stage.time}: only games whose agents "
            "all reach the end at the same time can be imported"
        )
    return all(ended)


def _added(reader: Reader, node: Any, stage: Stage, formulas: Formulas) -> int:
    """The number of the reward at a node among the formulas of a time.

    Raises:
        UntraceableError: It is not finite where there are agents in every state.
    """
    count, number = len(formulas.numbers), formulas.add(formula := reader.arrival(node, stage))
    if number == count:
        with np.errstate(all="ignore"):
            value = float(value_of(formula, np.full(len(stage.names), 1 / len(stage.names))))
        if not np.isfinite(value):
            raise UntraceableError(
                f"the reward is not finite at node {name_of(node)!r:.120}, but {value} under the uniform mean field"
            )
    return number


def _stage(time: int, found: list[Outcome], max_states: int) -> Stage:
    first: dict[str, Outcome] = {}
    for outcome in found:
        first.setdefault(outcome.name, outcome)
    if not first:
        raise UntraceableError(f"it has no state at time {time}: no action is legal, or chance leads nowhere")
    if len(first) > max_states:
        raise ValueError(
            f"the game has {len(first)} states at time {time}, of at most max_states = {max_states}: make it smaller, "
            "or say a larger max_states"
        )
    names = in_order(first)
    return Stage(time, names, [first[name].node for name in names])


def _takes_traced(reader: Tracing, stage: Stage) -> bool:
    """Whether the nodes of a stage compute with traced numbers."""
    reader.begin(stage)
    try:
        for node in stage.nodes[:3]:
            reader.arrival(node, stage)
    except (UntraceableError, GameError, TypeError, AttributeError):
        return False
    return True


def _all_moves(reader: Reader, stage: Stage, formulas: Formulas, stands_for: dict[str, Any]) -> list[Found]:
    """All moves at a time. Where there are very many, chance nodes of one name share what follows them."""
    first = list(_moves(reader, stage, 0, formulas, stands_for, None))
    count = len(stage.names) * sum(len(move.outcomes) for move in first)
    ways: list[Shared | None] = [{}, None] if count > _SPARED and not stands_for else [None]
    for shared in ways:
        later = [
            move
            for state in range(1, len(stage.names))
            for move in _moves(reader, stage, state, formulas, stands_for, shared)
        ]
        if shared is None or _names_hold(later, stage.time):
            break
    return first + later


def _names_hold(found: list[Found], time: int) -> bool:
    """Whether some nodes that were not made yet have the names that they were said to have."""
    listed = [outcome for move in found for outcome in move.outcomes]
    some = np.random.default_rng(time).permutation(len(listed))[:_COMPARED]
    return all(name_of(listed[k].node) == listed[k].name for k in some)


def _moves(
    reader: Reader, stage: Stage, state: int, formulas: Formulas, stands_for: dict[str, Any], shared: Shared | None
) -> Iterator[Found]:
    """All moves from a state."""
    node = stage.nodes[state]

    def numbered(guards: tuple[tuple[Formula, int], ...]) -> tuple[tuple[int, int], ...]:
        return tuple((formulas.add(formula), result) for formula, result in guards)

    def legal() -> list[int]:
        return [int(action) for action in asked(reader.after(node, stage), "legal_actions")]

    branches = reader.branches(stage, legal)
    if isinstance(reader, Probing):
        check_fixed(stage, node, stands_for)
    for action in sorted({action for _, actions in branches for action in actions}):

        def run(action: int = action) -> list[Outcome]:
            new = reader.after(node, stage)
            return (
                outcomes(asked(new, "child", action), stands_for, shared)
                if action in asked(new, "legal_actions")
                else []
            )

        for guards, found in reader.branches(stage, run):
            yield Found(state, action, numbered(guards), found)


def _with_rewards(reader: Reader, following: Stage, found: list[Found], formulas: Formulas) -> list[Move]:
    """The moves with the rewards that are paid where they lead."""
    number = _numbers_of_rewards(reader, following, found, formulas)
    moves = []
    for move in found:
        merged: dict[tuple[int, int], float] = {}
        for outcome in move.outcomes:
            key = following.place[outcome.name], number(move.action, outcome)
            merged[key] = merged.get(key, 0.0) + outcome.probability
        total = sum(merged.values())
        successors = tuple(Successor(place, p / total, reward) for (place, reward), p in merged.items())
        moves.append(Move(move.state, move.action, move.guards, successors))
    return moves


def _numbers_of_rewards(
    reader: Reader, following: Stage, found: list[Found], formulas: Formulas
) -> Callable[[int, Outcome], int]:
    """The number of the reward by the action and the outcome to which it led.

    Where there are very many, the first reward of each name and action stands for the others, unless some of the others
    differ.
    """
    listed = [(move.action, outcome) for move in found for outcome in move.outcomes]
    random = np.random.default_rng(following.time)
    some = [listed[k] for k in random.permutation(len(listed))[:_COMPARED]]

    def read(action: int, outcome: Outcome) -> int:
        return _added(reader, outcome.node, following, formulas)

    check_rewards(reader, following, [outcome.node for _, outcome in some])
    if len(listed) <= _SPARED:
        return read
    known: dict[tuple[int, str], int] = {}
    for action, outcome in listed:
        if (action, outcome.name) not in known:
            known[action, outcome.name] = read(action, outcome)
    if any(read(action, outcome) != known[action, outcome.name] for action, outcome in some):
        return read
    return lambda action, outcome: known[action, outcome.name]
