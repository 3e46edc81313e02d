"""`structmfg bench`: time operators, training and other libraries, and compare the figures with the targets.

`structmfg plan`: predict what an update costs on several devices.
"""

import contextlib
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.table import Table
from rich.text import Text

from structmfg import benchmarks, solvers
from structmfg._checks import check_integer
from structmfg._files import output_folder
from structmfg.benchmarks import Case, Row, describe, every_game
from structmfg.cli._output import console, number, print_json, table_of_numbers
from structmfg.cli.arguments import Arguments
from structmfg.games import Game, make
from structmfg.runs import gibibytes


def bench(arguments: Arguments) -> int:
    """Exit code 0 unless a form is computed wrongly, or could not be checked, or nothing could be measured.

    A missed target is printed.
    """
    if "all" in arguments.games:
        return _every_game(arguments)
    if arguments.solvers or arguments.max_seconds:
        raise ValueError("--solvers and --max-seconds are for bench --games all")
    jax.config.update("jax_platforms", "cpu")  # of this process: one that finds a GPU keeps some of its memory
    plan = benchmarks.QUICK if arguments.quick else benchmarks.FULL
    planned = benchmarks.cases(
        plan, games=arguments.games or None, sizes=arguments.sizes or None, peers=arguments.peer, seed=arguments.seed
    )
    out = console(arguments)
    with output_folder(arguments.out, "bench") as folder:
        result = benchmarks.run(
            planned,
            timeout=plan.timeout,
            seconds=plan.seconds,
            device=arguments.device,
            callback=lambda *case: _print_case(out, *case),
        )
        settings = {name: getattr(arguments, name) for name in ("quick", "device", "games", "sizes", "seed")}
        result = {**result, "settings": settings, "out": str(folder), "report": str(folder / "report.html")}
        benchmarks.save(folder, result)
    out.print(_targets(result))
    out.print(f"\n{_counts(result)}; report: {result['report']}", soft_wrap=True)
    if arguments.json:
        print_json(result)
    failed = [row for row in result["measurements"] if row["status"] == "failed"]
    if wrong := [describe(row) for row in failed if "difference" in row]:
        raise RuntimeError(f"{len(wrong)} forms are wrong on this device, the first of them {wrong[0]}")
    if not result["counts"]["ok"]:
        raise RuntimeError(f"nothing could be measured; the reasons are in {folder / 'bench.json'}")
    if unchecked := [row for row in failed if row["kind"] == "check"]:
        first = f"{describe(unchecked[0])}: {unchecked[0]['reason']}"
        raise RuntimeError(f"{len(unchecked)} forms could not be checked, the first of them {first}")
    return 0


def _every_game(arguments: Arguments) -> int:
    """Every solver on every game; exit code 0 unless nothing could be measured."""
    if list(arguments.games) != ["all"] or arguments.sizes or arguments.peer:
        raise ValueError(
            "--games all stands alone: it takes every game at its own size, and the libraries that are installed"
        )
    out = console(arguments)
    solvers_chosen = [name.strip() for name in (arguments.solvers or "").split(",") if name.strip()]
    folder = Path(arguments.out) if arguments.out and Path(arguments.out, "result.json").exists() else None
    with contextlib.nullcontext(folder) if folder else output_folder(arguments.out, "bench-all") as place:
        result = every_game.run_all(
            place,
            solvers=solvers_chosen,
            max_seconds=10.0 if arguments.max_seconds is None else arguments.max_seconds,
            log=lambda line: out.print(line, soft_wrap=True),
        )
    out.print(_best_of_every_game(result))
    for library, version in result["peers"].items():
        if version is None:
            out.print(f"{library} is not installed: its games and solvers are left out", soft_wrap=True)
    out.print(f"report: {place / 'report.html'}", soft_wrap=True)
    if arguments.json:
        print_json({**result, "out": str(place), "report": str(place / "report.html")})
    if not any(each["status"] == "ok" for each in result["entries"]):
        raise RuntimeError(f"nothing could be measured; the reasons are in {place / 'result.json'}")
    return 0


