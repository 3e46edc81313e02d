"""The report of a run: one HTML file that needs nothing else."""

from collections.abc import Sequence
from typing import Any

from structmfg._pages import Picture, page
from structmfg._text import display_name
from structmfg.reports import SOURCE
from structmfg.runs._differences import from_defaults, setting_groups
from structmfg.runs._parameters import in_words
from structmfg.runs._settings import Settings

_MEANINGS = {
    "clairvoyant": "what a small agent gains by a best response that knows the whole noise path in advance, averaged "
    "over the paths. The paper's measure. Its floor is above zero, as nobody plays as well without knowing the future.",
    "non_anticipative": "what a small agent gains by a best response that knows its own state and the noise so far, "
    "but not the future noise. Zero exactly at an equilibrium with full information. Exact where the noise is finite; "
    "otherwise a lower and an upper bound.",
    "public": "what a small agent gains by a best response that knows its own state and the observations so far. Zero "
    "at an equilibrium with public information; needs finite noise, and that its own past tells an agent nothing about "
    "the noise that the observations do not.",
}


def render(
    settings: Settings,
    result: dict[str, Any],
    pictures: Sequence[Picture],
    panel: dict[str, Any] | None = None,
) -> str:
    """The HTML page of a run, with its figures inside and, where its data are given, the interactive panel."""
    groups = {
        title: {name: in_words(value) for name, value in values.items()}
        for title, values in setting_groups(settings).items()
    }
    machine = {"seed": settings.seed, "precision": settings.precision, "device": result["device"]}
    return page(
        "structmfg.runs",
        "run.html",
        pictures,
        settings=settings,
        result=result,
        meanings=_MEANINGS,
        source=SOURCE,
        solver=display_name(settings.solver),
        groups={**groups, "Environment": machine | settings.versions},
        changed=from_defaults(settings),
        panel=panel,
        overrides=settings.overrides,
        saved=f"Saved in {result['out']}.",
    )
