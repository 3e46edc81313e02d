"""Every solver, and games of N players, on a tiny game that declares all that a game can."""

import dataclasses

import jax
import numpy as np
import pytest
from helpers.declared_games import PARTS, tiny_game

from structmfg.evaluation import exploitability, policy_values, rollout
from structmfg.policies import uniform
from structmfg.solvers import SOLVERS, players, preset, solve
from structmfg.solvers.loop import estimate_memory
from structmfg.verification import laws, verify

SMALL = {
    "ippo": {"num_populations": 2, "num_agents": 32, "rollout": 6, "num_minibatches": 2},
    "rippo": {"num_populations": 2, "num_agents": 32, "rollout": 6, "num_minibatches": 2},
    "m_omd": {
        "num_populations": 2, "num_agents": 32, "num_gradients": 4, "steps_per_gradient": 2, "batch_size": 64,
        "replay_size": 4096, "replay_start": 256, "agents_per_observation": 1,
    },
    "tabular_spg": {"bins": (3, 2, 3, 3), "lowest": (0.0, 0.0, 0.0, -1.0), "highest": (1.0, 1.0, 1.0, 1.0)},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SOLVERS.keys() - {"stationary"}))
def test_every_solver_runs(name):
    """And plays only what is allowed: else its exploitability would be huge, or a number that is none."""
    game = tiny_game(*PARTS)
    chosen = preset(game, name, **SMALL.get(name, {}))
    if name in ("mf_omo", "occupation_inclusion"):
        with pytest.raises(ValueError, match="interact through the mean field alone, but Tiny declares"):
            solve(game, chosen.solver, max_steps=3)
        game = tiny_game("allowed")
    assert estimate_memory(game, chosen.solver, max_steps=3).total > 0
    solution = solve(game, chosen.solver, max_steps=3, key=jax.random.key(0), throw=False)
    assert solution.result.name in ("completed", "not_converged")
    value = exploitability(game, solution.policy, kind="non_anticipative").value
    assert 0 <= value < 3 * exploitability(game, uniform(game), kind="non_anticipative").value


@pytest.mark.slow
def test_many_players_come_near_to_the_mean_field(double):
    """Their returns and gains; what one player changes of public state, actions and price is said to be left out."""
    game = tiny_game(*PARTS)
    few, many = players(game, uniform(game), [20, 400], key=jax.random.key(0), num_games=200)
    assert "own weight" in many.neglected
    limit = exploitability(game, uniform(game), kind="non_anticipative").value
    assert many.mean_field_gain == pytest.approx(limit, abs=1e-10)
    for found in (few, many):
        assert (
            abs(found.mean_return.value - found.mean_field_return)
            < 4 * found.mean_return.stderr + 4 / found.num_players
        )
    assert abs(many.gain.value - limit) < 4 * many.gain.stderr + 0.02
    with pytest.raises(ValueError, match="not available where a game declares actions, price, public"):
        players(game, uniform(game), [3], deviator="full")


@pytest.mark.slow
def test_verify_passes_and_names_what_is_wrong():
    game = tiny_game(*PARTS)
    assert verify(game).passed

    def without_jump(self, aggregate, price, joint):
        return np.sign(0.1) * (price - 9.0)

    wrong = type("NeverClears", (type(game),), {"excess_demand": without_jump})(1.0)
    failed = [result for result in verify(wrong).results if not result.passed]
    assert any("market 0 has no price" in result.where for result in failed)


@pytest.mark.slow
@pytest.mark.parametrize("leak", [None, "actions", "public"])
def test_a_gradient_through_what_the_population_does_is_caught(leak):
    """By the law that `verify` checks; a price is found by a loop that reverse mode cannot pass at all."""
    game = tiny_game("public", "actions")

    def loss_gradient(solver, game, parameters, trajectories, paths):
        def loss(parameters):
            policy = solver.policy.with_parameters(parameters)

            def along(held, noise):
                moved = rollout(game, policy, noise).aggregates
                aggregates = dataclasses.replace(held.aggregates, **({leak: getattr(moved, leak)} if leak else {}))
                table = jax.nn.softmax(policy.unroll(held.observations))
                return aggregates.mean_field[0] @ policy_values(game, aggregates, table)[0]

            return -paths.probabilities @ jax.vmap(along)(trajectories, paths.noise)

        return jax.grad(loss, allow_int=True)(parameters)

    result = laws.no_gradient_through_the_mean_field(game, jax.random.key(0), loss_gradient=loss_gradient)
    assert result.passed == (leak is None), result
