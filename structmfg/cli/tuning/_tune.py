"""`structmfg tune`: trial after trial on one clock, then the best settings, a report and a file for `solve`."""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from rich.table import Table
from rich.text import Text

from structmfg._checks import check_integer, check_name, check_positive, check_seed
from structmfg._files import output_folder, read_json, to_json, write_bytes, write_json
from structmfg.cli._early import Terminated
from structmfg.cli._job import short_name
from structmfg.cli._output import console, number, print_json
from structmfg.cli._progress import Display, Interrupt
from structmfg.cli.arguments import Arguments
from structmfg.cli.tuning._report import write_report
from structmfg.cli.tuning._spaces import Space, read_spaces, spaces, unknown_fields
from structmfg.cli.tuning._study import Study, Trial, best_of, import_optuna
from structmfg.cli.tuning._trial import Outcome, Task, measure_for, run_trial
from structmfg.games import make
from structmfg.runs import display_name
from structmfg.solvers import preset
from structmfg.solvers.loop import Progress

_ASKED, _BEST = "tuning.json", "best.toml"
_TRIALS_PER_CLEARING = 10
_MEASURES = ("excess", "clairvoyant")
_KEYS = ("game", "game_parameters", "solver", "overrides", "iterations", "max_seconds", "seed", "precision")


def tune(arguments: Arguments) -> int:
    """Search the settings of a solver for a game.

    Returns:
        Exit code 0, or 1 where every trial failed.

    Raises:
        ValueError: Optuna is missing, an option is wrong, or the folder holds another search.
        KeyboardInterrupt: It was interrupted; the trials that have ended are kept.
    """
    if arguments.game is None:
        raise ValueError("tune needs a GAME (see structmfg games)")
    check_integer("trials", arguments.trials, at_least=1)
    check_positive("seconds", arguments.max_seconds)
    check_seed(arguments.seed)
    if arguments.iterations is not None:
        check_integer("iterations", arguments.iterations, at_least=1)
    if arguments.resume is not None and arguments.out is not None:
        raise ValueError("--resume and --out both name a folder: leave out one of them")
    if "search" in arguments.given and not arguments.search:
        raise ValueError("--search takes SETTING=LOW:HIGH, LOW:HIGH:log or A,B, but was given nothing")
    import_optuna()
    with jax.enable_x64(arguments.precision == "float64"):
        return _tune(arguments)


def _tune(arguments: Arguments) -> int:
    game = make(arguments.game, **arguments.game_parameters)
    suited = _suited(preset(game, arguments.solver, **arguments.overrides).solver)  # raises where it does not suit
    own = read_spaces(arguments.search, _options(arguments))
    if both := sorted(own.keys() & arguments.overrides.keys()):
        raise ValueError(f"{both[0]} is searched, and given as well: leave out one of the two")
    searched = {**spaces(arguments.solver, suited, arguments.overrides), **own}
    if not searched:
        raise ValueError(f"{arguments.solver} has no setting to search for this game: give --search SETTING=LOW:HIGH")
    measure = measure_for(game) if arguments.measure is None else arguments.measure
    check_name("measure", measure, _MEASURES)
    task = Task(
        game, arguments.solver, dict(arguments.overrides), arguments.iterations, arguments.max_seconds,
        arguments.seed, measure,
    )  # fmt: skip
    title = f"{short_name(arguments.game)}, {display_name(short_name(arguments.solver))}"
    out = console(arguments)
    unknown = [name for name in unknown_fields(arguments.solver) if name not in searched]
    facts = _facts(arguments, unknown)
    for name, fact in facts.items():
        out.print(f"{name}: {fact}", soft_wrap=True)
    with _folder(arguments, searched, measure) as folder:
        start = {name: suited[name] for name, space in searched.items() if space.has(suited[name])}
        study = Study(folder, searched, start, arguments.seed)
        try:
            _run_all(arguments, task, study, folder, suited)
        except KeyboardInterrupt as interrupt:
            hint = f"with {len(study.trials())} trials done; the same command with --out {folder} goes on from there"
            if isinstance(interrupt, Terminated):
                raise Terminated(f"terminated {hint}") from None
            raise KeyboardInterrupt(f"interrupted {hint}") from None
        finally:
            _write_best(folder, study)
            write_report(folder, study.trials(), searched, study.importances, title=title, facts=facts)
        result = _result(folder, study, searched, title)
        write_json(folder / "result.json", result)
    out.print(_table(result["trials"]))
    if (best := result["best"]) is not None:
        out.print(f"best: trial {best['number']}, exploitability {number(best['value'])} ({best['kind']})")
        out.print(f"settings: {folder / _BEST}; again by: structmfg solve --config {folder / _BEST}", soft_wrap=True)
    out.print(f"report: {result['report']}", soft_wrap=True)
    if arguments.json:
        print_json(result)
    return 0 if best is not None else 1


def _suited(solver: Any) -> dict[str, Any]:
    """The values of all settings of a solver, and of the network or table that it trains."""
    policy = getattr(getattr(solver, "policy", None), "settings", None)
    network: dict[str, Any] = getattr(policy, "_asdict", dict)()
    return {name: getattr(solver, name) for name in type(solver).__dataclass_fields__} | network


