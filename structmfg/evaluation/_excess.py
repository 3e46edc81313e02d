"""What a policy still loses, as one number that is zero at an equilibrium: `solve` compares it with `until_excess`."""

import contextlib
from typing import NamedTuple

import jax

from structmfg.evaluation._exploitability import Kind, exploitability
from structmfg.evaluation.bounds import check_bounds, exploitability_bounds
from structmfg.games import Game, noise_tree
from structmfg.policies import Policy, TreePolicy

_SEED = 0x65786365  # of the paths of bounds


class Excess(NamedTuple):
    """What an agent can gain against a policy with no foresight.

    Attributes:
        value: A number that the gain does not exceed, in units of the return.
        kind: The kind of exploitability that it is.
        exact: Whether it is exact; otherwise it is the upper end of `ExploitabilityBounds.interval`.
    """

    value: float
    kind: Kind
    exact: bool = True


def check_excess(game: Game) -> None:
    """Raise `ValueError` where `measured_excess` has no measure for this game."""
    if _no_tree(game):
        try:
            check_bounds(game)
        except ValueError as error:
            raise ValueError(f"until_excess needs a measure of the excess, and there is none: {error}") from error


def measured_excess(game: Game, policy: Policy) -> Excess:
    """The gain of an agent that does not know the future.

    Over the noise tree of a game with finite noise it is exact: the `public` exploitability, of an agent that knows its
    own state and the public observations, where backward induction gives it (perfect recall) and the policy knows no
    more; otherwise the `non_anticipative` one, of an agent that knows the noise so far as well. The first is at most
    the second. Where there is no tree, it is the upper end of the interval of `exploitability_bounds`, always over the
    same noise paths.

    Args:
        game: The game, of which `check_excess` holds.
        policy: The policy.

    Returns:
        The excess, its kind, and whether it is exact.

    Raises:
        ValueError: As `exploitability` and `exploitability_bounds`.
    """
    if _no_tree(game):
        bounds = exploitability_bounds(game, policy, key=jax.random.key(_SEED))
        return Excess(bounds.interval[1], "non_anticipative", False)
    public = -1.0
    if not (isinstance(policy, TreePolicy) and policy.informed):
        with contextlib.suppress(ValueError):  # no perfect recall; a fault of the game is found again below
            public = exploitability(game, policy, kind="public").value
    if public >= 0:  # below zero the policy knows more than the public
        return Excess(public, "public")
    return Excess(exploitability(game, policy, kind="non_anticipative").value, "non_anticipative")


def _no_tree(game: Game) -> bool:
    """Whether the noise is continuous, or its tree too large."""
    try:
        noise_tree(game)
    except ValueError:
        return True
    return False
