"""The report: one HTML file that needs nothing else."""

from collections.abc import Sequence
from typing import Any

from structmfg._pages import Picture, page
from structmfg.reports import SOURCE
from structmfg.runs._settings import Settings

MEANINGS = {
    "clairvoyant": "what a small agent gains by a best response that knows the whole noise path in advance, averaged "
    "over the paths. The paper's measure. Its floor is above zero, as nobody plays as well without knowing the future.",
    "non_anticipative": "what a small agent gains by a best response that knows its own state and the noise so far, "
    "but not the future noise. Zero exactly at an equilibrium with full information; needs finite noise.",
    "public": "what a small agent gains by a best response that knows its own state and the observations so far. Zero "
    "at an equilibrium with public information; needs finite noise, and that its own past tells an agent nothing about "
    "the noise that the observations do not.",
}


def render(settings: Settings, result: dict[str, Any], pictures: Sequence[Picture]) -> str:
    """The page, with the figures inside."""
    return page(
        "structmfg.runs",
        "template.html",
        pictures,
        settings=settings,
        result=result,
        meanings=MEANINGS,
        source=SOURCE,
        solver=spoken(settings.solver),
        groups={
            "Game": settings.game_parameters,
            "Solver": {
                **settings.hyper_parameters,
                "max_steps": settings.max_steps,
                "max_seconds": settings.max_seconds,
            },
            **({"Table" if settings.trains_table else "Network": settings.network} if settings.network else {}),
            "Environment": {
                "seed": settings.seed,
                "precision": settings.precision,
                "device": result["device"],
                **settings.versions,
            },
        },
        overrides=settings.overrides.keys(),
    )


def spoken(solver: str) -> str:
    """A solver's name in a title: RSPG, M-OMD, tabular SPG, fictitious play."""
    if solver == "m_omd":
        return "M-OMD"
    short = ("rspg", "spg", "gae", "ippo", "rippo")
    return " ".join(word.upper() if word in short else word for word in solver.split("_"))
