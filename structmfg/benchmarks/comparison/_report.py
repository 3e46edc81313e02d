"""The report of a comparison: one HTML file that needs nothing else."""

from collections.abc import Sequence
from typing import Any

from structmfg._pages import Picture, page
from structmfg.evaluation import is_informative
from structmfg.reports import SOURCE
from structmfg.runs import display_name, in_words


def render(result: dict[str, Any], pictures: Sequence[Picture]) -> str:
    """The page, with the figures inside."""
    return page(
        "structmfg.benchmarks.comparison",
        "comparison.html",
        pictures,
        {"display_name": display_name, "speed_up": speed_up, "bracket": bracket},
        result=result,
        source=SOURCE,
        groups={
            "Game": {name: in_words(value) for name, value in result["game_parameters"].items()},
            "Most updates": result["steps"],
            "Versions": result["versions"],
        },
        overrides=(),
        saved=f"Every run is kept in {result['out']}/runs, with its settings, its policy and its learning curve.",
    )


def speed_up(row: dict[str, Any]) -> str:
    """The speed-up of a row in words: 12, or > 40 where the level was never reached."""
    if row["speed_up"] is None:
        return "–"
    return f"{'> ' if row['speed_up_at_least'] else ''}{row['speed_up']:.3g}"


def bracket(bounds: list[float] | None) -> str:
    """A lower and an upper bound in words: one number where they are equal, a dash where they are not known."""
    if bounds is None:
        return "–"
    low, high = bounds
    if low == high:
        return f"{low:.4g}"
    text = f"{low:.4g} to {high:.4g}"
    return text if is_informative(low, high) else f"{text}, not informative"
