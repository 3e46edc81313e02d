"""What `structmfg solve` takes of memory: the solve, the evaluation, the anchors and the trajectories; and refusals."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp

from structmfg._memory import memory_left, no_more_memory
from structmfg.evaluation import Information
from structmfg.games import Game
from structmfg.policies import Policy, TreePolicy
from structmfg.reports import HELD_OUT_PATHS, game_name, kept_times, quantities_along, shown_paths
from structmfg.solvers import TrainingSolver, TreeSolver
from structmfg.solvers.exact import ExactEquilibrium
from structmfg.solvers.loop import (
    ONE_BY_ONE,
    MemoryEstimate,
    Meter,
    least_bytes,
    meter_clairvoyant,
    meter_informed,
    meter_solve,
    meter_tree_solve,
    too_much,
)

Solver = TrainingSolver | TreeSolver

_SMALL = ONE_BY_ONE + 3 * 2**26  # the evaluation and the drawing too, as measured on linear_quadratic
_FILLED = 0.8  # of the room, by a suggestion
_GUESS = 8  # what a run takes, in lower bounds, where it has not been estimated
_TRIES = 3  # estimates of a setting
_SETTINGS = 2  # that are tried


def estimate_run(
    game: Game, solver: Solver, *, max_steps: int, num_seeds: int | None = None, draft: bool = False
) -> MemoryEstimate:
    """Of a solve with all that `structmfg solve` measures, draws and writes.

    `num_seeds` are trained side by side, None stands for one alone. A `draft` takes less time, but its programs are not
    those of the run.

    Raises `ValueError` where the solver needs a noise tree, and the game's noise has none that fits.
    """
    if (refused := too_much(least_bytes(game, solver, evaluated=True))) is not None:
        return refused
    meter = Meter(draft=draft)
    policy = meter_solve(meter, game, solver, max_steps, num_seeds)
    _meter_evaluation(meter, game, policy, "evaluation")
    information = solver.information if isinstance(solver, TreeSolver) else "public"
    _meter_floor(meter, game, information)
    shown = shown_paths(game).paths
    times = jnp.asarray(kept_times(game, shown.num_paths))
    kept = meter.run("trajectories", quantities_along, game, policy, shown.noise, times, beside=policy)
    meter.note("trajectories", policy, kept, kept)  # as they are, and as they are written
    return meter.estimate(_SMALL)


def _meter_evaluation(meter: Meter, game: Game, policy: Policy, phase: str) -> None:
    meter_clairvoyant(meter, game, policy, HELD_OUT_PATHS, phase)
    if game.scenarios() is None:
        return
    informed = isinstance(policy, TreePolicy) and policy.informed
    for information in ("full",) if informed else ("full", "public"):
        try:
            meter_informed(meter, game, policy, information, phase)  # type: ignore[arg-type]
        except ValueError:  # no tree that fits: nothing is measured
            continue


def _meter_floor(meter: Meter, game: Game, information: Information) -> None:
    """The exact equilibrium, and what evaluates it."""
    try:
        policy = meter_tree_solve(meter, game, ExactEquilibrium(information=information), "floor")
    except ValueError:  # no noise tree, or none that fits
        return
    _meter_evaluation(meter, game, policy, "floor")


# Refusals.


class _Setting(NamedTuple):
    """A whole number that a game or a solver is made with, and what they are with another one."""

    name: str
    value: int
    usual: int
    of_game: bool
    make: Callable[[int], tuple[Game, Solver]]


def check_memory(
    game: Game,
    solver: Solver,
    *,
    max_steps: int,
    num_seeds: int | None = None,
    fitted: Callable[[Game], Solver] | None = None,
    estimate: Callable[..., MemoryEstimate] = estimate_run,
) -> MemoryEstimate:
    """The estimate of a run; `ValueError` if it does not fit, with the numbers and a smaller setting that would.

    The setting is the one that is furthest above its default; none is sought where arrays of the game's own, which no
    program tells of, are too large already. `fitted` gives the solver for the game of another size,
    as a network is bound to a game; without it only settings of the solver, or a solver on trees, can be made smaller.
    """
    steps: dict[str, Any] = {"max_steps": max_steps, "num_seeds": num_seeds}
    size = f"{game_name(game)} with {game.num_states} states, {game.num_actions} actions and {game.horizon} steps"
    available = memory_left()
    try:
        with no_more_memory():
            found = estimate(game, solver, **steps)
    except MemoryError as error:  # by arrays of the game's own
        raise ValueError(f"{size} needs more than the {gibibytes(available)} of memory that are available") from error
    if found.fits:
        return found
    about = "about" if found.exact else "at least"
    message = f"{size} needs {about} {gibibytes(found.total)} of memory, but {gibibytes(found.available)} are available"
    smaller = _smaller(game, solver, fitted, found, lambda *made: estimate(*made, **steps, draft=True))
    raise ValueError(f"{message}; {smaller}" if smaller else message)


def gibibytes(count: float) -> str:
    """Bytes in words."""
    return f"{count / 2**30:.3g} GiB" if count < 2**40 else f"{count / 2**40:.3g} TiB"


def _smaller(
    game: Game,
    solver: Solver,
    fitted: Callable[[Game], Solver] | None,
    found: MemoryEstimate,
    estimate: Callable[[Game, Solver], MemoryEstimate],
) -> str | None:
    """A setting that fits, as it has been estimated."""
    settings = [*_of_game(game, solver, fitted)]
    if found.phase == "training" or not found.exact:
        settings += _of_solver(game, solver)
    settings.sort(key=lambda setting: -setting.value / setting.usual)
    for setting in settings[:_SETTINGS]:
        value = _guess(setting, found)
        for _ in range(_TRIES):
            try:
                tried = estimate(*setting.make(value))
            except ValueError:  # not a setting that the game or the solver takes
                break
            if tried.fits:
                return f"{setting.name}={value} would need {gibibytes(tried.total)}"
            value = _guess(setting._replace(value=value), tried)
    return None


def _share(found: MemoryEstimate) -> float:
    """Of the arrays, so many fit."""
    return _FILLED * max(found.available - found.process, 0) / (found.arrays * (1 if found.exact else _GUESS))


def _guess(setting: _Setting, found: MemoryEstimate) -> int:
    """The largest smaller value at which the lower bound has come down by the share that fits, by bisection."""
    share = _share(found)
    if not setting.of_game:
        return _rounded(setting.value * share)
    allowed = share * least_bytes(*setting.make(setting.value), evaluated=True)
    low, high = 1, setting.value
    while high - low > 1 + low // 64:
        middle = (low + high) // 2
        try:
            fits = least_bytes(*setting.make(middle), evaluated=True) <= allowed
        except ValueError:  # too small for the game
            fits = True
        low, high = (middle, high) if fits else (low, middle)
    return _rounded(low)


def _rounded(value: float) -> int:
    """Down to two digits, and to an even number where it has more than one."""
    whole = max(1, int(value))
    unit = 10 ** max(0, len(str(whole)) - 2)
    rounded = whole // unit * unit
    return rounded - rounded % 2 if rounded > 9 else rounded


def _integers(made: Any) -> Iterator[tuple[str, int, int]]:
    """The whole numbers that a dataclass was made with: name, value, default."""
    for field in dataclasses.fields(made) if dataclasses.is_dataclass(made) else ():
        value: Any = getattr(made, field.name)
        usual: Any = field.default
        if all(isinstance(number, int) and not isinstance(number, bool) and number > 0 for number in (value, usual)):
            yield field.name, value, usual


def _of_game(game: Game, solver: Solver, fitted: Callable[[Game], Solver] | None) -> Iterator[_Setting]:
    """Those of a game that make it smaller."""
    if fitted is None:
        if not isinstance(solver, TreeSolver):
            return
        fitted = lambda _: solver  # noqa: E731
    whole = least_bytes(game, solver, evaluated=True)
    for name, value, usual in _integers(game):

        def make(value: int, name: str = name) -> tuple[Game, Solver]:
            smaller = dataclasses.replace(game, **{name: value})  # type: ignore[type-var]
            return smaller, fitted(smaller)

        try:
            less = least_bytes(*make(max(1, value // 2)), evaluated=True) < whole
        except ValueError:
            continue
        if less:
            yield _Setting(name, value, usual, True, make)


def _of_solver(game: Game, solver: Solver) -> Iterator[_Setting]:
    """Those of a solver that are larger than they usually are."""
    for name, value, usual in _integers(solver):
        if value > usual:

            def make(value: int, name: str = name) -> tuple[Game, Solver]:
                changed: dict[str, Any] = {name: value}
                return game, dataclasses.replace(solver, **changed)

            yield _Setting(name, value, usual, False, make)
