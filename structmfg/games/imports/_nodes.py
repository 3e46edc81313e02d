"""What is asked of the nodes of a game tree: the methods of OpenSpiel's states, of whatever class they are."""

import functools
import math
import re
from collections.abc import Callable, Iterable
from typing import Any, Literal

from structmfg._checks import brief
from structmfg.games.imports._trace import Traced, UntraceableError

Kind = Literal["chance", "decision", "mean field", "terminal"]
_MAX_CHANCE = 20_000  # outcomes of chance in a row from one node


_TOLERANCE = 1e-9  # of the sum of the probabilities of chance


class GameError(Exception):
    """The game's own code failed."""


def asked(node: Any, method: str, *arguments: Any) -> Any:
    """What a method of a node returns.

    Raises:
        GameError: It fails.
    """
    try:
        return getattr(node, method)(*arguments)
    except UntraceableError:
        raise
    except Exception as error:
        named = method not in ("observation_string", "new_initial_state")
        where = f"{name_of(node)!r:.120}" if named else "a node"
        what = brief(f"{type(error).__name__}: {error}")
        raise GameError(f"{method}() fails at {where} with {what}") from error


class Outcome:
    """A node that chance leads to, with its probability and its name; it is made when it is first asked for."""

    def __init__(self, probability: float, name: str, make: Callable[[], Any]) -> None:
        self.probability, self.name, self._make = probability, name, make

    @functools.cached_property
    def node(self) -> Any:
        """The node."""
        return self._make()


Shared = dict[str, list[tuple[int, float, str]]]  # of a chance node by its name: actions, probabilities, names after it


def kind_of(node: Any) -> Kind:
    """Who moves at a node.

    Raises:
        ValueError: Several players do.
    """
    if asked(node, "is_terminal"):
        return "terminal"
    if asked(node, "is_chance_node"):
        return "chance"
    if asked(node, "is_mean_field_node"):
        return "mean field"
    if node.is_simultaneous_node() or int(node.current_player()) != 0:
        raise ValueError(
            f"at {name_of(node)!r:.120} player {int(node.current_player())} moves: only games in which one player "
            "decides, number 0, can be imported"
        )
    return "decision"


def name_of(node: Any) -> str:
    """The text that stands for a node in the game's mean field."""
    return str(asked(node, "observation_string", 0))


def reward_of(node: Any) -> Any:
    """The reward that is paid at a node.

    Raises:
        GameError: The game's code fails, or gives something else than a number.
    """
    rewards = asked(node, "rewards")
    try:
        reward = rewards[0]
        if isinstance(reward, str | bytes):
            raise TypeError("is a text")
        if not isinstance(reward, Traced):
            float(reward)
    except UntraceableError:
        raise
    except Exception as error:
        raise GameError(f"rewards() at {name_of(node)!r:.120} gives {rewards!r:.60}, no numbers") from error
    return reward


def _chances(node: Any) -> list[tuple[int, float]]:
    """The outcomes of chance at a node that may happen.

    Raises:
        UntraceableError: Their probabilities are no distribution.
    """
    listed = [(action, float(p)) for action, p in asked(node, "chance_outcomes")]
    total = math.fsum(p for _, p in listed)
    if not (abs(total - 1) <= _TOLERANCE and all(p >= 0 for _, p in listed)):
        least = min((p for _, p in listed), default=0.0)
        raise UntraceableError(
            f"the probabilities of chance at {name_of(node)!r:.120} must sum to 1 and not be negative, but sum to "
            f"{total:.10g}, of which the least is {least:.8g}"
        )
    return [(action, p) for action, p in listed if p > 0]


def outcomes(node: Any, stands_for: dict[str, Any], shared: Shared | None = None) -> list[Outcome]:
    """The nodes that follow where chance is through with a node, the node itself if chance does not move there.

    Args:
        node: The node.
        stands_for: Nodes that take the place of all nodes of their names.
        shared: Where it is given, what follows the first chance node of a name is noted there, and taken to follow the
            others of that name. This spares making nodes. Whoever uses it tests some of the nodes.
    """
    name = name_of(node)
    node = stands_for.get(name, node)
    if kind_of(node) != "chance":
        return [Outcome(1.0, name, lambda: node)]
    if shared is not None and name in shared:
        return [_later(node, action, p, after) for action, p, after in shared[name]]
    found: list[Outcome] = []
    listed = _chances(node)
    _check_number(len(listed), name)
    only_one_step = True
    for action, p in listed:
        child = asked(node, "child", action)
        only_one_step &= kind_of(child) != "chance"
        for each in outcomes(child, stands_for, shared):
            each.probability *= p
            found.append(each)
        _check_number(len(found), name)
    if shared is not None and only_one_step and not stands_for:
        shared[name] = [(action, p, each.name) for (action, p), each in zip(listed, found, strict=True)]
    return found


def _check_number(outcomes: int, name: str) -> None:
    if outcomes > _MAX_CHANCE:
        raise ValueError(f"chance has {outcomes} outcomes or more at {name!r:.120}, of at most {_MAX_CHANCE}")


def _later(node: Any, action: int, probability: float, name: str) -> Outcome:
    return Outcome(probability, name, lambda: asked(node, "child", action))


def in_order(names: Iterable[str]) -> list[str]:
    """Names in the order of the numbers in them."""

    def key(name: str) -> list[tuple[int, int, str]]:
        return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name)]

    return sorted(names, key=key)


def first_seen(root: Any) -> dict[str, Any]:
    """The first node of every name, depth first and in the order of the moves, under a uniform mean field.

    OpenSpiel's values are kept by name, so that this node's rewards and moves stand for those of all others.
    """
    found: dict[str, Any] = {}
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if (name := name_of(node)) in found:
            continue
        found[name] = node
        kind = kind_of(node)
        if kind == "mean field":
            support = asked(node, "distribution_support")
            waiting.append(updated(node, [1 / max(len(support), 1)] * len(support)))
        elif kind != "terminal":
            actions = [a for a, _ in _chances(node)] if kind == "chance" else asked(node, "legal_actions")
            waiting.extend(asked(node, "child", action) for action in reversed(actions))
    return found


def updated(node: Any, distribution: list[Any]) -> Any:
    """The node that follows a mean-field node under a distribution over its support.

    Raises:
        ValueError: Chance or the mean field moves there.
    """
    new = asked(node, "clone")
    asked(new, "update_distribution", distribution)
    if (kind := kind_of(new)) in ("chance", "mean field"):
        raise ValueError(
            f"{kind} follows the mean-field node {name_of(node)!r:.120}: only games in which a decision, or the end, "
            "follows can be imported"
        )
    return new
