"""`structmfg solve`: train, evaluate, save and print what was reached; `--resume` goes on with what was cut short."""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from structmfg import parallel, reports, runs, solvers
from structmfg._checks import check_positive, printable
from structmfg._files import to_json, write_json
from structmfg.cli import _processes as processes
from structmfg.cli._early import Terminated
from structmfg.cli._job import Job, SeedRun, begin, load_runs, original_arguments, resume
from structmfg.cli._output import (
    basis,
    console,
    populations_table,
    print_json,
    seeds_object,
    seeds_table,
    summary,
    title,
)
from structmfg.cli._progress import Display, Interrupt
from structmfg.cli.arguments import Arguments
from structmfg.cli.arguments.fields import import_own
from structmfg.games import Game
from structmfg.parallel import in_use
from structmfg.solvers import RESULTS, Solution
from structmfg.solvers.loop import Snapshots

_EVALUATIONS = 8
_UPDATES_PER_EVALUATION = 5  # at least: an evaluation may take as long as some updates


def solve(arguments: Arguments) -> int:
    """Exit code 0, or 1 where the numbers did not stay finite or the tolerance was not reached."""
    check_times(arguments)
    if arguments.scheduler is not None:
        raise ValueError("--scheduler spreads the runs of --sweep, and there is one run")
    arguments.mesh = processes.start(arguments)
    if not parallel.is_first():
        return _follow(arguments)
    with processes.leading(arguments.mesh):
        code = _solve(arguments)
    parallel.leave()
    return code


def _solve(arguments: Arguments) -> int:
    arguments = original_arguments(arguments)
    saved = None if arguments.resume is None else _load_saved(arguments)
    job, results, finished = run_or_load(arguments, saved)
    try:
        result = seeds_object(results, out=str(job.folder)) if job.many else results[0]
        _print_summary(arguments, job, results)
    except (KeyError, TypeError) as error:
        if finished:
            raise ValueError(f"result.json in {job.folder} is not as it was written: {error!r}") from error
        raise
    if job.many and not finished:
        write_json(job.folder / "result.json", result)
    if arguments.json:
        print_json(result)
    return exit_code(results)


def _follow(arguments: Arguments) -> int:
    """Take part in the solve that the first process leads; exit code 0."""
    with processes.following(arguments) as own:
        if own is not None:
            saved = _load_saved(own)
            with jax.enable_x64(saved[0][1].precision == "float64"), Interrupt() as interrupt:
                job = resume(own, saved)
                with Display(quiet=True, max_seconds=None) as display, Snapshots(job.folder / "snapshots") as snapshots:
                    _check_memory(own, job, display)
                    solutions = _train(own, job, snapshots, display, interrupt)
                if _is_terminated(arguments, interrupt):
                    raise Terminated("terminated, as all processes of this run")
                with in_use(arguments.mesh):
                    for solution in solutions:
                        reports.evaluate(job.game, solution.policy)
    parallel.leave()
    return 0


def _load_saved(arguments: Arguments) -> list[SeedRun]:
    """The runs to go on with, of games and functions of the user's own as well."""
    own = import_own(arguments)
    for folder in (Path(arguments.resume), *Path(arguments.resume).glob("seed-*")):
        runs.name_own(folder, **own)
    return load_runs(Path(arguments.resume))


def check_times(arguments: Arguments) -> None:
    """Raise `ValueError` unless the times that were given are above zero."""
    check_positive("snapshot_seconds", arguments.snapshot_seconds)
    if arguments.max_seconds is not None:
        check_positive("max_seconds", arguments.max_seconds)


def exit_code(results: Sequence[dict[str, Any]]) -> int:
    """1 where a run failed, which is said on standard error."""
    failed = [result for result in results if not RESULTS[result["result"]].succeeded]
    for result in failed:
        print(f"structmfg: {result['message']}", file=sys.stderr)
    return 1 if failed else 0


