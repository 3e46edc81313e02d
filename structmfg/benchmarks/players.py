"""The gain of one player who deviates from a mean-field policy in the game of N players, as N grows.

For every game this trains or computes the policy of a preset, prints its returns and the gain of one player who
deviates by number of players, with the fitted rate, and writes players.json and a figure a game. See
`solvers.players`.

    python -m structmfg.benchmarks.players --cases beach_bar_crowded:exact linear_quadratic:rspg --out runs/players
"""

import time
from collections.abc import Sequence

import jax

from structmfg._files import output_folder
from structmfg.benchmarks._script import script_parser, write_pictures, write_results
from structmfg.benchmarks._tables import table
from structmfg.games import make
from structmfg.reports import draw_players, players_basis, players_object
from structmfg.solvers import preset
from structmfg.solvers.loop import solve
from structmfg.solvers.n_players import PlayersEvaluation, players

CASES = ("beach_bar_crowded:exact", "linear_quadratic:rspg")
PLAYERS = (10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)
_COLUMNS = {
    "num_players": "players", "return": "return", "return_stderr": "±", "mean_field_return": "mean field",
    "gain": "gain", "gain_stderr": "±", "mean_field_gain": "mean field", "games": "games",
}  # fmt: skip


def measure(case: str, sizes: Sequence[int], seed: int) -> list[PlayersEvaluation]:
    """Evaluate the policy of GAME:SOLVER in games of N players, for all sizes N."""
    name, _, chosen = case.partition(":")
    game = make(name)
    solver, steps = preset(game, chosen or "rspg")
    policy = solve(game, solver, key=jax.random.key(seed), max_steps=steps).policy
    return players(game, policy, sizes, key=jax.random.key(seed + 1))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the script; see the module."""
    parser = script_parser(__doc__)
    parser.add_argument("--cases", nargs="+", default=list(CASES), metavar="GAME:SOLVER")
    parser.add_argument("--players", nargs="+", type=int, default=list(PLAYERS), metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    results = {}
    with output_folder(options.out, "players") as folder:
        for case in options.cases:
            began = time.perf_counter()
            evaluations = measure(case, options.players, options.seed)
            seconds = time.perf_counter() - began
            results[case] = {**players_object(evaluations), "seconds": seconds}
            print(table(f"{case} ({seconds:.0f} s, the solve among them)", _COLUMNS, results[case]["players"]))
            print(f"  {players_basis(evaluations)}\n", flush=True)
            picture = draw_players(case.replace(":", ", "), evaluations)
            write_pictures(folder, [picture._replace(name=f"{picture.name}-{case.replace(':', '-')}")])
        write_results(folder, "players", seed=options.seed, cases=results)


if __name__ == "__main__":
    main()
