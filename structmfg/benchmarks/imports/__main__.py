"""The exact solver on games of OpenSpiel's beside OpenSpiel's own solvers, at equal seconds on one machine.

Every game is imported with `rewards="as_valued"`, as both are measured by OpenSpiel's own NashConv: the policy found
here is exported for it. Seconds here count the import, the compilation and the solve, and are also told apart; there,
all iterations. A limit that import and compilation exceed has no number. The best of OpenSpiel's solvers is the one
with the least NashConv at that limit.

    python -m structmfg.benchmarks.imports --seconds 10 60 --out runs/imports
"""

import time
from collections.abc import Sequence
from typing import Any

import jax

from structmfg._files import output_folder
from structmfg.benchmarks._script import script_parser, write_results
from structmfg.benchmarks._tables import table
from structmfg.benchmarks.imports import _peer as peer
from structmfg.games import OpenSpielGame, from_openspiel
from structmfg.solvers import ExactEquilibrium, solve

GAMES: dict[str, tuple[str, dict[str, Any]]] = {
    "crowd modelling": ("python_mfg_crowd_modelling", {}),
    "crowd modelling, C++": ("mfg_crowd_modelling", {}),
    "periodic aversion": ("python_mfg_periodic_aversion", {}),
    "linear-quadratic": ("mean_field_lin_quad", {}),
    "garnet": ("mfg_garnet", {}),
    "crowd modelling 2d": ("mfg_crowd_modelling_2d", {}),
    "four rooms": ("mfg_crowd_modelling_2d", {"setting": "crowd_modelling_2d_four_rooms"}),
    "maze": ("mfg_crowd_modelling_2d", {"setting": "crowd_modelling_2d_maze"}),
    "routing, line": ("python_mfg_dynamic_routing", {"setting": "dynamic_routing_line"}),
    "routing, Braess": ("python_mfg_dynamic_routing", {"setting": "dynamic_routing_braess"}),
}
_COLUMNS = {
    "game": "game", "limit": "seconds", "ours": "here", "theirs": "best there", "ratio": "ratio", "solver": "which",
    "iterations": "iterations", "import": "import s", "compile": "compile s", "solve": "solve s",
    "within": "within", "result": "result",
}  # fmt: skip
_TOLERANCE, _MAX_STEPS = 1e-11, 10**6


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = script_parser(__doc__)
    parser.add_argument("--seconds", type=float, nargs="+", default=[10.0, 60.0], help="limits of wall time")
    parser.add_argument("--games", nargs="+", choices=list(GAMES), default=list(GAMES), metavar="NAME")
    arguments = parser.parse_args(argv)
    limits = sorted(arguments.seconds)
    jax.config.update("jax_enable_x64", True)
    rows, there = [], {}
    with output_folder(arguments.out, "imports") as folder:
        for name in arguments.games:
            found, measured = _compare(name, limits)
            rows += found
            there[name] = measured
            print(table(f"{name}: NashConv", _COLUMNS, found), flush=True)
        print(table("NashConv at equal seconds", _COLUMNS, rows))
        write_results(folder, "imports", rows=rows, openspiel=there)
    return 0


def _compare(name: str, limits: list[float]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A row for every limit, and what each of OpenSpiel's solvers reached at every limit."""
    openspiel_name, parameters = GAMES[name]
    started = time.perf_counter()
    game = from_openspiel(openspiel_name, rewards="as_valued", **parameters)
    imported, own = time.perf_counter() - started, game.walk.game
    there = {each: peer.after(own, make, limits) for each, make in peer.solvers(own).items()}
    rows = []
    for k, limit in enumerate(limits):
        best = min(there, key=lambda each: there[each][k]["nash_conv"])
        theirs = there[best][k]
        row: dict[str, Any] = {
            "game": name,
            "limit": limit,
            "theirs": theirs["nash_conv"],
            "solver": best,
            "import": imported,
        }
        row |= {"iterations": theirs["iterations"], **_solve(game, limit, imported)}
        row["ratio"] = row["theirs"] / row["ours"] if row["ours"] else None
        rows.append(row)
    return rows, there


def _solve(game: OpenSpielGame, limit: float, imported: float) -> dict[str, Any]:
    """Our NashConv within the limit, which import and compilation count in; and what was spent on what."""
    jax.clear_caches()
    started = time.perf_counter()
    # A first short solve compiles; what remains of the limit is the solve's own.
    solve(game, ExactEquilibrium(tolerance=_TOLERANCE), max_steps=1, throw=False)
    compiled = time.perf_counter() - started
    left = limit - imported - compiled
    solution = solve(
        game,
        ExactEquilibrium(tolerance=_TOLERANCE),
        max_steps=_MAX_STEPS,
        max_seconds=left if left > 0 else limit,
        throw=False,
    )
    spent = float(solution.stats["train_seconds"])
    return {
        "ours": peer.nash_conv(game.walk.game, solution.policy.to_openspiel(game)),
        "compile": compiled,
        "solve": spent,
        "within": "yes" if imported + compiled + spent <= 1.05 * limit else "no",
        "result": solution.result.name,
    }


if __name__ == "__main__":
    raise SystemExit(main())
