"""The floor of clairvoyant exploitability: what foresight alone is worth at an equilibrium."""

from typing import NamedTuple

from structmfg._results import RESULTS
from structmfg.evaluation import Information, exploitability
from structmfg.games import MAX_SCENARIOS, Game
from structmfg.solvers.exact._equilibrium import ExactEquilibrium
from structmfg.solvers.loop import solve


class Floor(NamedTuple):
    """The clairvoyant exploitability `value` of an exact equilibrium, whose own certificate is `gap`."""

    value: float
    gap: float
    result: RESULTS


def floor(
    game: Game,
    *,
    information: Information = "full",
    tolerance: float = 1e-4,
    max_steps: int = 2000,
    max_seconds: float | None = None,
) -> Floor:
    """The clairvoyant exploitability at the exact equilibrium; to be trusted where `result` is `converged`.

    What is left is the worth of knowing the future noise, and under "public" information of knowing the noise at all.
    Raises `ValueError` where the game's noise paths are not finite, or too many.
    """
    if game.scenarios() is None:
        raise ValueError(
            "the floor is a mean over all noise paths, but this game's noise is continuous, or has more than "
            f"{MAX_SCENARIOS} paths: discretise it, with a short horizon"
        )
    solver = ExactEquilibrium(tolerance=tolerance, information=information)
    solution = solve(game, solver, max_steps=max_steps, max_seconds=max_seconds, throw=False)
    value = exploitability(game, solution.policy, kind="clairvoyant").value
    return Floor(value, solution.stats["exploitability"], solution.result)