def _options(arguments: Arguments) -> dict[str, Any]:
    return {name: option for name, option in arguments.fields["solver"].items() if name not in ("policy", "optimiser")}


def _facts(arguments: Arguments, unknown: list[str]) -> dict[str, str]:
    """What is said before the trials, and in the report."""
    per_trial = f"{arguments.max_seconds:g} s of training each; compilation and evaluation are not counted"
    if arguments.iterations is not None:
        per_trial += f"; at most {arguments.iterations} updates"
    facts = {"Clock": per_trial, "Seed": str(arguments.seed)}
    if arguments.overrides:
        facts["Given, and not searched"] = ", ".join(f"{name} {value}" for name, value in arguments.overrides.items())
    if unknown:
        facts["Not searched, because no range is known (give --search)"] = ", ".join(unknown)
    return facts


@contextlib.contextmanager
def _folder(arguments: Arguments, searched: Mapping[str, Space], measure: str) -> Any:
    """The folder: that of the same search to go on with, or a new one.

    Raises:
        ValueError: It holds another search.
    """
    asked = {name: getattr(arguments, name) for name in _KEYS} | {
        "measure": measure, "search": {name: str(space) for name, space in searched.items()}
    }  # fmt: skip
    out = arguments.resume or arguments.out
    if out is not None and os.path.lexists(Path(out, _ASKED)):
        before = read_json(Path(out, _ASKED))
        plain = json.loads(to_json(asked))
        if different := [name for name in asked if before.get(name) != plain[name]]:
            raise ValueError(f"{out} holds another search (another {different[0]}): choose another folder")
        yield Path(out)
        return
    if arguments.resume is not None:
        raise ValueError(f"{arguments.resume} holds no search: it has no {_ASKED}")
    with output_folder(arguments.out, f"tune-{short_name(arguments.game)}-{short_name(arguments.solver)}") as folder:
        write_json(folder / _ASKED, asked)
        yield folder


def _run_all(arguments: Arguments, task: Task, study: Study, folder: Path, suited: Mapping[str, Any]) -> None:
    """Make the trials that are left."""
    out = console(arguments)
    with Interrupt() as interrupt, Display(quiet=arguments.quiet, max_seconds=arguments.max_seconds) as display:
        while (done := len(study.trials())) < arguments.trials:

            def follow(progress: Progress, done: int = done) -> None:
                display.training(progress, f"trial {done + 1} of {arguments.trials}")
                interrupt.check(progress)

            def run(settings: dict[str, Any], follow: Any = follow) -> Outcome:
                return run_trial(task, _consistent(settings, task.overrides, suited), follow)

            if done % _TRIALS_PER_CLEARING == 0:
                jax.clear_caches()  # programs of many trials would exhaust the memory maps of the process
            display.stage(f"trial {done + 1} of {arguments.trials}: compiling")
            trial = study.try_next(run)
            _write_best(folder, study)
            out.print(_line(trial, arguments.trials), soft_wrap=True)
            if interrupt.requested:
                raise KeyboardInterrupt


def _write_best(folder: Path, study: Study) -> None:
    """Write the settings of the best trial so far, for `solve` and `compare`."""
    if (toml := study.best_toml) is not None:
        write_bytes(folder / _BEST, toml.encode())


def _consistent(settings: dict[str, Any], given: Mapping[str, Any], suited: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with a final temperature that is not above the first one, which solvers refuse."""
    if "final_temperature" not in suited or "final_temperature" in given:
        return settings
    every = {**suited, **settings}
    return {**settings, "final_temperature": min(every["final_temperature"], every["temperature"])}


def _line(trial: Trial, trials: int) -> str:
    if trial.value is None:
        return f"trial {trial.number} of {trials}: failed: {trial.message}"
    seconds = f"{trial.train_seconds:.1f} s (and {trial.compile_seconds:.1f} s of compilation)"
    return f"trial {trial.number} of {trials}: {number(trial.value)} ({trial.kind}), {trial.steps} updates, {seconds}"


def _result(folder: Path, study: Study, searched: Mapping[str, Space], title: str) -> dict[str, Any]:
    """What result.json holds."""
    trials = study.trials()
    best = best_of(trials)
    return {
        "title": title,
        "search": {name: str(space) for name, space in searched.items()},
        "trials": [trial._asdict() for trial in trials],
        "best": None if best is None else best._asdict(),
        "importances": study.importances,
        "config": str(folder / _BEST),
        "out": str(folder),
        "report": str(folder / "report.html"),
    }


def _table(trials: list[dict[str, Any]]) -> Table:
    """The best trials."""
    table = Table("trial", "exploitability", "updates", "seconds", "settings", box=None, padding=(0, 3, 0, 0))
    measured = sorted((trial for trial in trials if trial["value"] is not None), key=lambda trial: trial["value"])
    for trial in measured[:5]:
        settings = ", ".join(
            f"{name} {number(value) if type(value) is float else value}" for name, value in trial["settings"].items()
        )
        seconds, value = f"{trial['train_seconds']:.1f}", Text(number(trial["value"]), style="bold")
        table.add_row(str(trial["number"]), value, str(trial["steps"]), seconds, settings)
    return table
