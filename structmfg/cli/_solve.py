"""`structmfg solve`: train, evaluate, save, say what was reached."""

import argparse
import sys
from pathlib import Path
from typing import get_args

import jax

from structmfg import reports, solvers
from structmfg._checks import check_integer, check_name, check_seed
from structmfg.cli._output import basis, console, print_json, summary, title
from structmfg.cli._progress import Display, Interrupt
from structmfg.games import Game, make
from structmfg.solvers import RESULTS, Preset, preset

_EVALUATIONS = 12


def solve(arguments: argparse.Namespace) -> int:
    """Exit code 0, or 1 where the numbers did not stay finite or the tolerance was not reached."""
    check_name("precision", arguments.precision, get_args(reports.Precision))
    check_seed(arguments.seed)
    with jax.enable_x64(arguments.precision == "float64"), Interrupt() as interrupt:
        run, result = _run(arguments, interrupt)
    _tell(arguments, run)
    if arguments.json:
        print_json(run.result)
    if result.succeeded:
        return 0
    print(f"structmfg: {run.result['message']}", file=sys.stderr)
    return 1


def _run(arguments: argparse.Namespace, interrupt: Interrupt) -> tuple[reports.Run, RESULTS]:
    game, chosen = _chosen(arguments)
    settings = reports.Settings.of(
        game,
        chosen.solver,
        name=arguments.solver,
        preset=arguments.preset,
        overrides=arguments.overrides,
        max_steps=chosen.max_steps,
        max_seconds=arguments.max_seconds,
        seed=arguments.seed,
    )
    given = arguments.out is not None and Path(arguments.out).exists()
    folder = reports.new_folder(arguments.out, f"{arguments.game}-{arguments.solver}-{arguments.seed}")
    try:
        reports.save_settings(folder, settings)
        with Display(quiet=arguments.quiet, max_seconds=arguments.max_seconds) as display:
            training = _train(arguments, game, chosen, display, interrupt)
            return _save(folder, settings, game, training, display), training.solution.result
    except BaseException:
        reports.drop_folder(folder, keep=given)
        raise


def _chosen(arguments: argparse.Namespace) -> tuple[Game, Preset]:
    game = make(arguments.game, **arguments.game_parameters)
    chosen = preset(game, arguments.solver, arguments.preset, **arguments.overrides)
    if arguments.iterations is None:
        return game, chosen
    return game, chosen._replace(max_steps=check_integer("iterations", arguments.iterations, at_least=1))


def _train(
    arguments: argparse.Namespace, game: Game, chosen: Preset, display: Display, interrupt: Interrupt
) -> reports.Training:
    clock: list[tuple[int, float]] = []

    def follow(progress: solvers.Progress) -> None:
        clock.append((progress.step, progress.train_seconds))
        display.training(progress)
        interrupt.check(progress)

    solution = solvers.solve(
        game,
        chosen.solver,
        key=jax.random.key(arguments.seed),
        max_steps=chosen.max_steps,
        max_seconds=arguments.max_seconds,
        # Solvers on trees certify their own steps.
        evaluate=None if isinstance(chosen.solver, solvers.TreeSolver) else reports.checkpoint_evaluation(game),
        evaluations=_EVALUATIONS,
        callback=follow,
        throw=False,
    )
    return reports.Training(solution, clock)


def _save(
    folder: Path, settings: reports.Settings, game: Game, training: reports.Training, display: Display
) -> reports.Run:
    reports.save_policy(folder, training.solution)
    try:
        display.stage("evaluating")
        evaluation = reports.evaluate(game, training.solution.policy)
        kinds = [kind for kind, estimate in evaluation.exploitability.items() if estimate]
        beside = reports.anchors(game, settings.solver, kinds=kinds, information=settings.information)
        display.stage("writing the report")
        return reports.save_run(folder, settings, game, training, evaluation, beside)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted before the report was written; the policy is saved in {folder}") from None
    except Exception as error:
        raise RuntimeError(f"the report could not be written ({error}); the policy is saved in {folder}") from error


def _tell(arguments: argparse.Namespace, run: reports.Run) -> None:
    """The summary for people."""
    out, result = console(arguments), run.result
    out.print(f"{title(result)}: {result['result']}. {result['message']}")
    out.print(
        f"{result['iterations']} updates in {result['train_seconds']:.1f} s "
        f"(and {result['compile_seconds']:.1f} s of compilation), return {result['return']:.5g}\n"
    )
    out.print(summary(result))
    out.print(f"\nexploitability {basis(result)}; in units of the return")
    out.print(f"report: {result['report']}", soft_wrap=True)
