"""The process of one solver on an imported game, which writes what it found into a file.

`... -m structmfg.benchmarks.every_game._worker GAME SOLVER SECONDS FILE`. Solvers of this package and of the other
library are measured in one way.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import jax

from structmfg._files import write_json
from structmfg.benchmarks.comparison import steps_within
from structmfg.benchmarks.every_game._entry import Entry, check_suits
from structmfg.benchmarks.every_game._imported import library_of, solvers_of
from structmfg.benchmarks.imports import PeerLibrary
from structmfg.evaluation import exploitability
from structmfg.games import Game
from structmfg.policies import Policy, uniform
from structmfg.solvers import preset, solve


def measured(entry: Entry, library: PeerLibrary, max_seconds: float) -> Entry:
    """The entry of an imported game, with what its solver reaches in so many seconds."""
    game = library.load(entry.game.partition(":")[2])
    if entry.solver in solvers_of(library):
        trained = library.train(game, entry.solver.removeprefix(f"{library.name}: "), max_seconds)
        return entry._replace(
            status="ok",
            excess=_gain(game, trained.policy),
            uniform=_gain(game, uniform(game)),
            result="time_limit",
            train_seconds=trained.seconds,
            steps=trained.iterations,
        )
    try:
        check_suits(game, entry.solver)
    except ValueError as error:
        return entry._replace(status="not for it", reason=str(error))
    solution = solve(
        game,
        preset(game, entry.solver).solver,
        key=jax.random.key(0),
        max_steps=steps_within(game, entry.solver, max_seconds),
        max_seconds=max_seconds,
        throw=False,
    )
    return entry._replace(
        status="ok",
        excess=_gain(game, solution.policy),
        uniform=_gain(game, uniform(game)),
        result=solution.result.name,
        train_seconds=solution.stats["train_seconds"],
        compile_seconds=solution.stats["compile_seconds"],
        steps=solution.stats["steps"],
    )


def _gain(game: Game, policy: Policy) -> float:
    return exploitability(game, policy, kind="non_anticipative").value


def main(argv: Sequence[str]) -> int:
    """Measure one pair in double precision, which both libraries compute in."""
    game, solver, seconds, file = argv
    library = library_of(game)
    assert library is not None
    with jax.enable_x64(True):
        found = measured(Entry(game, solver, "planned"), library, float(seconds))
    write_json(Path(file), {"max_seconds": float(seconds), "entry": found._asdict()})
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
