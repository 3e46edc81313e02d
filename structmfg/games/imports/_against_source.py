"""Whether what a walk found is what the game does: some nodes are held against the game's own numbers."""

import math
from typing import Any, NamedTuple

import numpy as np

from structmfg.games.imports._nodes import GameError, Outcome, asked, name_of, outcomes
from structmfg.games.imports._programs import Formulas, value_of
from structmfg.games.imports._readers import Probing, Reader, Stage
from structmfg.games.imports._trace import UntraceableError

_TWINS = 2_000  # successors of nodes of one name that are compared, at one time
_STATES = 6  # whose moves are held against the game, at one time, where moves depend on the mean field
_FEW_STATES = 2  # where they do not
_REWARDS = 20  # which are held against the game, at one time
_CORNERS = 4  # other states in which everybody may be, where the rewards of one state are held against the game
_FIXED = 400  # mean fields at one time with everybody in one state, at which moves are compared
_TOLERANCE = 1e-12


class Found(NamedTuple):
    """A move before the rewards on it are known; without outcomes the action is not allowed."""

    state: int
    action: int
    guards: tuple[tuple[int, int], ...]
    outcomes: list[Outcome]


def check_rewards(reader: Reader, stage: Stage, nodes: list[Any]) -> None:
    """Raise `UntraceableError` where a formula is not the reward that the game pays, at some mean fields."""
    for node in nodes[:_REWARDS]:
        formula = reader.arrival(node, stage)
        corners = _corners(stage, node)
        for k, point in enumerate([*stage.points[:4], *corners]):
            try:
                paid = float(stage.arrival(node, point.tolist()))
            except GameError:
                if k < 4:
                    raise
                paid = math.nan  # the logarithm or the inverse of no mass
            with np.errstate(all="ignore"):
                found = float(value_of(formula, point))
            both_fail = not (math.isfinite(paid) or math.isfinite(found))
            if not abs(paid - found) <= _TOLERANCE * (1 + abs(paid)) and paid != found and not both_fail:
                raise UntraceableError(
                    f"the reward at {name_of(node)!r:.120} was taken for {found!r} and is {paid!r} at one mean field"
                )


def _corners(stage: Stage, node: Any) -> np.ndarray:
    """Mean fields with nearly all, and all, of the mass in a node's own state, and with all of it in others."""
    size = len(stage.names)
    own = stage.place.get(name_of(node), 0)
    others = np.random.default_rng(stage.time).permutation(size)[:_CORNERS]
    alone = np.eye(size)[[own, *others.tolist()]]
    shares = np.array([0.25, 0.6, 0.8, 0.92, 0.98])[:, None]
    return np.concatenate([alone, shares * alone[0] + (1 - shares) / size])


def check_moves(
    reader: Reader, stage: Stage, found: list[Found], formulas: Formulas, stands_for: dict[str, Any]
) -> None:
    """Raise `UntraceableError` where the game moves in another way than was found, at some mean fields."""
    if stage.kind != "mean field" or isinstance(reader, Probing):
        return
    count = _STATES if any(move.guards for move in found) else _FEW_STATES
    some = set(np.random.default_rng(stage.time).permutation(len(stage.names))[:count].tolist())
    own = [move for move in found if move.state in some]
    for point in stage.points[:4]:
        values = formulas.values(point)
        for state in some:
            expected = {
                move.action: _listed(move.outcomes)
                for move in own
                if move.state == state and move.outcomes and all(values[k] == result for k, result in move.guards)
            }
            if expected != (seen := _moves_at(stage, stage.nodes[state], point, stands_for)):
                raise UntraceableError(
                    f"at {stage.names[state]!r:.120} the game allows the actions {sorted(seen)}, with other outcomes "
                    f"than were found for {sorted(expected)}, at one mean field"
                )


def check_fixed(stage: Stage, node: Any, stands_for: dict[str, Any]) -> None:
    """Raise `UntraceableError` where the moves at a node differ between mean fields."""
    if stage.kind != "mean field":
        return
    few = max(2, _FIXED // len(stage.names))
    points = (*_corners(stage, node), *stage.points[: 4 + few])
    first, *others = (_moves_at(stage, node, point, stands_for) for point in points)
    if any(each != first for each in others):
        raise UntraceableError("the moves depend on the mean field, and the game takes floats alone")


def check_twins(reader: Reader, following: Stage, found: list[Found], stands_for: dict[str, Any]) -> None:
    """Raise `ValueError` where the moves of two nodes of one name differ."""
    listed = [(outcome.name, move.action, outcome) for move in found for outcome in move.outcomes]
    mixed = [listed[k] for k in np.random.default_rng(following.time).permutation(len(listed))]
    ways = {(name, action): outcome for name, action, outcome in mixed}  # one for each name and action comes first
    left = _TWINS
    for twin in (*ways.values(), *(outcome for *_, outcome in mixed)):
        stands = following.nodes[following.place[twin.name]]
        one, other = (_moves_at(following, node, following.points[0], stands_for) for node in (twin.node, stands))
        if one != other:
            raise ValueError(
                f"what may follow {twin.name!r:.120} at time {following.time} depends on how it was reached, which "
                "this name does not tell: such a game cannot be imported"
            )
        left -= 1 + sum(map(len, one.values()))
        if left <= 0:
            break


def _moves_at(stage: Stage, node: Any, point: np.ndarray, stands_for: dict[str, Any]) -> dict[int, Any]:
    """What the game's own code does at a mean field: for each action, where it may lead."""
    new = stage.after(node, point.tolist())
    return {int(a): _listed(outcomes(asked(new, "child", a), stands_for)) for a in asked(new, "legal_actions")}


def _listed(found: list[Outcome]) -> list[tuple[str, float]]:
    return sorted((outcome.name, round(outcome.probability, 9)) for outcome in found)
