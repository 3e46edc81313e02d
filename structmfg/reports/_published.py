"""Figures from outside, to be printed beside a run's own: the paper's results.

They hold for the games' default parameters only, so nothing is returned for a game of other sizes.
"""

from typing import NamedTuple

from structmfg.games import GAMES, Game, game_name

SOURCE = "Wibault et al. 2026, arXiv 2602.20141, wall-clock figure (read off, +-10 %), mean of 10 seeds, NVIDIA L40S"


class Published(NamedTuple):
    """Clairvoyant exploitability after so many seconds of training."""

    exploitability: float
    seconds: float


_PAPER: dict[tuple[str, str], Published] = {
    ("linear_quadratic", "rspg"): Published(3.9, 120),
    ("linear_quadratic", "spg"): Published(92, 120),
    ("linear_quadratic", "ippo"): Published(44, 120),
    ("linear_quadratic", "rippo"): Published(38, 120),
    ("linear_quadratic", "m_omd"): Published(85, 120),
    ("beach_bar", "rspg"): Published(22, 400),
    ("beach_bar", "spg"): Published(330, 400),
    ("beach_bar", "ippo"): Published(86, 400),
    ("beach_bar", "rippo"): Published(63, 400),
    ("beach_bar", "m_omd"): Published(60, 400),
    ("macro", "rspg"): Published(0.027, 250),
    ("macro", "spg"): Published(0.022, 250),
    ("macro", "ippo"): Published(0.59, 250),
    ("macro", "rippo"): Published(0.48, 250),
    ("macro", "m_omd"): Published(0.72, 250),
}


def _has_published_sizes(game: Game) -> bool:
    return game_name(game) in GAMES and game == GAMES[game_name(game)]()


def published(game: Game, solver: str) -> Published | None:
    """The paper's figure for this game and solver, or None where there is none to compare with."""
    return _PAPER.get((game_name(game), solver)) if _has_published_sizes(game) else None
