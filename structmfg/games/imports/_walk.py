"""The states, moves and rewards of a mean field game of OpenSpiel's, found by walking through its nodes.

The individual states at a time are the nodes at which the population is about to move, told apart by their names. From
one of them the population moves, the agent decides, and chance moves, up to the next node of that kind, or the end. So
one step of the walk is one step of the game: the nodes of one time are listed with all that may follow.

A reward is paid where it arises, on the way from a state by an action to the next state. One node of each name stands
for the moves of all nodes of that name; the walk looks at some of the others, and refuses a game whose nodes of one
name differ in more than what was paid on the way to them.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from structmfg.games.imports._nodes import Outcome, in_order, kind_of, outcomes
from structmfg.games.imports._programs import Formula, Formulas
from structmfg.games.imports._readers import Probing, Reader, Stage, Tracing
from structmfg.games.imports._trace import UntraceableError

_SPARED = 5_000  # successors at one time from which on not every reward is read
_COMPARED = 60  # of the rewards that are not read but taken from another one of their kind, at one time
_TWINS = 8  # nodes of one name whose moves are compared, at one time


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
    """All that was found, by time t = 0..T-1, or 0..T.

    Attributes:
        stages: The nodes (T + 1).
        initial: The mean field at t = 0.
        moves: All moves (T).
        guards: The formulas (T) of which guards are made, of the mean field at t.
        rewards: The formulas (T + 1) of rewards, of the mean field at the time at which they are paid.
        first_rewards: The number of the reward of every state at t = 0.
    """

    stages: list[Stage]
    initial: np.ndarray
    moves: list[list[Move]]
    guards: list[Formulas]
    rewards: list[Formulas]
    first_rewards: list[int]

    @property
    def depends_on_mean_field(self) -> bool:
        """Whether moves depend on the mean field."""
        return any(move.guards for moves in self.moves for move in moves)


class _Found(NamedTuple):
    """A move before the rewards on it are known."""

    state: int
    action: int
    guards: tuple[tuple[int, int], ...]
    outcomes: list[Outcome]


def walk(root: Any, *, max_states: int, stands_for: dict[str, Any]) -> Walk:
    """Walk through a game.

    Args:
        root: Its root node.
        max_states: How many states there may be at one time.
        stands_for: Nodes that take the place of all nodes of their names.

    Raises:
        ValueError: The game has another structure, or too many states.
        UntraceableError: Its moves or rewards depend on the mean field in a way that no formula was found for.
    """
    start = outcomes(root, stands_for)
    probabilities: dict[str, float] = {}
    for outcome in start:
        probabilities[outcome.name] = probabilities.get(outcome.name, 0.0) + outcome.probability
    stage = _stage(0, start, max_states)
    reader = _reader(stage)
    reader.begin(stage)
    rewards = [Formulas()]
    first = [rewards[0].add(reader.arrival(node, stage)) for node in stage.nodes]
    stages, moves, guards = [stage], [], []
    while not _has_ended(reader, stage):
        formulas = Formulas()
        found = [move for state in range(len(stage.names)) for move in _moves(reader, stage, state, formulas, stands_for)]
        following = _stage(stage.time + 1, [o for move in found for o in move.outcomes], max_states)
        if following.kind == "mean field" and isinstance(reader, Tracing) and not _takes_traced(reader, following):
            reader = Probing()
        guards.append(formulas)
        reader.begin(following)
        rewards.append(Formulas())
        moves.append(_with_rewards(reader, following, found, rewards[-1]))
        _check_twins(reader, following, found, stands_for)
        stages.append(following)
        stage = following
    initial = np.array([probabilities[name] for name in stages[0].names])
    return Walk(stages, initial / initial.sum(), moves, guards, rewards, first)


def _has_ended(reader: Reader, stage: Stage) -> bool:
    """Whether the game is over when the population has moved."""
    ended = [kind_of(reader.first_branch(lambda node=node: reader.after(node, stage))) == "terminal" for node in stage.nodes]
    if any(ended) and not all(ended):
        one, other = (stage.names[ended.index(flag)] for flag in (True, False))
        raise ValueError(
            f"the game ends at {one!r:.80} but goes on at {other!r:.80}, at time {stage.time}: only games whose agents "
            "all reach the end at the same time can be imported"
        )
    if all(ended) and stage.time == 0:
        raise ValueError("the game ends before a decision: there is nothing to solve")
    return all(ended)


def _stage(time: int, found: list[Outcome], max_states: int) -> Stage:
    nodes: dict[str, Any] = {}
    for outcome in found:
        nodes.setdefault(outcome.name, outcome.node)
    if len(nodes) > max_states:
        raise ValueError(
            f"the game has {len(nodes)} states at time {time}, of at most max_states = {max_states}: make it smaller, "
            "or say a larger max_states"
        )
    if not nodes:
        raise ValueError(f"no node follows at time {time}: is this a mean field game?")
    return Stage(time, nodes, in_order(list(nodes)))


def _reader(stage: Stage) -> Reader:
    reader = Tracing()
    return reader if stage.kind != "mean field" or _takes_traced(reader, stage) else Probing()


def _takes_traced(reader: Tracing, stage: Stage) -> bool:
    """Whether the nodes of a stage compute with traced numbers."""
    reader.begin(stage)
    try:
        for node in stage.nodes[:3]:
            reader.arrival(node, stage)
    except (UntraceableError, TypeError, AttributeError):
        return False
    return True


def _moves(
    reader: Reader, stage: Stage, state: int, formulas: Formulas, stands_for: dict[str, Any]
) -> Iterator[_Found]:
    """All moves from a state."""
    node = stage.nodes[state]

    def numbered(guards: tuple[tuple[Formula, int], ...]) -> tuple[tuple[int, int], ...]:
        return tuple((formulas.add(formula), result) for formula, result in guards)

    legal = reader.branches(stage, lambda: _legal(reader.after(node, stage)))
    if isinstance(reader, Probing):
        _check_fixed(stage, node, legal[0][1], stands_for)
    for action in sorted({action for _, actions in legal for action in actions}):

        def run(action: int = action) -> list[Outcome]:
            new = reader.after(node, stage)
            return outcomes(new.child(action), stands_for) if action in _legal(new) else []

        for guards, found in reader.branches(stage, run):
            yield _Found(state, action, numbered(guards), found)


def _legal(node: Any) -> list[int]:
    return [int(action) for action in node.legal_actions()]


def _check_fixed(stage: Stage, node: Any, legal: list[int], stands_for: dict[str, Any]) -> None:
    """Raise `UntraceableError` where the moves at a node differ between mean fields."""
    if stage.kind != "mean field":
        return
    found = [
        [[(o.name, o.probability) for o in outcomes(new.child(action), stands_for)] for action in _legal(new)]
        for new in (stage.after(node, point.tolist()) for point in stage.points[: 5 + len(stage.names)])
        if _legal(new) == legal
    ]
    if len(found) < 4 or any(each != found[0] for each in found):
        raise UntraceableError("the moves depend on the mean field")


def _with_rewards(reader: Reader, following: Stage, found: list[_Found], formulas: Formulas) -> list[Move]:
    """The moves with the rewards that are paid where they lead.

    Where there are very many, the first reward of each name and action stands for the others, unless some of the others
    differ.
    """
    number = _numbers_of_rewards(reader, following, found, formulas)
    moves = []
    for move in found:
        merged: dict[tuple[int, int], float] = {}
        for outcome in move.outcomes:
            key = following.place[outcome.name], number(move.action, outcome)
            merged[key] = merged.get(key, 0.0) + outcome.probability
        if merged and abs(sum(merged.values()) - 1) > 1e-6:
            raise ValueError(
                f"the probabilities of chance sum to {sum(merged.values()):.8g}, not 1, after action {move.action} on "
                f"the way to {move.outcomes[0].name!r:.120}"
            )
        total = sum(merged.values())
        successors = tuple(Successor(place, p / total, reward) for (place, reward), p in merged.items())
        moves.append(Move(move.state, move.action, move.guards, successors))
    return moves


def _numbers_of_rewards(
    reader: Reader, following: Stage, found: list[_Found], formulas: Formulas
) -> Callable[[int, Outcome], int]:
    """The number of the reward by the action and the outcome to which it led."""

    def read(outcome: Outcome) -> int:
        return formulas.add(reader.arrival(outcome.node, following))

    all_outcomes = [(move.action, outcome) for move in found for outcome in move.outcomes]
    if len(all_outcomes) <= _SPARED:
        return lambda action, outcome: read(outcome)
    known: dict[tuple[int, str], int] = {}
    for action, outcome in all_outcomes:
        if (action, outcome.name) not in known:
            known[action, outcome.name] = read(outcome)
    some = np.random.default_rng(following.time).choice(len(all_outcomes), _COMPARED, replace=False)
    same = all(read(all_outcomes[k][1]) == known[all_outcomes[k][0], all_outcomes[k][1].name] for k in some)
    return (lambda action, outcome: known[action, outcome.name]) if same else (lambda action, outcome: read(outcome))


def _check_twins(reader: Reader, following: Stage, found: list[_Found], stands_for: dict[str, Any]) -> None:
    """Raise `ValueError` where the moves of two nodes of one name differ."""
    if following.kind == "terminal" or _has_ended(reader, following):
        return
    twins = [o for move in found for o in move.outcomes if o.node is not following.nodes[following.place[o.name]]]
    some = np.random.default_rng(following.time).permutation(len(twins))[:_TWINS]
    for twin in (twins[k] for k in some):
        one, other = (
            _signature(reader, following, node, stands_for)
            for node in (twin.node, following.nodes[following.place[twin.name]])
        )
        if one != other:
            raise ValueError(
                f"what may follow {twin.name!r:.120} at time {following.time} depends on how it was reached, which "
                "this name does not tell: such a game cannot be imported"
            )


def _signature(reader: Reader, stage: Stage, node: Any, stands_for: dict[str, Any]) -> Any:
    """What may follow a node: actions, and the names and probabilities of what they lead to."""

    def run() -> Any:
        new = reader.after(node, stage)
        return [
            (action, [(o.name, round(o.probability, 12)) for o in outcomes(new.child(action), stands_for)])
            for action in _legal(new)
        ]

    return reader.first_branch(run)