def _best_of_every_game(result: dict[str, Any]) -> Table:
    """The least excess of every game; of imported games, that of the library's own solvers as well."""
    table = Table("game", "uniform policy", "best solver", "excess", box=None, padding=(0, 2, 0, 0))
    imported = any(row["best_peer"] for row in result["table"])
    for column in ("best of the library", "excess") if imported else ():
        table.add_column(column)
    for row in result["table"]:
        cells = [row["game"], number(row["uniform"])]
        for best in ("best", "best_peer") if imported else ("best",):
            cells += [row[best] or "–", number(row["excess"].get(row[best]))]
        table.add_row(*cells)
    return table


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


def plan(arguments: Arguments) -> int:
    """Print the cost of an update for every split of the devices; exit code 0, also where no split fits."""
    if arguments.game is None:
        raise ValueError("plan needs a GAME (see structmfg games)")
    check_integer("devices", arguments.devices, at_least=1, at_most=benchmarks.MAX_DEVICES)
    overrides = dict(arguments.overrides)
    if arguments.paths is not None:
        overrides["num_paths"] = check_integer("paths", arguments.paths, at_least=1)
    device = benchmarks.device(arguments.device)
    out = console(arguments)

    def made(num_states: int | None) -> tuple[Game, Any]:
        sized = {} if num_states is None else {"num_states": num_states}
        game = make(arguments.game, **{**arguments.game_parameters, **sized})
        if game.horizon is None:
            raise ValueError(
                f"plan is about updates of rspg, which needs a finite horizon, but that of {arguments.game} is None "
                "(infinite)"
            )
        return game, solvers.preset(game, "rspg", **overrides).solver

    planned = benchmarks.plan_update(
        made,
        arguments.game_parameters.get("num_states"),
        devices=arguments.devices,
        device=device,
        callback=lambda paths, states: out.print(f"compiling {paths} x {states}"),
    )
    out.print(_plan_table(planned))
    out.print(_plan_notes(arguments, planned, device), soft_wrap=True)
    if arguments.json:
        print_json({"game": arguments.game, "devices": arguments.devices, **benchmarks.plan_object(planned, device)})
    return 0


def _plan_table(planned: benchmarks.UpdatePlan) -> Table:
    columns = ("Gflop", "GB moved", "kernels", "messages", "MB sent", "memory", "seconds")
    table = table_of_numbers("paths x states", *columns, "bound by", "")
    table.columns[-2].justify = table.columns[-1].justify = "left"
    for column in table.columns[:-1]:
        column.no_wrap = True
    for split in planned.splits:
        name = f"{split.paths} x {split.states}"
        if split.refused:
            table.add_row(name, *["–"] * len(columns), "", Text(split.refused))
            continue
        cost = split.cost
        counted = (cost.flops / 1e9, cost.bytes_moved / 1e9, cost.kernels, cost.messages, cost.bytes_sent / 1e6)
        figures = [f"{figure:.5g}" for figure in counted]
        verdict = "best" if split is planned.best else "" if split.fits else "does not fit"
        style = "bold" if split is planned.best else ""
        seconds = f"{split.seconds:.3g}"
        table.add_row(name, *figures, gibibytes(split.memory), seconds, split.bound, verdict, style=style)
    return table


def _plan_notes(arguments: Arguments, planned: benchmarks.UpdatePlan, device: benchmarks.Device) -> str:
    """What the figures are, and what they rest on."""
    notes = [
        f"\none update of RSPG on {planned.num_paths} noise paths and {planned.num_states} states, by one of "
        f"{arguments.devices} devices ({device.name}), with {gibibytes(device.memory)} for a program",
        f"seconds: {benchmarks.basis(device)}",
    ]
    if device.launch:
        launch = f"{1e6 * device.launch:g} us"
        notes.append(f"kernels: each is started by itself, {launch}; counted in a program for a processor, see gpu.md")
    if planned.extrapolated_from:
        sizes = " and ".join(map(str, planned.extrapolated_from))
        notes.append(f"extrapolated: compiled for {sizes} states a device; all but messages grows linearly with them")
    if any(split.cost.open_loops for split in planned.splits):
        notes.append("too low: some loops run as long as they need, and are counted once")
    if planned.best is None:
        notes.append("no split fits: take more devices, or a smaller network (--rank, --width)")
    return "\n".join(notes)
