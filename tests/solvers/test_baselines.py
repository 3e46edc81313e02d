"""What holds of all solvers that learn from samples: they repeat themselves, say what is not finite, and learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_game import Coin

import structmfg as smfg
from structmfg.solvers import IPPO, RIPPO, MunchausenOMD, exploitability, solve

KEY = jax.random.key(0)
SIZES = {"hidden": 4, "width": 4, "depth": 1, "rank": 2}
PROXIMAL = {"num_populations": 2, "num_agents": 6, "rollout": 8, "num_minibatches": 3}
SMALL = {
    IPPO: PROXIMAL,
    RIPPO: PROXIMAL,
    MunchausenOMD: {
        "num_populations": 2, "num_agents": 6, "num_gradients": 3, "steps_per_gradient": 2, "batch_size": 8,
        "together": 2, "replay_size": 60, "replay_start": 30,
    },
}  # fmt: skip
LEARNING = {
    IPPO: {"rollout": 8, "num_minibatches": 4},
    RIPPO: {"rollout": 8, "num_minibatches": 4},
    MunchausenOMD: {
        "num_gradients": 25, "steps_per_gradient": 2, "batch_size": 512, "together": 16, "replay_size": 20_000,
        "replay_start": 1000, "tau": 1.0, "alpha": 0.95, "final_exploration": 0.02,
    },
}  # fmt: skip
STEPS = {IPPO: 60, RIPPO: 60, MunchausenOMD: 40}


def solver(kind, game, settings):
    network = smfg.policies.recurrent if kind.recurrent else smfg.policies.memoryless
    return kind(network(game, **SIZES), **settings)


@pytest.mark.parametrize("kind", [IPPO, MunchausenOMD])
def test_numbers_depend_on_the_key_alone(kind):
    game = Coin()
    chosen = solver(kind, game, SMALL[kind])
    update = jax.jit(chosen.step, static_argnums=(0, 2))
    runs = [update(game, chosen.init(game, jax.random.key(seed)), 3) for seed in (0, 0, 1)]
    (first, told), (again, told_again), (_, other) = runs
    assert told == told_again != other
    jax.tree.map(np.testing.assert_array_equal, first.parameters, again.parameters)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SMALL)
def test_not_finite_is_raised(kind):
    game = Coin(spoiled_at=2)
    with pytest.raises(RuntimeError, match="not finite"):
        solve(game, solver(kind, game, SMALL[kind]), key=KEY, max_steps=3)


@pytest.mark.parametrize("kind", LEARNING)
def test_learns_left_right(kind):
    """Two thirds go left."""
    game = smfg.games.make("left_right")
    chosen = solver(kind, game, {"num_agents": 64, "learning_rate": 1e-2, **LEARNING[kind]})
    policy = solve(game, chosen, key=KEY, max_steps=STEPS[kind]).policy
    assert float(jax.nn.softmax(policy.unroll(jnp.zeros((1, 2))))[0, 0, 0]) == pytest.approx(2 / 3, abs=0.06)
    assert exploitability(game, policy).value < 0.05  # the uniform policy: 0.25
