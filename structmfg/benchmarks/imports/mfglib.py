"""The exact solver on games of MFGLib's beside MFGLib's own solvers, at equal seconds on one machine.

Both are measured by MFGLib's own exploitability score, in double precision. PyTorch has one thread, with which it is
faster here. Seconds here count the import, the compilation and the solve (a second at least, should the import have
taken all). Seconds there count all iterations by MFGLib's own clock, and the least score of any of them is taken.

    python -m structmfg.benchmarks.imports.mfglib --seconds 10 --out runs/mfglib
"""

import importlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from structmfg._files import output_folder
from structmfg.benchmarks._script import script_parser, write_results
from structmfg.benchmarks._tables import table
from structmfg.benchmarks.imports._mfglib import best_within, prepare, solvers
from structmfg.evaluation import rollout
from structmfg.games import Game, from_mfglib
from structmfg.solvers import ExactEquilibrium, solve

GAMES = (
    "beach_bar", "building_evacuation", "conservative_treasure_hunting", "crowd_motion", "equilibrium_price",
    "left_right", "linear_quadratic", "random_linear", "rock_paper_scissors", "susceptible_infected",
)  # fmt: skip
_COLUMNS = {
    "game": "game", "uniform": "uniform policy", "ours": "here", "theirs": "best there", "ratio": "ratio",
    "solver": "which", "method": "method", "seconds": "seconds here", "result": "result",
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = script_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="the limit of wall time")
    parser.add_argument("--games", nargs="+", choices=list(GAMES), default=list(GAMES), metavar="NAME")
    arguments = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    prepare()
    rows, there = [], {}
    with output_folder(arguments.out, "mfglib") as folder:
        for name in arguments.games:
            environment = getattr(importlib.import_module("mfglib.env").Environment, name)()
            there[name] = {each: _least(make, environment, arguments.seconds) for each, make in solvers().items()}
            best = min(there[name], key=lambda each: there[name][each])
            row = {"game": name, "theirs": there[name][best], "solver": best, **_ours(environment, arguments.seconds)}
            row["ratio"] = row["theirs"] / row["ours"] if row["ours"] else None
            rows.append(row)
            print(table(f"{name}: exploitability score", _COLUMNS, [row]), flush=True)
        print(table(f"exploitability score after {arguments.seconds:g} seconds", _COLUMNS, rows))
        write_results(folder, "mfglib", rows=rows, mfglib=there, seconds=arguments.seconds)
    return 0


def _least(make: Callable[[], Any], environment: Any, seconds: float) -> float:
    """The least score of any iteration within so many seconds; infinite where a solver fails."""
    try:
        return best_within(make, environment, seconds).score
    except (ArithmeticError, RuntimeError, ValueError):
        return float("inf")


def _ours(environment: Any, seconds: float) -> dict[str, Any]:
    """The score of the exact solver: the default, and Newton's method where that has not converged in half the time."""
    jax.clear_caches()
    began = time.perf_counter()
    game = from_mfglib(environment)
    found: dict[str, tuple[float, Any]] = {}
    for method in ("auto", "newton"):
        left = seconds - (time.perf_counter() - began)
        if left <= 0 and found:
            break
        share = 0.5 if method == "auto" else 1.0
        try:
            solution = solve(
                game,
                ExactEquilibrium(tolerance=1e-11, method=method),
                max_steps=10**5,
                max_seconds=share * max(left, 1.0),
                throw=False,
            )
        except ValueError:  # too many unknowns for Newton's method
            continue
        found[method] = (_score(environment, game, solution.policy), solution.result.name)
        if solution.result.name == "converged":
            break
    spent = time.perf_counter() - began
    method = min(found, key=lambda each: found[each][0])
    uniform = np.full((game.horizon, game.num_states, game.num_actions), 1 / game.num_actions)
    return {
        "uniform": _score_of_table(environment, uniform),
        "ours": found[method][0],
        "method": method,
        "seconds": spent,
        "result": found[method][1],
    }


def _score(environment: Any, game: Game, policy: Any) -> float:
    paths: Any = game.scenarios()
    return _score_of_table(environment, np.asarray(rollout(game, policy, paths.noise[0]).policy, float))


def _score_of_table(environment: Any, policy: np.ndarray) -> float:
    """MFGLib's measure of a table (T + 1, S, A)."""
    tensor = importlib.import_module("torch").tensor(policy / policy.sum(-1, keepdims=True))
    shaped = tensor.reshape(environment.T + 1, *environment.S, *environment.A)
    return float(importlib.import_module("mfglib.scoring").exploitability_score(environment, shaped))


if __name__ == "__main__":
    raise SystemExit(main())
