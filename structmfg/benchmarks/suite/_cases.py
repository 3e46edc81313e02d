"""Cases, each of them measured in a process of its own, and their rows.

A case names its kind, the arguments that set it up, and the keys of all its measurements, so that measurements that a
process does not report are known to be missing. A measurement is a row: labels, `status`, and numbers or a `reason`.
"""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

Row = dict[str, Any]

OK, FAILED, NOT_RUN = "ok", "failed", "not run"


class NotRun(Exception):  # noqa: N818 (not an error: a measurement is left out for a reason)
    """Raised by a measurement that is left out, with the reason."""


class Case(NamedTuple):
    """Measurements that share a process.

    Attributes:
        kind: "copy", "check", "operator", "paths", "update", "training" or "peer".
        labels: What all rows of the case are labelled with.
        arguments: What the case is set up with.
        keys: The labels of each row, with which it is measured.
    """

    kind: str
    labels: dict[str, Any]
    arguments: dict[str, Any]
    keys: list[dict[str, Any]]

    @property
    def title(self) -> str:
        """The case in words, for the progress line."""
        return " ".join([self.kind, *(str(value) for name, value in self.labels.items() if name != "actions")])

    def rows(self, status: str, reason: str) -> list[Row]:
        """All rows of the case with one status and reason."""
        return [self.row(key, {"status": status, "reason": reason}) for key in self.keys]

    def row(self, key: dict[str, Any], outcome: Row) -> Row:
        """The row of one key, with its labels."""
        return {"kind": self.kind, **self.labels, **key, **outcome}

    def to_json(self) -> str:
        """The case in JSON, on one line."""
        return json.dumps(self._asdict())


def find(rows: Iterable[Row], **labels: Any) -> Row | None:
    """The first measured row with these labels."""
    return next(
        (row for row in rows if row["status"] == OK and all(row.get(name) == label for name, label in labels.items())),
        None,
    )
