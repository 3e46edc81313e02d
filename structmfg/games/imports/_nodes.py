"""What is asked of the nodes of a game tree: the methods of OpenSpiel's states, of whatever class they are."""

import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

Kind = Literal["chance", "decision", "mean field", "terminal"]
_MAX_CHANCE = 10_000  # outcomes of chance in a row from one node


class Outcome(NamedTuple):
    """A node that chance leads to, with its probability and its name."""

    probability: float
    node: Any
    name: str


def kind_of(node: Any) -> Kind:
    """Who moves at a node.

    Raises:
        ValueError: Several players do.
    """
    if node.is_terminal():
        return "terminal"
    if node.is_chance_node():
        return "chance"
    if node.is_mean_field_node():
        return "mean field"
    if node.is_simultaneous_node() or int(node.current_player()) != 0:
        raise ValueError(
            f"at {name_of(node)!r:.120} player {int(node.current_player())} moves: only games in which one player "
            "decides, number 0, can be imported"
        )
    return "decision"


def name_of(node: Any) -> str:
    """The text that stands for a node in the game's mean field."""
    return str(node.observation_string(0))


def reward_of(node: Any) -> Any:
    """The reward that is paid at a node."""
    return node.rewards()[0]


def outcomes(node: Any, stands_for: dict[str, Any]) -> list[Outcome]:
    """The nodes that follow where chance is through with a node, the node itself if chance does not move there.

    A node in `stands_for` takes the place of all nodes of its name.
    """
    found, waiting = [], [(1.0, node)]
    while waiting:
        probability, each = waiting.pop()
        name = name_of(each)
        each = stands_for.get(name, each)
        if kind_of(each) != "chance":
            found.append(Outcome(probability, each, name))
            continue
        listed = [(action, float(p)) for action, p in each.chance_outcomes()]
        if len(found) + len(waiting) + len(listed) > _MAX_CHANCE:
            raise ValueError(f"chance has more than {_MAX_CHANCE} outcomes at {name!r:.120}")
        waiting.extend((probability * p, each.child(action)) for action, p in reversed(listed) if p > 0)
    return found


def in_order(names: Iterator[str] | list[str]) -> list[str]:
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
            support = node.distribution_support()
            waiting.append(updated(node, [1 / max(len(support), 1)] * len(support)))
        elif kind != "terminal":
            actions = [a for a, _ in node.chance_outcomes()] if kind == "chance" else node.legal_actions()
            waiting.extend(node.child(action) for action in reversed(actions))
    return found


def updated(node: Any, distribution: list[Any]) -> Any:
    """The node that follows a mean-field node under a distribution over its support.

    Raises:
        ValueError: Chance or the mean field moves there.
    """
    new = node.clone()
    new.update_distribution(distribution)
    if (kind := kind_of(new)) in ("chance", "mean field"):
        raise ValueError(
            f"{kind} follows the mean-field node {name_of(node)!r:.120}: only games in which a decision, or the end, "
            "follows can be imported"
        )
    return new
