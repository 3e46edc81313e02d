"""With `deterministic` the number of devices changes no bit of the parameters, as programs are compiled for users."""

import jax
import numpy as np
import pytest
from helpers.on_devices import NETWORK, vector
from helpers.small_games import SMALL

from structmfg import evaluation, games, policies, solvers
from structmfg.parallel import make_mesh

NAMES = ("beach_bar", "linear_quadratic", "macro")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_fixed_order_of_summation_gives_the_same_bits(name):
    game = games.make(name, **SMALL[name])
    solver = solvers.RSPG(policies.recurrent(game, **NETWORK), num_paths=8, sampling="iid", deterministic=True)
    alone = solvers.solve(game, solver, key=jax.random.key(1), max_steps=4)
    for devices in (2, 8):
        shared = solvers.solve(game, solver, key=jax.random.key(1), max_steps=4, mesh=make_mesh(paths=devices))
        np.testing.assert_array_equal(vector(shared.policy), vector(alone.policy))


def test_a_snapshot_goes_on_with_another_number_of_devices(tmp_path):
    """Two paths on each of four devices, then all on one: to the same bits as on one from the start."""
    game = games.make("beach_bar", **SMALL["beach_bar"])
    policy = policies.recurrent(game, **NETWORK)
    solver = solvers.RSPG(policy, num_paths=8, sampling="iid", deterministic=True)
    whole = solvers.solve(game, solver, key=jax.random.key(0), max_steps=6)

    def stop(progress):
        if progress.step < progress.max_steps:
            raise KeyboardInterrupt

    for mesh, result in ((make_mesh(paths=4), "interrupted"), (None, "completed")):
        with solvers.Snapshots(tmp_path / "snapshots") as snapshots:
            part = solvers.solve(
                game, solver, key=jax.random.key(0), max_steps=6, mesh=mesh, snapshots=snapshots,
                callback=stop if mesh else None, evaluate=lambda _: evaluation.Estimate(0.0, 0.0),
                evaluations=[2, 4],
            )  # fmt: skip
        assert part.result.name == result
    np.testing.assert_array_equal(vector(part.policy), vector(whole.policy))


@pytest.mark.slow
@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_fifty_updates_of_the_games_as_they_are_on_1_2_4_and_8_devices(name, deterministic):
    game = games.make(name)
    found = []
    for devices in (1, 2, 4, 8):
        solver = solvers.RSPG(policies.recurrent(game), num_paths=8, sampling="iid", deterministic=deterministic)
        mesh = make_mesh(paths=devices)
        found.append(vector(solvers.solve(game, solver, key=jax.random.key(0), max_steps=50, mesh=mesh).policy))
    for shared in found[1:]:
        np.testing.assert_allclose(shared, found[0], rtol=0, atol=0 if deterministic else 5e-6)
