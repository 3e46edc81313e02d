"""What the table holds of one solver on one game."""

from typing import NamedTuple

from structmfg.games import Game, noise_tree
from structmfg.solvers import StationarySolver, TreeSolver, preset


class Entry(NamedTuple):
    """What one solver reached on one game.

    Attributes:
        game, solver: Their names; of an imported game LIBRARY:NAME.
        status: "ok"; "not for it", where the solver refuses the game; "failed".
        excess: What a deviation without foresight gains over the policy, at most, in units of the return; None where
            it is not known.
        uniform: The clairvoyant exploitability of the uniform policy.
        result: How the solve ended.
        train_seconds, compile_seconds: Of the solve.
        steps: The number of updates.
        reason: Why there are no numbers.
    """

    game: str
    solver: str
    status: str
    excess: float | None = None
    uniform: float | None = None
    result: str = ""
    train_seconds: float | None = None
    compile_seconds: float | None = None
    steps: int | None = None
    reason: str = ""


def check_suits(game: Game, solver: str) -> None:
    """Raise `ValueError` where a solver refuses a game, or needs a noise tree that the game does not have."""
    chosen = preset(game, solver).solver
    if isinstance(chosen, TreeSolver) and not isinstance(chosen, StationarySolver):
        chosen.check_suits(game)
        noise_tree(game)
