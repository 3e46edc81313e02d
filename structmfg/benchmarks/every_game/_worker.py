"""The process that runs solvers on an imported game. It writes a file for each solver.

`... -m structmfg.benchmarks.every_game._worker GAME SECONDS FOLDER SOLVER...`. Solvers of this package and of the other
library are measured in one way.
"""

import gc
import sys
from collections.abc import Sequence
from pathlib import Path

import jax

from structmfg._files import write_json
from structmfg.benchmarks.comparison import steps_within
from structmfg.benchmarks.every_game._entry import Entry, check_suits
from structmfg.benchmarks.every_game._imported import file_of, library_of, solvers_of
from structmfg.benchmarks.imports import PeerLibrary
from structmfg.evaluation import exploitability
from structmfg.games import Game
from structmfg.policies import Policy, uniform
from structmfg.solvers import preset, solve


def measured(game: Game, entry: Entry, library: PeerLibrary, max_seconds: float) -> Entry:
    """The entry of an imported game, with what its solver reaches in so many seconds."""
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
    """Measure pairs in double precision, which both libraries compute in. The last error is raised after all pairs."""
    name, seconds, folder, *solvers = argv
    library = library_of(name)
    assert library is not None
    failed: Exception | None = None
    with jax.enable_x64(True):
        game = library.load(name.partition(":")[2])
        for solver in solvers:
            gc.collect()
            gc.freeze()  # what the solvers before have made does not slow down this one's loops
            try:
                found = measured(game, Entry(name, solver, "planned"), library, float(seconds))
            except Exception as error:
                failed = error
                continue
            file = file_of(Path(folder), name, solver)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, {"max_seconds": float(seconds), "entry": found._asdict()})
    if failed is not None:
        raise failed
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
