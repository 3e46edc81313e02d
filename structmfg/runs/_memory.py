"""The memory that `structmfg solve` needs, with evaluation, floor and trajectories; refusals of what does not fit."""

import bisect
import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp

from structmfg._flags import own_rules
from structmfg._memory import memory_left, no_more_memory
from structmfg.evaluation import Information
from structmfg.games import Game
from structmfg.policies import Policy, TreePolicy
from structmfg.reports import HELD_OUT_PATHS, game_name, keeps_gains, kept_times, quantities_along, shown_paths
from structmfg.solvers import TrainingSolver, TreeSolver
from structmfg.solvers.exact import ExactEquilibrium
from structmfg.solvers.loop import (
    SMALL_PROGRAMS,
    MemoryEstimate,
    MemoryProfiler,
    least_bytes,
    profile_clairvoyant,
    profile_informed,
    profile_solve,
    profile_stationary_solve,
    profile_tree_solve,
    refuse_at_once,
)

AnySolver = TrainingSolver | TreeSolver

_SMALL_PROGRAMS = SMALL_PROGRAMS + 6 * 2**26  # bytes: evaluation, checks and drawing too, measured on seven games
_FILLED = 0.8  # the share of the memory left that a suggested setting fills
_LOWER_BOUNDS = 8  # a run that has not been estimated takes about so many times the lower bound
_SQUARE_BELOW = 1 / 64  # where so small a share would fit, some matrix is taken to have the square of the size
_MAX_SETTINGS, _MAX_TRIES = 2, 4  # settings that are made smaller, and estimates of each


@own_rules()
def estimate_run(
    game: Game, solver: AnySolver, *, max_steps: int, num_seeds: int | None = None, fast_compile: bool = False
) -> MemoryEstimate:
    """The memory that a solve needs, with all that `structmfg solve` measures, draws and writes.

    Args:
        game: The game.
        solver: The solver.
        max_steps: The number of planned steps.
        num_seeds: How many trainings run side by side; None for one alone.
        fast_compile: Whether to take less time, for programs that are not those of the run.

    Returns:
        The estimate, in bytes.

    Raises:
        ValueError: The solver needs a noise tree, and the game has none that fits.
    """
    if (refused := refuse_at_once(least_bytes(game, solver, evaluated=True))) is not None:
        return refused
    profiler = MemoryProfiler(fast_compile=fast_compile)
    if game.horizon is None:
        profile_stationary_solve(profiler, game)
        return profiler.estimate(_SMALL_PROGRAMS)
    policy = profile_solve(profiler, game, solver, max_steps, num_seeds)
    _profile_evaluation(profiler, game, policy, "evaluation")
    information = solver.information if isinstance(solver, TreeSolver) else "public"
    with contextlib.suppress(ValueError):  # no noise tree, or none that fits: there is no floor
        equilibrium = profile_tree_solve(profiler, game, ExactEquilibrium(information=information), "floor")
        _profile_evaluation(profiler, game, equilibrium, "floor")
    shown = shown_paths(game).paths
    times, actions = jnp.asarray(kept_times(game, shown.num_paths)), jnp.zeros(game.num_actions)
    kept = profiler.call("trajectories", quantities_along, game, policy, shown.noise, times, actions, held=policy)
    profiler.record("trajectories", policy, kept, kept)  # as they are, and as they are written
    return profiler.estimate(_SMALL_PROGRAMS)


def _profile_evaluation(profiler: MemoryProfiler, game: Game, policy: Policy, phase: str) -> None:
    at_all_times = phase == "evaluation" and keeps_gains(game, HELD_OUT_PATHS)
    profile_clairvoyant(profiler, game, policy, HELD_OUT_PATHS, phase, at_all_times=at_all_times)
    if game.scenarios() is None:
        return
    informed = isinstance(policy, TreePolicy) and policy.informed
    kinds: tuple[Information, ...] = ("full",) if informed else ("full", "public")
    for information in kinds:
        with contextlib.suppress(ValueError):  # no tree that fits: nothing is measured
            profile_informed(profiler, game, policy, information, phase)


class _Setting(NamedTuple):
    """A whole number that a game or a solver is made with, its default, and both made with another number."""

    name: str
    value: int
    default: int
    of_game: bool
    make: Callable[[int], tuple[Game, AnySolver]]

    def least_bytes(self, value: int) -> int:
        """The lower bound of what a run with another number needs; zero where the game or solver refuses it."""
        try:
            return least_bytes(*self.make(value), evaluated=True)
        except ValueError:
            return 0


