"""What holds of all solvers that learn from samples: they repeat themselves, say what is not finite, and learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_game import Coin
from helpers.tiny_solvers import SMALL, tiny_solver

import structmfg as smfg
from structmfg.solvers import IPPO, RIPPO, SOLVERS, MunchausenOMD, exploitability, preset, solve

KEY = jax.random.key(0)
PROXIMAL = {"num_populations": 8, "rollout": 8, "num_minibatches": 4}
LEARNING = {
    IPPO: (60, PROXIMAL),
    RIPPO: (60, PROXIMAL),
    MunchausenOMD: (40, {
        "num_populations": 8, "num_gradients": 25, "steps_per_gradient": 2, "batch_size": 512,
        "agents_per_observation": 16, "replay_size": 20_000, "replay_start": 1000, "tau": 1.0, "alpha": 0.95,
        "final_exploration": 0.02,
    }),
}  # fmt: skip


# `test_snapshots.py` has a run of M-OMD end in the same numbers again.
@pytest.mark.slow
@pytest.mark.parametrize("kind", [IPPO, MunchausenOMD])
def test_numbers_depend_on_the_key_alone(kind):
    game = Coin()
    solver = tiny_solver(kind, game)
    update = jax.jit(solver.step, static_argnums=(0, 2))
    runs = [update(game, solver.init(game, jax.random.key(seed)), 3) for seed in (0, 0, 1)]
    (first, metrics), (again, metrics_again), (_, other) = runs
    assert metrics == metrics_again != other
    jax.tree.map(np.testing.assert_array_equal, first.parameters, again.parameters)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SMALL)
def test_not_finite_is_raised(kind):
    game = Coin(spoiled_at=2)
    with pytest.raises(RuntimeError, match="not finite"):
        solve(game, tiny_solver(kind, game), key=KEY, max_steps=3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", LEARNING)
def test_learns_left_right(kind):
    """Two thirds go left."""
    game = smfg.games.make("left_right")
    max_steps, settings = LEARNING[kind]
    solver = tiny_solver(kind, game, num_agents=64, learning_rate=1e-2, **settings)
    policy = solve(game, solver, key=KEY, max_steps=max_steps).policy
    assert float(jax.nn.softmax(policy.unroll(jnp.zeros((1, 2))))[0, 0, 0]) == pytest.approx(2 / 3, abs=0.06)
    assert exploitability(game, policy).value < 0.05  # the uniform policy: 0.25


@pytest.mark.parametrize("name", ["ippo", "rippo", "m_omd", "rspg_gae"])
@pytest.mark.parametrize("game", ["linear_quadratic", "beach_bar", "macro"])
def test_presets(game, name):
    chosen = preset(smfg.games.make(game), name, max_steps=7)
    assert chosen.max_steps == 7
    assert type(chosen.solver) is SOLVERS[name]
    ordered = game == "macro" and name != "m_omd"
    assert chosen.solver.policy.settings.head == ("ordered" if ordered else "categorical")
    if name == "rspg_gae":
        assert chosen.solver.temperature > 0
    else:
        assert preset(smfg.games.make(game), name, num_agents=16).solver.num_agents == 16
