"""The report of every solver on every game: one HTML file that needs nothing else."""

from typing import Any

from structmfg._pages import page
from structmfg._text import display_name


def render(result: dict[str, Any]) -> str:
    """The page: a row for each game, a column for each solver that suits any of them."""
    solvers = list(dict.fromkeys(each["solver"] for each in result["entries"] if each["status"] != "not for it"))
    cells = {(each["game"], each["solver"]): each for each in result["entries"]}
    return page(
        "structmfg.benchmarks.every_game",
        "every_game.html",
        (),
        {"display_name": display_name},
        result=result,
        solvers=solvers,
        cells=cells,
        failed=[each for each in result["entries"] if each["status"] == "failed"],
    )
