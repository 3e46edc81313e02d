"""The report of a comparison: one HTML file that needs nothing else."""

from collections.abc import Callable, Sequence
from typing import Any

from structmfg._pages import Picture, page
from structmfg.reports import SOURCE
from structmfg.runs import spoken


def render(result: dict[str, Any], pictures: Sequence[Picture]) -> str:
    """The page, with the figures inside."""
    words: dict[str, Callable[..., str]] = {"spoken": spoken, "speed_up": speed_up}
    return page("structmfg.benchmarks.comparison", "comparison.html", pictures, words, result=result, source=SOURCE)


def speed_up(row: dict[str, Any]) -> str:
    """The speed-up of a row in words: 12, or > 40 where the level was never reached."""
    if row["speed_up"] is None:
        return "–"
    return f"{'> ' if row['speed_up_at_least'] else ''}{row['speed_up']:.3g}"
