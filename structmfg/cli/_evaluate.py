"""`structmfg evaluate`: measure the policy of a run again."""

import argparse

import jax

from structmfg import reports
from structmfg.cli._output import basis, console, print_json, summary, title


def evaluate(arguments: argparse.Namespace) -> int:
    """Print return and exploitabilities, and the anchors."""
    with jax.enable_x64(reports.load_settings(arguments.run).precision == "float64"):
        run = reports.load_run(arguments.run)
        kinds = None if arguments.kind is None else [arguments.kind]
        evaluation = reports.evaluate(run.game, run.policy, kinds=kinds, num_paths=arguments.paths, seed=arguments.seed)
        measured = [kind for kind, estimate in evaluation.exploitability.items() if estimate]
        beside = reports.anchors(run.game, run.settings.solver, kinds=measured, information=run.settings.information)
    result = {
        **run.result,
        **{name: getattr(run.settings, name) for name in ("game", "solver", "seed")},
        **reports.measures(evaluation),
        "anchors": reports.anchors_object(beside),
        "out": str(run.path),
        "report": str(run.path / "report.html"),
    }
    out = console(arguments)
    out.print(f"{title(result)}: return {result['return']:.5g}\n")
    out.print(summary(result))
    out.print(f"\nexploitability {basis(result)}; in units of the return")
    if arguments.json:
        print_json(result)
    return 0
