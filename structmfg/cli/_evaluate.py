"""`structmfg evaluate`: measure the policy of a run again."""

import argparse

import jax

from structmfg import reports, runs
from structmfg.cli._output import basis, console, players_table, print_json, summary, title
from structmfg.solvers.n_players import PlayersEvaluation, players


def evaluate(arguments: argparse.Namespace) -> int:
    """Print return and exploitabilities, and the anchors."""
    with jax.enable_x64(runs.load_settings(arguments.run).precision == "float64"):
        run = runs.load_run(arguments.run)
        kinds = None if arguments.kind is None else [arguments.kind]
        evaluation = reports.evaluate(run.game, run.policy, kinds=kinds, num_paths=arguments.paths, seed=arguments.seed)
        measured = [kind for kind, estimate in evaluation.exploitability.items() if estimate]
        beside = reports.reference_values(
            run.game, run.settings.solver, kinds=measured, information=run.settings.information
        )
        among = _players(arguments, run)
    result = {
        **run.result,
        **{name: getattr(run.settings, name) for name in ("game", "solver", "seed")},
        **runs.measures(evaluation),
        "anchors": runs.reference_object(beside),
        "out": str(run.path),
        "report": str(run.path / "report.html"),
    }
    if among:
        figure = reports.save_players(run.path, title(result), among)
        result |= {**reports.players_object(among), "players_figure": str(figure)}
    out = console(arguments)
    out.print(f"{title(result)}: return {result['return']:.5g}\n")
    out.print(summary(result))
    out.print(f"\nexploitability {basis(result)}; in units of the return")
    if among:
        out.print()
        out.print(players_table(among))
        out.print(f"\n{reports.players_basis(among)}\nfigure: {figure}", soft_wrap=True)
    if arguments.json:
        print_json(result)
    return 0


def _players(arguments: argparse.Namespace, run: runs.Run) -> list[PlayersEvaluation]:
    """The policy in finite games, if that was asked for."""
    if arguments.players is None:
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
