"""The plan of a comparison: solvers, seeds, and the number of updates of each solver that fills the clock."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, get_type_hints

import jax

from structmfg import parallel
from structmfg._checks import check_between, check_integer, check_name, check_positive, check_seed
from structmfg._files import check_types, file_error_context, read_json, to_json, write_json
from structmfg.games import Game
from structmfg.reports import game_name
from structmfg.runs import parameters, versions
from structmfg.solvers import RESULTS, SOLVERS, TrainingSolver, TreeSolver, preset
from structmfg.solvers.loop import Progress, solve

FILE = "plan.json"
_TRIAL_SHARE = 0.1  # of the clock: the time of a trial, which does not count
_MIN_TRIAL_SECONDS = 1.0
_MAX_STEPS = 10**6
_FILLED_SHARE = 0.97  # of the clock: the rest is for slower moments, which would cut a schedule short


class ClockPlan(NamedTuple):
    """A plan, as plan.json holds it.

    Attributes:
        game: The name of the game.
        game_parameters: The parameters of the game.
        precision: "float32" or "float64".
        max_seconds: The seconds of training for every solver and seed.
        versions: The versions of this package and its libraries.
        solvers: Names of solvers.
        seeds: The seeds.
        steps: The planned updates, by solver.
        settings: Settings in place of the preset's, by solver.
    """

    game: str
    game_parameters: dict[str, Any]
    precision: str
    max_seconds: float
    versions: dict[str, str]
    solvers: list[str]
    seeds: list[int]
    steps: dict[str, int]
    settings: dict[str, dict[str, Any]] = {}  # noqa: RUF012 (nobody writes into it)


def planned(
    game: Game,
    folder: Path,
    *,
    solvers: Sequence[str],
    seeds: int,
    max_seconds: float,
    log: Callable[[str], None],
    executor: Executor | None,
    make_game: Callable[[], Game],
    settings: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> ClockPlan:
    """The plan in the folder, with the given solvers and seeds added; a new plan where there is none.

    Raises `ValueError` where the folder's plan is for another game, clock, precision or version, or is damaged.
    """
    check_positive("max_seconds", max_seconds)
    check_integer("seeds", seeds, at_least=1)
    if not solvers:
        raise ValueError("solvers must name at least one solver, but is empty")
    for solver in solvers:
        check_name("solver", solver, SOLVERS)
        preset(
            game, solver, **settings.get(solver, {})
        )  # raises before anything is trained where the solver does not suit the game
    precision = "float64" if jax.config.read("jax_enable_x64") else "float32"
    plan = ClockPlan(game_name(game), parameters(game), precision, max_seconds, versions(), [], [], {}, plain(settings))
    if os.path.lexists(folder / FILE):
        plan = _continued(folder, plan)
    solvers = list(dict.fromkeys([*plan.solvers, *solvers]))
    steps = dict(plan.steps)
    new = [solver for solver in solvers if solver not in steps]
    if executor is not None:  # on the workers, as they share a machine
        log(f"timing {', '.join(new)}")
    calls = [(make_game, precision, solver, max_seconds, dict(settings.get(solver, {}))) for solver in new]
    for place, outcome in parallel.outcomes(executor, _time_solver, calls):
        if executor is None:
            log(f"timing {new[place]}")
        steps[new[place]] = outcome()
    plan = plan._replace(solvers=solvers, seeds=sorted({*plan.seeds, *range(seeds)}), steps=steps)
    write_json(folder / FILE, plan._asdict())
    return plan


def _continued(folder: Path, wanted: ClockPlan) -> ClockPlan:
    """The plan in the folder. `ValueError` where it is damaged, or of another comparison than is wanted."""
    saved = read_json(folder / FILE)
    with file_error_context(folder / FILE, "is damaged, choose another folder"):
        required = [field for field in ClockPlan._fields if field not in ClockPlan._field_defaults]
        check_types(saved, get_type_hints(ClockPlan), required=required)
        plan = ClockPlan(**{field: saved[field] for field in ClockPlan._fields if field in saved})
        for solver in {*plan.solvers, *plan.steps}:
            check_name("solver", solver, SOLVERS)
        if missing := set(plan.solvers) - plan.steps.keys():
            raise ValueError(f"it has no steps of {', '.join(sorted(missing))}")
        for seed in plan.seeds:
            check_seed(seed)
        for count in plan.steps.values():
            check_between("steps", check_integer("steps", count, at_least=1), 1, 2**31 - 1)
    for field in ("game", "game_parameters", "precision", "max_seconds", "versions", "settings"):
        given, found = getattr(wanted, field), getattr(plan, field)
        if given != found:
            raise ValueError(
                f"{folder} holds a comparison with another {field.replace('_', ' ')}: {_apart(found, given)}; "
                "choose another folder"
            )
    return plan


def _apart(found: Any, given: Any) -> str:
    """The difference of two plans in one field, in words."""
    if not (isinstance(found, Mapping) and isinstance(given, Mapping)):
        return f"{found} there, {given} now"
    names = [name for name in {**found, **given} if found.get(name) != given.get(name)]
    return ", ".join(f"{name} {found.get(name)} there, {given.get(name)} now" for name in names)


def plain(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The settings as plan.json holds them, with lists in place of tuples."""
    found: dict[str, dict[str, Any]] = json.loads(to_json({name: dict(own) for name, own in settings.items()}))
    return found


def _time_solver(
    make_game: Callable[[], Game], precision: str, solver: str, seconds: float, settings: dict[str, Any]
) -> int:
    """`steps_within` as a task, maybe in another process."""
    with jax.enable_x64(precision == "float64"):
        return steps_within(make_game(), solver, seconds, **settings)


def steps_within(game: Game, solver: str, seconds: float, **settings: Any) -> int:
    """The number of updates that fills so many seconds, by a trial.

    Solvers on a noise tree have no schedule that would have to fill the seconds: more updates than are ever made.
    """
    chosen = preset(game, solver, **settings).solver
    return _MAX_STEPS if isinstance(chosen, TreeSolver) else steps_to_fill(game, chosen, seconds)


def steps_to_fill(
    game: Game, solver: TrainingSolver, seconds: float, *, callback: Callable[[Progress], None] | None = None
) -> int:
    """The number of updates of a solver that fills so many seconds, by a trial of a tenth of them.

    Args:
        game: The game.
        solver: The solver.
        seconds: The seconds of training, without compilation.
        callback: Called on the way. A KeyboardInterrupt that it raises is raised again.
    """
    clock: list[tuple[int, float]] = []

    def follow(progress: Progress) -> None:
        clock.append((progress.step, progress.train_seconds))
        if callback is not None:
            callback(progress)

    seconds_of_trial = max(_TRIAL_SHARE * seconds, _MIN_TRIAL_SECONDS)
    solution = solve(
        game,
        solver,
        key=jax.random.key(0),
        max_steps=_MAX_STEPS,
        max_seconds=seconds_of_trial,
        callback=follow,
        throw=False,
    )
    if callback is not None and solution.result is RESULTS.interrupted:
        raise KeyboardInterrupt
    if not clock:
        return 1
    (first, began), (last, ended) = clock[0], clock[-1]
    pace = (ended - began) / (last - first) if last > first else ended / last  # the first updates are slower
    return max(1, int(_FILLED_SHARE * seconds / pace))
