"""`structmfg evaluate`: measure the policy of a run again."""

from collections.abc import Sequence

import jax
from rich.table import Table
from rich.text import Text

from structmfg import reports, runs
from structmfg.cli._output import (
    basis,
    console,
    number,
    plus_minus,
    populations_table,
    print_json,
    summary,
    table_of_numbers,
    title,
)
from structmfg.cli.arguments import Arguments
from structmfg.cli.arguments.fields import import_own
from structmfg.solvers.n_players import PlayersEvaluation, players


def evaluate(arguments: Arguments) -> int:
    """Print return and exploitability, and the reference values."""
    if arguments.run is None:
        raise ValueError("name a RUN, a folder that solve wrote (see structmfg evaluate --help)")
    runs.name_own(arguments.run, **import_own(arguments))
    settings = runs.load_settings(arguments.run)
    with jax.enable_x64(settings.precision == "float64"):
        run = runs.load_run(arguments.run, settings=settings)
        kinds = None if arguments.kind is None else [arguments.kind]
        evaluation = reports.evaluate(run.game, run.policy, kinds=kinds, num_paths=arguments.paths, seed=arguments.seed)
        measured = [kind for kind, estimate in evaluation.exploitability.items() if estimate]
        reference = reports.reference_values(
            run.game, settings.solver, kinds=measured, information=settings.information
        )
        in_finite_games = _players(arguments, run)
    result = {
        **{name: value for name, value in run.result.items() if name not in ("bounds", "no_bounds")},
        **{name: getattr(settings, name) for name in ("game", "solver", "seed")},
        **runs.measures(evaluation),
        "anchors": runs.reference_object(reference),
        "out": str(run.path),
        "report": str(run.path / "report.html"),
    }
    if in_finite_games:
        (figure,) = runs.save_figures(run.path, [reports.draw_players(title(result), in_finite_games)])
        result |= {**reports.players_object(in_finite_games), "players_figure": str(figure)}
    out = console(arguments)
    out.print(f"{title(result)}: return {result['return']:.5g}\n")
    out.print(summary(result))
    if "populations" in result:
        out.print()
        out.print(populations_table(result))
    out.print(f"\nexploitability {basis(result)}; in units of the return")
    if in_finite_games:
        out.print()
        out.print(_players_table(in_finite_games))
        out.print(f"\n{reports.players_basis(in_finite_games)}\nfigure: {figure}", soft_wrap=True)
    if arguments.json:
        print_json(result)
    return 0


def _players_table(evaluations: Sequence[PlayersEvaluation]) -> Table:
    """A table of the policy in games of N players, and in the mean field."""
    table = table_of_numbers("players", "return", "mean field", "deviator's gain", "mean field", "games")
    for column in table.columns:
        column.no_wrap = True
    for evaluation in evaluations:
        table.add_row(
            str(evaluation.num_players),
            number(evaluation.mean_return.value) + plus_minus(evaluation.mean_return.stderr),
            number(evaluation.mean_field_return),
            Text(number(evaluation.gain.value) + plus_minus(evaluation.gain.stderr), style="bold"),
            number(evaluation.mean_field_gain),
            str(evaluation.num_games) if evaluation.num_games else "exact",
        )
    return table


def _players(arguments: Arguments, run: runs.Run) -> list[PlayersEvaluation]:
    """The policy in games of finitely many players, if --players was given."""
    if not arguments.players:
        if arguments.games is not None or arguments.deviator is not None:
            raise ValueError("--games and --deviator are those of --players N [N ...], which was not given")
        return []
    return players(
        run.game,
        run.policy,
        arguments.players,
        key=reports.held_out_key(arguments.seed),
        deviator=arguments.deviator,
        num_games=arguments.games,
        num_paths=arguments.paths,
    )
