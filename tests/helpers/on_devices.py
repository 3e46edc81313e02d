"""What tests on several devices share; `python -m helpers.on_devices FOLDER` is one of two processes of a training."""

import sys
from pathlib import Path

import jax
import numpy as np

from helpers.small_games import SMALL
from structmfg import evaluation, games, parallel, policies, solvers

NETWORK = {"hidden": 4, "width": 4, "depth": 1, "rank": 3}


def vector(policy):
    """All parameters of a policy as one vector."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(policy.parameters)])


def training():
    """A game, and a solver of it."""
    game = games.make("beach_bar", **SMALL["beach_bar"])
    return game, solvers.RSPG(policies.recurrent(game, **NETWORK), num_paths=8, sampling="iid")


def main(folder):
    parallel.join()
    game, solver = training()
    mesh = parallel.make_mesh(paths=jax.device_count())
    try:
        solvers.solve(game, solver, key=jax.random.key(jax.process_index()), max_steps=4, mesh=mesh)
    except ValueError as error:
        print(error)

    def interrupt(progress):
        if jax.process_index() == 1 and progress.step == 2:
            raise KeyboardInterrupt

    first, key = parallel.is_first(), jax.random.key(1)
    where = folder / "snapshots" if first else folder / "nothing"
    options = {"max_steps": 4, "mesh": mesh, "evaluations": [2, 4], "max_seconds": 1000.0}
    options["evaluate"] = lambda policy: evaluation.exploitability(game, policy)
    for callback in (interrupt, None):
        with solvers.Snapshots(where) as snapshots:
            solution = solvers.solve(game, solver, key=key, callback=callback, snapshots=snapshots, **options)
        print(solution.result.name, solution.stats["steps"])
    np.savez(
        folder / f"{jax.process_index()}.npz",
        policy=vector(solution.policy),
        **solution.stats["checkpoints"][-1]._asdict(),
    )
    parallel.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
