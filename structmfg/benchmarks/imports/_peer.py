"""OpenSpiel's own solvers of mean field games, run for a number of seconds, and its measure of a policy."""

import importlib
import math
import time
from collections.abc import Callable
from typing import Any

_MODULES = "open_spiel.python.mfg.algorithms."


def solvers(game: Any) -> dict[str, Callable[[], Any]]:
    """The solvers that this library has for any game, by name, each with an `iteration` and a `get_policy`."""

    def kind(module: str, name: str) -> Any:
        return getattr(importlib.import_module(_MODULES + module), name)

    return {
        "fictitious play": lambda: kind("fictitious_play", "FictitiousPlay")(game),
        "mirror descent, rate 0.01": lambda: kind("mirror_descent", "MirrorDescent")(game),
        "mirror descent, rate 1": lambda: kind("mirror_descent", "MirrorDescent")(game, lr=1.0),
        "Munchausen mirror descent, rate 1": lambda: kind("munchausen_mirror_descent", "MunchausenMirrorDescent")(
            game, lr=1.0
        ),
        "Boltzmann policy iteration": lambda: kind("boltzmann_policy_iteration", "BoltzmannPolicyIteration")(game),
        "fixed point, temperature 1": lambda: kind("fixed_point", "FixedPoint")(game, temperature=1.0),
    }


def nash_conv(game: Any, policy: Any) -> float:
    """OpenSpiel's measure of a policy."""
    return float(importlib.import_module(_MODULES + "nash_conv").NashConv(game, policy).nash_conv())


def after(game: Any, make: Callable[[], Any], seconds: list[float]) -> list[dict[str, float]]:
    """NashConv and iterations of a solver after each number of seconds; measuring does not count.

    A solver that raises an error on a game, as some do where a node is not in its table, has an infinite NashConv.
    """
    try:
        return _after(game, make, seconds)
    except (KeyError, ValueError, AssertionError) as error:
        print(f"a solver of OpenSpiel's failed: {type(error).__name__}: {error!s:.80}")
        return [{"nash_conv": math.inf, "iterations": 0, "spent": limit} for limit in seconds]


def _after(game: Any, make: Callable[[], Any], seconds: list[float]) -> list[dict[str, float]]:
    solver, spent, iterations, rows = make(), 0.0, 0, []
    for limit in seconds:
        spent, more = iterate(solver, limit, spent)
        iterations += more
        rows.append({"nash_conv": nash_conv(game, solver.get_policy()), "iterations": iterations, "spent": spent})
    return rows


def iterate(solver: Any, limit: float, spent: float = 0.0) -> tuple[float, int]:
    """Go on with a solver until its seconds are spent; the seconds then, and the number of these iterations."""
    iterations = 0
    while spent < limit:
        started = time.perf_counter()
        solver.iteration()
        spent += time.perf_counter() - started
        iterations += 1
    return spent, iterations