def check_memory(
    game: Game,
    solver: AnySolver,
    *,
    max_steps: int,
    num_seeds: int | None = None,
    fitted: Callable[[Game], AnySolver] | None = None,
    estimate: Callable[..., MemoryEstimate] = estimate_run,
) -> MemoryEstimate:
    """The estimate of a run, or an error with the numbers and a smaller setting that would fit.

    The setting is the one that is furthest above its default. None is sought where arrays of the game's own, which are
    in no program, are too large already.

    Args:
        game: The game.
        solver: The solver.
        max_steps: The number of planned steps.
        num_seeds: How many trainings run side by side; None for one alone.
        fitted: Makes the solver for the game of another size, as a network is bound to a game. Without it only
            settings of the solver, or the game of a solver on trees, can be made smaller.
        estimate: Estimates a run, as `estimate_run` does.

    Returns:
        The estimate, in bytes.

    Raises:
        ValueError: The run does not fit into the memory that is available.
    """
    steps: dict[str, Any] = {"max_steps": max_steps, "num_seeds": num_seeds}
    steps_of_game = "infinitely many" if game.horizon is None else game.horizon
    size = f"{game_name(game)} with {game.num_states} states, {game.num_actions} actions and {steps_of_game} steps"
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
    smaller = _smaller(game, solver, fitted, found, lambda *made: estimate(*made, **steps, fast_compile=True))
    raise ValueError(f"{message}; {smaller}" if smaller else message)


def gibibytes(count: float) -> str:
    """A number of bytes in words, such as "1.5 GiB"."""
    return f"{count / 2**30:.3g} GiB" if count < 2**40 else f"{count / 2**40:.3g} TiB"


def _smaller(
    game: Game,
    solver: AnySolver,
    fitted: Callable[[Game], AnySolver] | None,
    found: MemoryEstimate,
    estimate: Callable[[Game, AnySolver], MemoryEstimate],
) -> str | None:
    """In words, a setting that was estimated to fit; None where none was found."""
    of_solver = found.phase == "training" or not found.exact
    settings = [setting for setting in _settings(game, solver, fitted) if setting.of_game or of_solver]
    settings.sort(key=lambda setting: -setting.value / setting.default)
    for setting in settings[:_MAX_SETTINGS]:
        value = _guess(setting, found)
        for _ in range(_MAX_TRIES):
            try:
                tried = estimate(*setting.make(value))
            except ValueError:  # the game does not take it, or its noise tree is larger than any solver takes
                value = _rounded(value / 2)
                continue
            if tried.fits:
                return f"{setting.name}={value} would need {gibibytes(tried.total)}"
            value = _guess(setting._replace(value=value), tried)
    return None


def _settings(game: Game, solver: AnySolver, fitted: Callable[[Game], AnySolver] | None) -> Iterator[_Setting]:
    """The settings of a game that make it smaller, and those of a solver that are above their defaults."""

    def with_game(name: str, value: int) -> tuple[Game, AnySolver]:
        smaller = dataclasses.replace(game, **{name: value})  # type: ignore[type-var]
        return smaller, fitted(smaller) if fitted else solver

    def with_solver(name: str, value: int) -> tuple[Game, AnySolver]:
        changed: dict[str, Any] = {name: value}
        return game, dataclasses.replace(solver, **changed)

    whole = least_bytes(game, solver, evaluated=True)
    for name, value, default in _integers(game) if fitted or isinstance(solver, TreeSolver) else ():
        setting = _Setting(name, value, default, True, functools.partial(with_game, name))
        if 0 < setting.least_bytes(max(1, value // 2)) < whole:
            yield setting
    for name, value, default in _integers(solver):
        if value > default:
            yield _Setting(name, value, default, False, functools.partial(with_solver, name))


def _guess(setting: _Setting, found: MemoryEstimate) -> int:
    """The largest smaller value at which the lower bound has come down by the share that fits."""
    needed = found.arrays * (1 if found.exact else _LOWER_BOUNDS)
    share = _FILLED * max(found.available - found.process, 0) / needed
    if found.exact and share < _SQUARE_BELOW:
        share **= 0.5
    if not setting.of_game:
        return _rounded(setting.value * share)
    allowed = share * setting.least_bytes(setting.value)
    return _rounded(bisect.bisect(range(1, setting.value + 1), allowed, key=setting.least_bytes))


def _rounded(value: float) -> int:
    """The number rounded down to two digits, and to an even number where it has more than one digit."""
    whole = max(1, int(value))
    unit = 10 ** max(0, len(str(whole)) - 2)
    rounded = whole // unit * unit
    return rounded - rounded % 2 if rounded > 9 else rounded


def _integers(made: Any) -> Iterator[tuple[str, int, int]]:
    """Name, value and default of the positive whole numbers that a dataclass was made with."""
    for field in dataclasses.fields(made) if dataclasses.is_dataclass(made) else ():
        value: Any = getattr(made, field.name)
        default: Any = field.default
        if type(value) is type(default) is int and min(value, default) > 0:
            yield field.name, value, default
