"""The figures of the paper, which reports show beside a run's own.

They hold for the games' default parameters only, so that there is none for a game of other sizes.
"""

from typing import NamedTuple

from structmfg.games import GAMES, Game, game_name

SOURCE = "Wibault et al. 2026, arXiv 2602.20141, wall-clock figure (read off, +-10 %), mean of 10 seeds, NVIDIA L40S"


class Published(NamedTuple):
    """The clairvoyant exploitability after so many seconds of training."""

    exploitability: float
    seconds: float


# By game: the seconds of training, and the clairvoyant exploitability by solver.
_PAPER: dict[str, tuple[float, dict[str, float]]] = {
    "linear_quadratic": (120, {"rspg": 3.9, "spg": 92, "ippo": 44, "rippo": 38, "m_omd": 85}),
    "beach_bar": (400, {"rspg": 22, "spg": 330, "ippo": 86, "rippo": 63, "m_omd": 60}),
    "macro": (250, {"rspg": 0.027, "spg": 0.022, "ippo": 0.59, "rippo": 0.48, "m_omd": 0.72}),
}


def published(game: Game, solver: str) -> Published | None:
    """The paper's figure for this game and solver, or None where there is none to compare with."""
    name = game_name(game)
    if name not in _PAPER or game != GAMES[name]():
        return None
    seconds, by_solver = _PAPER[name]
    return Published(by_solver[solver], seconds) if solver in by_solver else None
