"""`structmfg bench`: time operators, training and other libraries, and compare the figures with the targets."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from structmfg import benchmarks
from structmfg._files import output_folder
from structmfg.benchmarks import Case, Row, describe
from structmfg.cli._output import console, print_json
from structmfg.cli.arguments import Arguments


def bench(arguments: Arguments) -> int:
    """Exit code 0 unless nothing could be measured; a target that is missed is printed as missed."""
    plan = benchmarks.QUICK if arguments.quick else benchmarks.FULL
    planned = benchmarks.cases(
        plan, games=arguments.games or None, sizes=arguments.sizes or None, peers=arguments.peer, seed=arguments.seed
    )
    out = console(arguments)
    with output_folder(arguments.out, "bench") as folder:
        result = benchmarks.run(planned, timeout=plan.timeout, callback=lambda *case: _print_case(out, *case))
        settings = {name: getattr(arguments, name) for name in ("quick", "games", "sizes", "seed")}
        result = {**result, "settings": settings, "out": str(folder), "report": str(folder / "report.html")}
        benchmarks.save(folder, result)
    out.print(_targets(result))
    out.print(f"\n{_counts(result)}; report: {result['report']}", soft_wrap=True)
    if arguments.json:
        print_json(result)
    if not result["counts"]["ok"]:
        raise RuntimeError(f"nothing could be measured; the reasons are in {folder / 'bench.json'}")
    return 0


def _print_case(out: Console, case: Case, rows: list[Row], seconds: float) -> None:
    """Print a line for the case, and a line for each measurement that failed or was left out."""
    measured = [row for row in rows if row["status"] == "ok"]
    out.print(f"{case.title}: {len(measured)} of {len(rows)} measured in {seconds:.1f} s", soft_wrap=True)
    for row in rows:
        if row["status"] != "ok":
            out.print(Text(f"  {row['status']}: {describe(row)}: {row['reason']}"), soft_wrap=True)


def _targets(result: dict[str, Any]) -> Table:
    table = Table("target", "wanted", "measured", "", box=None, padding=(0, 2, 0, 0))
    table.columns[2].justify = "right"
    styles = {"met": "green", "missed": "bold red", "not measured": "dim", "for comparison": "dim"}
    for target in result["targets"]:
        measured = "–" if target["measured"] is None else f"{target['measured']:.3g}"
        status = Text(target["status"], style=styles[target["status"]])
        table.add_row(Text(target["name"]), target["wanted"], measured, status)
    return table


def _counts(result: dict[str, Any]) -> str:
    targets = [target["status"] for target in result["targets"]]
    stated = [f"{targets.count(status)} {status}" for status in ("met", "missed", "not measured")]
    measured = [f"{count} {status}" for status, count in result["counts"].items()]
    return f"targets: {', '.join(stated)}; measurements: {', '.join(measured)}"
