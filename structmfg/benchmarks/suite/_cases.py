"""Cases: what is measured, in a process of its own, and what came of it.

A case names its kind, the arguments that set it up, and the keys of all its measurements, so that whatever a process
does not report is known to be missing. A measurement is a row: labels, `status`, and numbers or a `reason`.
"""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

Row = dict[str, Any]

OK, FAILED, NOT_RUN = "ok", "failed", "not run"


class NotRun(Exception):  # noqa: N818 (not an error: what is asked for is left out, for the reason given)
    """A measurement that is left out, and why."""


class Case(NamedTuple):
    """`labels` are those of all its rows, `keys` those of each."""

    kind: str
    labels: dict[str, Any]
    arguments: dict[str, Any]
    keys: list[dict[str, Any]]

    @property
    def title(self) -> str:
        """For the progress line."""
        return " ".join([self.kind, *(str(value) for name, value in self.labels.items() if name != "actions")])

    def rows(self, status: str, reason: str) -> list[Row]:
        """The rows where none could be measured."""
        return [self.row(key, {"status": status, "reason": reason}) for key in self.keys]

    def row(self, key: dict[str, Any], outcome: Row) -> Row:
        """One row."""
        return {"kind": self.kind, **self.labels, **key, **outcome}

    def to_json(self) -> str:
        """On one line."""
        return json.dumps(self._asdict())


def find(rows: Iterable[Row], **labels: Any) -> Row | None:
    """The first measured row with these labels."""
    return next(
        (row for row in rows if row["status"] == OK and all(row.get(name) == label for name, label in labels.items())),
        None,
    )
