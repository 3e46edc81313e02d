"""`structmfg solve`: train, evaluate, save, say what was reached; `--resume` goes on with what was cut short."""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from structmfg import reports, runs, solvers
from structmfg._checks import check_positive, printable
from structmfg._files import write_json
from structmfg.cli._job import Job, anew, begin, precision, resume
from structmfg.cli._output import basis, console, print_json, seeds_object, seeds_table, summary, title
from structmfg.cli._progress import Display, Interrupt, Terminated
from structmfg.games import Game
from structmfg.solvers import RESULTS, Solution
from structmfg.solvers.loop import Snapshots

_EVALUATIONS = 12


def solve(arguments: argparse.Namespace) -> int:
    """Exit code 0, or 1 where the numbers did not stay finite or the tolerance was not reached."""
    check_positive("snapshot_seconds", arguments.snapshot_seconds)
    arguments = anew(arguments)
    with jax.enable_x64(precision(arguments) == "float64"), Interrupt() as interrupt:
        job = begin(arguments) if arguments.resume is None else resume(arguments)
        done = job.finished()
        results = done or _run(arguments, job, interrupt)
    try:
        result = seeds_object(results, out=str(job.folder)) if job.many else results[0]
        _tell(arguments, job, results)
    except (KeyError, TypeError) as error:
        if done:
            raise ValueError(f"result.json in {job.folder} is not as it was written: {error!r}") from error
        raise
    if job.many and not done:
        write_json(job.folder / "result.json", result)
    if arguments.json:
        print_json(result)
    failed = [one for one in results if not RESULTS[one["result"]].succeeded]
    for one in failed:
        print(f"structmfg: {one['message']}", file=sys.stderr)
    return 1 if failed else 0


def _run(arguments: argparse.Namespace, job: Job, interrupt: Interrupt) -> list[dict[str, Any]]:
    hint = f"structmfg solve --resume {job.folder} goes on from there"
    with (
        Snapshots(
            job.folder / "snapshots", seconds=arguments.snapshot_seconds, tell=_warn, needed=job.has_policies
        ) as snapshots,
        Display(quiet=arguments.quiet, max_seconds=job.settings.max_seconds) as display,
    ):
        try:
            memory = _memory(arguments, job, display)
            solutions = _train(arguments, job, snapshots, display, interrupt)
        except BaseException as error:
            if job.new and not snapshots.steps:
                job.abandon()
                raise
            if isinstance(error, Terminated):
                raise Terminated(f"terminated; {hint}") from None
            raise
        with _explained("the policy could not be saved", hint):
            for (path, _), solution in zip(job.runs, solutions, strict=True):
                solution.stats["memory"] = {"estimate": memory.total, "available": memory.available}
                solution.stats["compile_seconds"] += memory.compile_seconds  # of the program that was run
                runs.save_policy(path, solution)
                (path / "result.json").unlink(missing_ok=True)  # of an earlier policy
            if interrupt.terminated:
                raise Terminated
        with _explained("the report could not be written", f"the policy is saved in {job.folder}; {hint}"):
            results = _report(job, solutions, display)
    if job.finished():
        job.clean()
    return results


def _memory(arguments: argparse.Namespace, job: Job, display: Display) -> solvers.MemoryEstimate:
    """Say what the run takes; `ValueError` if there is not so much."""
    asked = job.settings

    def fitted(smaller: Game) -> solvers.TrainingSolver | solvers.TreeSolver:
        return solvers.preset(smaller, asked.solver, asked.preset, **asked.overrides).solver  # type: ignore[arg-type]

    display.stage("estimating memory")
    seeds = len(job.runs) if job.many else None
    found = runs.check_memory(job.game, job.solver, max_steps=asked.max_steps, num_seeds=seeds, fitted=fitted)
    total, available = map(runs.gibibytes, (found.total, found.available))
    console(arguments).print(f"memory: about {total} of {available} available")
    return found


def _train(
    arguments: argparse.Namespace, job: Job, snapshots: Snapshots, display: Display, interrupt: Interrupt
) -> list[Solution]:
    out, told = console(arguments), not snapshots.steps
    if told and not job.new:
        out.print("no snapshot yet: beginning anew")

    def follow(progress: solvers.Progress) -> None:
        nonlocal told
        if not told:
            out.print(f"going on after update {progress.step}")
            told = True
        display.training(progress)
        interrupt.check(progress)

    options: dict[str, Any] = {
        "max_steps": job.settings.max_steps,
        "max_seconds": job.settings.max_seconds,
        "evaluations": _EVALUATIONS,
        "callback": follow,
        "snapshots": snapshots,
    }
    if not isinstance(job.solver, solvers.TreeSolver):  # those certify their own steps
        options["evaluate"] = reports.checkpoint_evaluation(job.game)
    display.stage("compiling the updates")
    try:
        if job.many:
            assert isinstance(job.solver, solvers.TrainingSolver)
            return solvers.solve_seeds(job.game, job.solver, keys=job.keys, **options)
        return [solvers.solve(job.game, job.solver, key=job.keys, throw=False, **options)]
    finally:
        interrupt.updating = False


@contextlib.contextmanager
def _explained(fault: str, hint: str) -> Iterator[None]:
    """Errors while a run is saved, with what can be done about them."""
    try:
        yield
    except Terminated:
        raise Terminated(f"terminated; {hint}") from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; {hint}") from None
    except Exception as error:
        raise RuntimeError(f"{fault} ({error}); {hint}") from error


def _report(job: Job, solutions: Sequence[Solution], display: Display) -> list[dict[str, Any]]:
    """The run of every seed: evaluated, and written to its folder."""
    beside, results = None, []
    for (path, settings), solution in zip(job.runs, solutions, strict=True):
        display.stage("evaluating")
        evaluation = reports.evaluate(job.game, solution.policy)
        if beside is None:
            kinds = [kind for kind, estimate in evaluation.exploitability.items() if estimate]
            about: dict[str, Any] = {"kinds": kinds, "information": settings.information, "tell": display.stage}
            beside = reports.reference_values(job.game, settings.solver, **about)
        display.stage("writing the report")
        runs.save_settings(path, settings)
        results.append(runs.save_run(path, settings, job.game, solution, evaluation, beside).result)
    return results


def _warn(message: str) -> None:
    print(f"structmfg: {message}", file=sys.stderr)


def _tell(arguments: argparse.Namespace, job: Job, results: Sequence[dict[str, Any]]) -> None:
    """The summary for people."""
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
    out.print(f"\nexploitability {basis(first)}; in units of the return")
    for result in results:
        out.print(f"report: {result['report']}", soft_wrap=True)
