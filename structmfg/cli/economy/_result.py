"""What a study of an economy leaves behind: result.json, responses.csv, arrays, figures and a report."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from structmfg._files import file_name, write_bytes, write_json
from structmfg._npz import write_npz
from structmfg._pages import Picture, page
from structmfg.cli.economy._study import TOLERANCE, Study
from structmfg.cli.economy.registry import NamedEconomy
from structmfg.reports.economies import (
    draw_households,
    draw_jacobian,
    draw_residuals,
    draw_responses,
    peak,
    unit_of,
)
from structmfg.runs import save_figures, versions


def as_object(economy: NamedEconomy, parameters: Mapping[str, Any], done: Study) -> dict[str, Any]:
    """The study as result.json has it, but for where it lies."""
    steady, shock, stats = done.steady, done.shock, done.last.stats
    return {
        "economy": economy.name,
        "parameters": {name: parameter.default for name, parameter in economy.parameters.items()} | dict(parameters),
        "shock": shock.name,
        **{name: getattr(shock, name) for name in ("size", "persistence", "horizon", "nonlinear")},
        "result": done.result.name,
        "message": done.message,
        "steady_state": steady.aggregates | steady.reported,
        "steady_state_residuals": steady.residuals,
        "households": {
            name: {
                "inputs": household.inputs,
                "outputs": household.outputs,
                **(done.households[name].inequality() if name in done.households else {}),
            }
            for name, household in steady.households.items()
        },
        "gini": None if done.pooled is None else done.pooled.gini,
        "responses": {
            kind: {name: peak(response.paths[name])._asdict() for name in response.steady}
            for kind, response in done.responses.items()
        },
        "winding_number": stats["winding_number"],
        "memory": stats["memory"],
        "residuals": stats.get("residual"),
        "seconds": done.seconds,
        "versions": versions(),
    }


def save(folder: Path, economy: NamedEconomy, parameters: Mapping[str, Any], done: Study) -> dict[str, Any]:
    """Write all files, the result last; what result.json holds.

    Raises:
        ValueError: A file cannot be written.
    """
    report = folder / "report.html"
    result = {**as_object(economy, parameters, done), "out": str(folder), "report": str(report)}
    write_bytes(folder / "responses.csv", _table(done).encode())
    write_npz(folder / "arrays.npz", _arrays(done))
    pictures = _pictures(done)
    save_figures(folder, pictures)
    write_bytes(report, _page(economy, result, done, pictures).encode())
    write_json(folder / "result.json", result)
    return result


def _table(done: Study) -> str:
    """The changes of all paths from the steady state, a row for each period, as comma-separated values."""
    columns = {
        name if kind == "linear" else f"{name} ({kind})": path
        for kind, response in done.responses.items()
        for name, path in ((name, response.paths[name]) for name in response.steady)
    }
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["period", *columns])
    writer.writerows([t, *map(float, row)] for t, row in enumerate(zip(*columns.values(), strict=True)))
    return lines.getvalue()


def _arrays(done: Study) -> dict[str, np.ndarray]:
    """The households on their grids, and all Jacobians, by name/array and name/output/input."""
    arrays: dict[str, np.ndarray] = {}
    for name, household in done.households.items():
        name = file_name(name)
        arrays |= {f"{name}/assets": household.assets, f"{name}/mass": household.mass}
        arrays |= {f"{name}/{file_name(outcome)}": values for outcome, values in household.outcomes.items()}
    for name, outputs in done.jacobians.items():
        for output, inputs in outputs.items():
            place = "/".join(map(file_name, (name, "jacobian", output)))
            arrays |= {f"{place}/{file_name(source)}": np.asarray(matrix) for source, matrix in inputs.items()}
    return arrays


def _pictures(done: Study) -> list[Picture]:
    pictures = [draw_responses(done.responses, str(done.shock.name), done.shock.size)]
    if "nonlinear" in done.responses:
        pictures.append(draw_residuals(done.responses["nonlinear"].stats["residual"], TOLERANCE))
    pictures += draw_households(done.households, done.pooled)
    return pictures + [draw_jacobian(name, outputs) for name, outputs in done.jacobians.items()]


def _page(economy: NamedEconomy, result: dict[str, Any], done: Study, pictures: Sequence[Picture]) -> str:
    first = done.responses["linear"]
    rows = []
    for name in first.steady:
        unit = unit_of(name, first.steady[name])
        peaks = {kind: peak(unit.scale * response.paths[name]) for kind, response in done.responses.items()}
        rows.append({"name": name, "steady": first.steady[name], "unit": unit.name, "peaks": peaks})
    return page(
        "structmfg.cli.economy",
        "economy.html",
        pictures,
        about=economy.about,
        result=result,
        kinds=list(done.responses),
        rows=rows,
        succeeded=done.result.succeeded,
        groups={"Parameters": result["parameters"], "Seconds": done.seconds, "Environment": result["versions"]},
        overrides=(),
        saved=f"Saved in {result['out']}.",
    )
