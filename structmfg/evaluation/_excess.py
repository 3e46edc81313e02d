"""What a policy still loses, as one number that is zero at an equilibrium: `solve` compares it with `until_excess`."""

from typing import NamedTuple

from structmfg.evaluation._exploitability import Kind, exploitability
from structmfg.games import Game, noise_tree
from structmfg.policies import Policy


class Excess(NamedTuple):
    """What an agent can gain against a policy with no foresight.

    Attributes:
        value: A number that the gain does not exceed, in units of the return.
        kind: The kind of exploitability that it is.
    """

    value: float
    kind: Kind


def check_excess(game: Game) -> None:
    """Raise `ValueError` where `measured_excess` has no measure for this game: its noise is not a finite tree."""
    try:
        noise_tree(game)
    except ValueError as error:
        raise ValueError(f"until_excess needs an exact measure of the excess, and there is none: {error}") from error


def measured_excess(game: Game, policy: Policy) -> Excess:
    """The exact gain of an agent that does not know the future, over all noise paths of a game with finite noise.

    It is the `public` exploitability, of an agent that knows its own state and the public observations, where backward
    induction gives it (perfect recall) and the policy knows no more; otherwise the `non_anticipative` one, of an agent
    that knows the noise so far as well. The first is at most the second.

    Args:
        game: The game, of which `check_excess` holds.
        policy: The policy.

    Returns:
        The excess, and which of the two it is.

    Raises:
        ValueError: As `exploitability`.
    """
    try:
        public = exploitability(game, policy, kind="public").value
    except ValueError:  # no perfect recall; a fault of the game is found again below
        public = -1.0
    if public >= 0:  # below zero the policy knows more than the public
        return Excess(public, "public")
    return Excess(exploitability(game, policy, kind="non_anticipative").value, "non_anticipative")
