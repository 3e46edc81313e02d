"""The report of a benchmark run: one HTML file that needs nothing else."""

from typing import Any

from structmfg._pages import page
from structmfg.benchmarks.suite._cases import FAILED, NOT_RUN, OK
from structmfg.benchmarks.suite._figures import figures

# The columns of the table of each kind.
COLUMNS = {
    "operator": (
        "game", "states", "form", "kernel", "direction", "paths", "batch", "seconds", "spread", "share", "peak_mib",
        "compile_seconds",
    ),
    "check": (
        "precision", "game", "form", "kernel", "direction", "paths", "batch", "difference", "tolerance",
        "same_bits_again",
    ),
    "paths": (
        "game", "num_paths", "updates_per_second", "paths_per_second", "seconds", "seconds_alone", "spread", "kernels",
        "peak_mib", "estimated_mib", "compile_seconds",
    ),
    "update": ("game", "update", "num_paths", "seconds", "spread", "compile_seconds"),
    "training": ("game", "preset", "steps", "seconds_per_update", "seconds", "exploitability", "compile_seconds"),
    "peer": ("library", "version", "states", "actions", "seconds", "spread", "what"),
}  # fmt: skip
TITLES = {
    "operator": "Operators",
    "check": "Correctness: the largest difference to the processor, relative to the largest entry",
    "paths": "Updates by noise paths, within a compiled training",
    "update": "One RSPG update",
    "training": "Training",
    "peer": "Other libraries: the mean-field update of their linear-quadratic games",
}


def render(result: dict[str, Any]) -> str:
    """The HTML page of a result, with the figures inside."""
    rows = result["measurements"]
    copy = next((row for row in rows if row["kind"] == "copy" and row["status"] == OK), None)
    return page(
        "structmfg.benchmarks",
        "report.html",
        figures(result),
        {"label": describe},
        result=result,
        copy=copy,
        titles=TITLES,
        columns=COLUMNS,
        tables={kind: [_shown(row, copy) for row in rows if _is(row, kind)] for kind in COLUMNS},
        failed=[row for row in rows if row["status"] == FAILED],
        not_run=[row for row in rows if row["status"] == NOT_RUN],
    )


def _is(row: dict[str, Any], kind: str) -> bool:
    return bool(row["kind"] == kind and row["status"] == OK)


def _shown(row: dict[str, Any], copy: dict[str, Any] | None) -> dict[str, Any]:
    """The row with the columns that are derived from it."""
    if row["kind"] == "paths":
        mebibytes = {name: round(row[f"{name}_bytes"] / 2**20) for name in ("peak", "estimated")}
        return {**row, **{f"{name}_mib": value for name, value in mebibytes.items()}}
    if row["kind"] != "operator":
        return row
    counted = copy is not None and row["direction"] != "build"
    share = f"{100 * row['bytes_per_second'] / copy['bytes_per_second']:.0f} %" if copy and counted else None
    return {**row, "share": share, "peak_mib": round(row["peak_bytes"] / 2**20)}


_NO_LABELS = ("status", "reason", "actions", "difference", "tolerance", "same_bits_again")


def describe(row: dict[str, Any]) -> str:
    """The labels of a row in words."""
    labels = [str(value) for name, value in row.items() if name not in _NO_LABELS]
    return " ".join(labels)