def run_or_load(
    arguments: Arguments, saved: list[SeedRun] | None
) -> tuple[Job, list[dict[str, Any]], list[dict[str, Any]]]:
    """Start a solve, or go on with one; the results, and those that were there before."""
    precision = arguments.precision if saved is None else saved[0][1].precision
    with jax.enable_x64(precision == "float64"), Interrupt() as interrupt:
        job = begin(arguments) if saved is None else resume(arguments, saved)
        finished = job.results_if_finished()
        if arguments.distributed and not finished:
            processes.tell(job.folder, arguments.mesh)
        results = finished or _run(arguments, job, interrupt)
        if finished:  # a kill between the report and the end left them
            job.remove_snapshots()
    return job, results, finished


def _run(arguments: Arguments, job: Job, interrupt: Interrupt) -> list[dict[str, Any]]:
    """Train, save and report; the result of every seed."""
    hint = f"structmfg solve --resume {job.folder} goes on from there"
    with (
        Snapshots(
            job.folder / "snapshots", seconds=arguments.snapshot_seconds, log=_warn, needed=job.has_policies
        ) as snapshots,
        Display(quiet=arguments.quiet, max_seconds=job.settings.max_seconds) as display,
    ):
        try:
            memory = _check_memory(arguments, job, display)
            solutions = _train(arguments, job, snapshots, display, interrupt)
        except BaseException as error:
            if job.new and not snapshots.steps:
                job.abandon()
                raise
            if isinstance(error, Terminated):
                raise Terminated(f"terminated; {hint}") from None
            raise
        with _error_hint("the policy could not be saved", hint):
            for (path, _), solution in zip(job.runs, solutions, strict=True):
                solution.stats["memory"] = {"estimate": memory.total, "available": memory.available}
                solution.stats["compile_seconds"] += memory.compile_seconds  # of the program that was run
                runs.save_policy(path, solution)
                (path / "result.json").unlink(missing_ok=True)  # of an earlier policy
            if _is_terminated(arguments, interrupt):
                raise Terminated
        with _error_hint("the report could not be written", f"the policy is saved in {job.folder}; {hint}"):
            results = _report(arguments, job, solutions, display)
    if job.results_if_finished():
        job.remove_snapshots()
    return results


def _check_memory(arguments: Arguments, job: Job, display: Display) -> solvers.MemoryEstimate:
    """Print how much memory the run takes; `ValueError` if there is not so much."""
    settings = job.settings

    def fitted(smaller: Game) -> solvers.TrainingSolver | solvers.TreeSolver:
        return settings.preset_for(smaller).solver

    display.stage("estimating memory")
    seeds = len(job.runs) if job.many else None
    with in_use(arguments.mesh):
        estimate = runs.check_memory(job.game, job.solver, max_steps=settings.max_steps, num_seeds=seeds, fitted=fitted)
    total, available = map(runs.gibibytes, (estimate.total, estimate.available))
    console(arguments).print(f"memory: about {total} of {available} available")
    return estimate


