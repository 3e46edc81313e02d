"""The report of `verify`, as text, HTML or JSON."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from structmfg._checks import printable
from structmfg._files import to_json, write_bytes
from structmfg._pages import Picture, page
from structmfg.verification._check import CheckResult


class Table(NamedTuple):
    """A table of texts and numbers, with a note on what they mean."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""


class Stage(NamedTuple):
    """Checks that belong together, with their tables and pictures."""

    results: tuple[CheckResult, ...]
    title: str = ""
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether all checks passed."""
        return all(result.passed for result in self.results)


class Report(NamedTuple):
    """The checks of one game.

    Attributes:
        game: The repr of the game.
        stages: The checks, in the order in which they were made.
        basis: What the checks rest on, a paragraph each.
    """

    game: str
    stages: tuple[Stage, ...]
    basis: tuple[str, ...] = ()

    @property
    def results(self) -> tuple[CheckResult, ...]:
        """All checks."""
        return tuple(result for stage in self.stages for result in stage.results)

    @property
    def passed(self) -> bool:
        """Whether all checks passed."""
        return all(stage.passed for stage in self.stages)

    @property
    def seconds(self) -> float:
        """The seconds that all stages took."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def summary(self) -> str:
        """How many checks passed, in words."""
        return f"{sum(result.passed for result in self.results)} of {len(self.results)} checks passed"

    def __str__(self) -> str:
        return "\n".join(
            [f"{printable(self.game)}: {self.summary}", *map(stage_text, self.stages), *map(printable, self.basis)]
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report to one file that needs no other.

        Args:
            path: The file, which ends in .html or .json (where NaN is null).

        Raises:
            ValueError: The file has another suffix, or cannot be written.
        """
        path = Path(path)
        writers = {".html": self._html, ".json": self._json}
        if path.suffix not in writers:
            raise ValueError(f"a report is saved as .html or .json, but the path is {str(path)!r}")
        write_bytes(path, writers[path.suffix]().encode())

    def as_object(self) -> dict[str, Any]:
        """The report as a dictionary, as the JSON file holds it."""
        return {
            "game": self.game,
            "passed": self.passed,
            "seconds": self.seconds,
            "basis": self.basis,
            "results": [{"stage": stage.title, **r._asdict()} for stage in self.stages for r in stage.results],
            "tables": [table._asdict() for stage in self.stages for table in stage.tables],
        }

    def _json(self) -> str:
        return to_json(self.as_object(), indent=2) + "\n"

    def _html(self) -> str:
        pictures = [picture for stage in self.stages for picture in stage.pictures]
        return page("structmfg.verification", "report.html", pictures, report=self)


def stage_text(stage: Stage) -> str:
    """The text of a stage, a line for every check with its value and bound; failed checks have more lines.

    Control characters, which a user's game may put into names, are spelled out.
    """
    width = max(len(printable(result.name)) for result in stage.results)
    lines = [f"{stage.title} ({stage.seconds:.1f} s)"]
    for result in stage.results:
        name, passed = printable(result.name), "ok    " if result.passed else "FAILED"
        lines.append(f"  {passed}  {name:<{width}}  {result.value:9.2e}  (bound {result.bound:.2e})")
        if not result.passed:
            lines += [f"          {printable(text)}" for text in (result.meaning, result.where) if text]
    return "\n".join(lines)
