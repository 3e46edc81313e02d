"""`structmfg economy`: the steady state of an economy, its responses to a shock, and a report; or a list of them."""

import sys
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from structmfg._files import output_folder
from structmfg._text import printable
from structmfg.cli._output import console, number, print_json, table_of_numbers
from structmfg.cli.arguments import Arguments
from structmfg.cli.economy.registry import ECONOMIES, NamedEconomy, named_economy


def economy(arguments: Arguments) -> int:
    """Exit code 0, or 1 where there is no steady state, no bounded response, or it has not died away."""
    if arguments.economy is None:
        return _list(arguments)
    # Imported here, as a list should not wait for what draws.
    from structmfg.cli.economy._result import save
    from structmfg.cli.economy._statics import comparative_statics, read_axis
    from structmfg.cli.economy._study import Shock, study

    chosen, parameters = named_economy(arguments.economy), arguments.game_parameters
    shock = Shock(arguments.shock, arguments.size, arguments.persistence, arguments.horizon, arguments.nonlinear)
    shock.check(chosen)
    out = console(arguments)

    def log(text: str) -> None:
        out.print(printable(text), soft_wrap=True)

    short = chosen.name.rpartition(":")[2]
    if arguments.sweep:
        axis = read_axis(arguments)
        with output_folder(arguments.out, f"economy-{short}-sweep") as folder:
            result, code = comparative_statics(folder, chosen, parameters, axis, shock, log)
    else:
        with output_folder(arguments.out, f"economy-{short}") as folder:
            done = study(chosen, parameters, shock, log)
            result, code = save(folder, chosen, parameters, done), 0 if done.result.succeeded else 1
        _print(out, result)
        if code:
            print(f"structmfg: {result['message']}", file=sys.stderr)
    out.print(f"report: {Path(result['report'])}", soft_wrap=True)
    if arguments.json:
        print_json(result)
    return code


def _print(out: Console, result: dict[str, Any]) -> None:
    """A table of the steady state and of the largest change of each path with its period; the inequality of wealth."""
    from structmfg.reports.economies import unit_of

    out.print()
    out.print(printable(f"{result['economy']}: {result['result']}. {result['message']}"), soft_wrap=True)
    table = table_of_numbers("path", "steady state", *(f"{kind}, largest" for kind in result["responses"]), "unit")
    for name, value in result["steady_state"].items():
        unit = unit_of(name, value)
        peaks = [each[name] for each in result["responses"].values()]
        changes = [
            f"{number(unit.scale * each['peak'])} at {each['period']}" if each["peak"] else "0" for each in peaks
        ]
        table.add_row(Text(printable(name)), number(value), *changes, unit.name)
    table.columns[0].justify = "left"
    out.print(table)
    if result["gini"] is not None:
        out.print(f"wealth of all households: Gini {result['gini']:.4f}")
    for name, each in result["households"].items():
        if each.get("gini") is not None:
            out.print(
                printable(
                    f"wealth of {name}: Gini {each['gini']:.4f}, the richest tenth has "
                    f"{each['share_of_top_10_percent']:.1%}, {each['at_the_borrowing_limit']:.1%} are at the limit"
                )
            )


def _list(arguments: Arguments) -> int:
    for each in ECONOMIES.values():
        console(arguments).print(_listed(each))
    if arguments.json:
        described = [
            {
                "name": each.name,
                "description": each.about,
                "shocks": list(each.shocks),
                "parameters": {name: parameter.default for name, parameter in each.parameters.items()},
            }
            for each in ECONOMIES.values()
        ]
        print_json({"economies": described})
    return 0


def _listed(each: NamedEconomy) -> Group:
    table = Table.grid(padding=(0, 2))
    table.add_row("", Text(each.about))
    table.add_row("", Text(f"shocks: {', '.join(each.shocks)}", style="dim"))
    options = (f"--{name.replace('_', '-')} {parameter.default}" for name, parameter in each.parameters.items())
    table.add_row("", Text("  ".join(option.replace(" ", "\u00a0") for option in options), style="cyan"))
    return Group(Text(each.name, style="bold"), table, Text())