def _train(
    arguments: Arguments, job: Job, snapshots: Snapshots, display: Display, interrupt: Interrupt
) -> list[Solution]:
    out, start_printed = console(arguments), not snapshots.steps
    if start_printed and not job.new:
        out.print("no snapshot yet: beginning anew")

    def follow(progress: solvers.Progress) -> None:
        nonlocal start_printed
        if not start_printed:
            out.print(f"going on after update {progress.step}")
            start_printed = True
        display.training(progress)
        interrupt.check(progress)

    options: dict[str, Any] = {
        "max_steps": job.settings.max_steps,
        "max_seconds": job.settings.max_seconds,
        "evaluations": max(1, min(_EVALUATIONS, job.settings.max_steps // _UPDATES_PER_EVALUATION)),
        "callback": follow,
        "snapshots": snapshots,
        "mesh": arguments.mesh,
    }
    if not isinstance(job.solver, solvers.TreeSolver):  # which certifies its own steps
        options["evaluate"] = reports.checkpoint_evaluation(job.game)
    display.stage("compiling the updates")
    try:
        if job.many:
            assert isinstance(job.solver, solvers.TrainingSolver)
            return solvers.solve_seeds(job.game, job.solver, keys=job.keys, **options)
        return [solvers.solve(job.game, job.solver, key=job.keys, throw=False, **options)]
    finally:
        interrupt.updating = False


def _is_terminated(arguments: Arguments, interrupt: Interrupt) -> bool:
    """Whether this process or another of the run has been told to end; they have then parted."""
    with in_use(arguments.mesh):
        terminated = parallel.any_process(interrupt.terminated)
    if terminated:
        parallel.leave()
    return terminated


@contextlib.contextmanager
def _error_hint(fault: str, hint: str) -> Iterator[None]:
    """Add to every error within what can be done about it."""
    try:
        yield
    except Terminated:
        raise Terminated(f"terminated; {hint}") from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; {hint}") from None
    except Exception as error:
        lost = type(error).__name__ == "JaxRuntimeError" or "Gloo" in str(error)
        if lost and jax.process_count() > 1:  # another process has ended
            raise
        raise RuntimeError(f"{fault} ({error}); {hint}") from error


def _report(arguments: Arguments, job: Job, solutions: Sequence[Solution], display: Display) -> list[dict[str, Any]]:
    """Evaluate the policy of every seed and write it to its folder; the results."""
    results: list[dict[str, Any]] = []
    out = console(arguments)

    said = ""

    def log(message: str) -> None:
        nonlocal said
        display.stage(message)
        if not out.is_terminal and message.partition(":")[0] != said:  # where no bar shows how it goes on
            said = message.partition(":")[0]
            out.print(said)

    for (path, settings), solution in zip(job.runs, solutions, strict=True):
        display.stage("evaluating")
        with in_use(arguments.mesh):
            evaluation = reports.evaluate(job.game, solution.policy)
        kinds = tuple(kind for kind, estimate in evaluation.exploitability.items() if estimate)
        found = solution if isinstance(job.solver, solvers.TreeSolver) else None
        reference = _reference_values(job.game, settings, kinds, log, found)
        display.stage("writing the report")
        runs.save_settings(path, settings)
        results.append(runs.save_run(path, settings, job.game, solution, evaluation, reference).result)
    return results


_references: dict[Any, reports.ReferenceValues] = {}  # of this process, for the seeds and sweeps of one game


def _reference_values(
    game: Game, settings: runs.Settings, kinds: tuple[str, ...], log: Callable[[str], None], found: Solution | None
) -> reports.ReferenceValues:
    """What to compare with; measured once for all runs of one game, as the search for the floor may take a minute."""
    made_of = to_json(settings.game_parameters) if dataclasses.is_dataclass(game) else game
    key = (type(game), made_of, settings.solver, settings.information, kinds, settings.precision)
    if key not in _references:
        _references[key] = reports.reference_values(
            game, settings.solver, kinds=kinds, information=settings.information, log=log, found=found
        )
    return _references[key]


def _warn(message: str) -> None:
    print(f"structmfg: {message}", file=sys.stderr)


def _print_summary(arguments: Arguments, job: Job, results: Sequence[dict[str, Any]]) -> None:
    out = console(arguments)
    for result in results:
        out.print(printable(f"{title(result)}: {result['result']}. {result['message']}"))
    first = results[0]
    updates = " / ".join(str(result["iterations"]) for result in results)
    out.print(
        f"{updates} updates in {first['train_seconds']:.1f} s (and {first['compile_seconds']:.1f} s of compilation), "
        f"return {' / '.join(format(result['return'], '.5g') for result in results)}\n"
    )
    out.print(seeds_table(results) if job.many else summary(first))
    if "populations" in first and not job.many:
        out.print()
        out.print(populations_table(first))
    out.print(f"\nexploitability {basis(first)}; in units of the return")
    for result in results:
        out.print(f"report: {result['report']}", soft_wrap=True)
