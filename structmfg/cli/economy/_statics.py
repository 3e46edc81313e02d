"""`structmfg economy NAME --sweep PARAMETER=VALUES`: comparative statics, a study for each value of one parameter."""

import csv
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from structmfg._checks import check_name
from structmfg._files import write_bytes, write_json
from structmfg._pages import page
from structmfg._text import printable
from structmfg.cli.arguments import Arguments, Option
from structmfg.cli.arguments.config import MAX_RUNS, read_assignments, read_values
from structmfg.cli.economy._result import as_object
from structmfg.cli.economy._study import Shock, study
from structmfg.cli.economy.registry import NamedEconomy
from structmfg.economies.sequence_space import ImpulseResponse
from structmfg.reports.economies import draw_statics, draw_swept_responses
from structmfg.runs import save_figures


class Axis(NamedTuple):
    """The parameter that is swept, and its values."""

    parameter: str
    values: list[Any]


def read_axis(arguments: Arguments) -> Axis:
    """What `--sweep` asks for.

    Raises:
        ValueError: It is not one parameter of the economy with values, or the parameter is given as well.
    """
    options: Mapping[str, Option] = arguments.fields["game"]
    tables = read_assignments(arguments.sweep, "--sweep").tables
    swept = tables.get("run", {})
    if set(tables) != {"run"} or len(swept) != 1:
        raise ValueError(
            f"--sweep takes one PARAMETER=VALUES of the economy, but was given {' '.join(arguments.sweep)[:200]!r}"
        )
    ((name, text),) = swept.items()
    check_name(f"parameter of {arguments.economy}", name, options)
    if name in arguments.game_parameters:
        raise ValueError(f"{name} is swept, and given as well: leave out one of the two")
    values = read_values(options[name], text)
    if len(values) > MAX_RUNS:
        raise ValueError(f"--sweep asks for {len(values)} values, of at most {MAX_RUNS}")
    return Axis(name, values)


def comparative_statics(
    folder: Path,
    economy: NamedEconomy,
    parameters: Mapping[str, Any],
    axis: Axis,
    shock: Shock,
    log: Callable[[str], None],
) -> tuple[dict[str, Any], int]:
    """Make all studies and write what they have in common: what result.json holds, and the exit code.

    A value for which there is no steady state is left out, and told.

    Raises:
        ValueError, RuntimeError, MemoryError: There is a steady state for no value; the error of the first.
    """
    rows: list[dict[str, Any]] = []
    responses: list[tuple[Any, ImpulseResponse]] = []
    failed: dict[str, Exception] = {}
    code = 0
    for place, value in enumerate(axis.values, start=1):
        name = f"{axis.parameter}={value}"
        try:
            done = study(economy, {**parameters, axis.parameter: value}, shock, lambda _: None)
        except (ValueError, RuntimeError, MemoryError) as error:
            failed[name] = error
            log(f"{place} of {len(axis.values)}: {name}: failed")
            continue
        rows.append({"value": value, **as_object(economy, {**parameters, axis.parameter: value}, done)})
        shock = shock._replace(name=done.shock.name)
        if done.responses["linear"].succeeded:
            responses.append((value, done.responses["linear"]))
        if not done.result.succeeded:
            code = 1
            print(f"structmfg: {name}: {done.message}", file=sys.stderr)
        log(f"{place} of {len(axis.values)}: {name}: {done.result.name}, {sum(done.seconds.values()):.1f} s")
    if failed and not rows:
        raise next(iter(failed.values()))
    messages = {name: printable(" ".join(str(error).split()))[:1000] for name, error in failed.items()}
    for name, message in messages.items():
        print(f"structmfg: {name}: {message}", file=sys.stderr)
    return _save(folder, economy, axis, shock, rows, responses, messages), 1 if failed else code


def _save(
    folder: Path,
    economy: NamedEconomy,
    axis: Axis,
    shock: Shock,
    rows: Sequence[dict[str, Any]],
    responses: Sequence[tuple[Any, ImpulseResponse]],
    failed: Mapping[str, str],
) -> dict[str, Any]:
    numbers = [_numbers(row) for row in rows]
    names = list(numbers[0])
    columns = {name: [each[name] for each in numbers] for name in names}
    values = [row["value"] for row in rows]
    pictures = [draw_statics(axis.parameter, values, columns)]
    if responses:
        pictures.append(draw_swept_responses(axis.parameter, responses, str(shock.name)))
    save_figures(folder, pictures)
    result = {
        "economy": economy.name,
        "sweep": {axis.parameter: axis.values},
        "runs": list(rows),
        "failed": dict(failed),
        "out": str(folder),
        "report": str(folder / "report.html"),
    }
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow([axis.parameter, *names, "memory", "result"])
    for row, each in zip(rows, numbers, strict=True):
        writer.writerow([row["value"], *each.values(), row["memory"], row["result"]])
    write_bytes(folder / "table.csv", lines.getvalue().encode())
    report = page(
        "structmfg.cli.economy", "statics.html", pictures, economy=economy, parameter=axis.parameter,
        pairs=list(zip(rows, numbers, strict=True)), names=names, failed=failed,
    )  # fmt: skip
    write_bytes(folder / "report.html", report.encode())
    write_json(folder / "result.json", result)
    return result


def _numbers(row: Mapping[str, Any]) -> dict[str, float | None]:
    """What is shown of a study: its steady state, and the inequality of its households."""
    numbers = dict(row["steady_state"])
    several = len(row["households"]) > 1
    for name, household in row["households"].items():
        told = {key: value for key, value in household.items() if key not in ("inputs", "outputs")}
        numbers |= {f"{key} ({name})" if several else key: value for key, value in told.items()}
    return numbers | ({} if row["gini"] is None else {"gini": row["gini"]})
