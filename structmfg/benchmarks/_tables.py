"""Tables of measurements as plain text."""

from collections.abc import Iterable, Mapping
from typing import Any

Row = Mapping[str, Any]


def table(title: str, columns: Mapping[str, str], rows: Iterable[Row]) -> str:
    """Aligned columns under a title, the first one to the left, the others to the right; `columns`: headings by key."""
    cells = [list(columns.values()), *([_cell(row.get(key)) for key in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(map(_aligned, range(len(line)), line, widths)) for line in cells]
    return "\n".join([title, *(f"  {line}".rstrip() for line in lines)])


def _aligned(position: int, cell: str, width: int) -> str:
    return cell.rjust(width) if position else cell.ljust(width)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
