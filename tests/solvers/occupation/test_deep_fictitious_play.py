"""Deep fictitious play: its average network's loss against plain NumPy, and games with a known answer."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import numpy_classical
from helpers.tiny_game import Jammed

import structmfg as smfg
from structmfg.solvers import DeepFictitiousPlay, exploitability, solve

NETWORK = {"hidden": 8, "width": 8, "depth": 1, "rank": 4}


def test_loss_of_the_average_network(double):
    """Minus the expected log-probability under the former policy and the response, mixed three to one."""
    game, noise = Jammed(revealed=1), jnp.array([0, 1, 1, 1])
    model = numpy_classical.CrossedCoin(1, True)
    shape = smfg.policies.recurrent(game, **NETWORK)
    former, response, average = (shape.initialised(jax.random.key(i)) for i in range(3))
    solver = DeepFictitiousPlay(shape)
    path = smfg.solvers.rollout(game, former, noise)
    loss = jax.jit(solver.average_loss, static_argnums=0)(game, average, response, path, jnp.asarray(0.25))

    @jax.jit
    def table(policy):
        hidden = policy.histories(path.observations, policy.start(), jnp.asarray(0))
        return jax.nn.softmax(jax.vmap(lambda h: policy.decode(policy.prepare(), h))(hidden))

    former_table, answers, averages = (np.asarray(table(policy)) for policy in (former, response, average))
    expected, own = 0.0, model.start
    for t, (mu, z) in enumerate(zip(np.asarray(path.aggregates.mean_field[:3]), np.asarray(noise), strict=False)):
        mixed = 0.75 * mu[:, None] * former_table[t] + 0.25 * own[:, None] * answers[t]
        expected -= model.discount**t * (mixed * np.log(averages[t])).sum()
        own = np.einsum("s,sa,sap->p", own, answers[t], model.dense(mu, z, t))
    assert float(loss) == pytest.approx(expected, rel=1e-9)


@pytest.mark.slow
def test_two_sides():
    """Best responses jump from side to side; their average goes left two times in three."""
    game = smfg.games.make("left_right")
    solver = DeepFictitiousPlay(smfg.policies.recurrent(game), num_paths=1, learning_rate=1e-2)
    solution = solve(game, solver, key=jax.random.key(0), max_steps=800)
    assert exploitability(game, solution.policy).value < 0.01


@pytest.mark.slow
def test_public_information():
    """With common noise that is seen late, the average network comes near to the public equilibrium."""
    game = Jammed(revealed=1)
    solver = DeepFictitiousPlay(smfg.policies.recurrent(game), num_paths=2, learning_rate=1e-2, response_steps=10)
    solution = solve(game, solver, key=jax.random.key(0), max_steps=900)
    uniform = exploitability(game, smfg.policies.uniform(game), kind="public").value
    assert exploitability(game, solution.policy, kind="public").value < 0.1 * uniform


def test_parts_of_an_iteration():
    """First the response learns and the average waits, then the other way around; a new iteration starts anew."""
    game = smfg.games.make("left_right")
    solver = DeepFictitiousPlay(
        smfg.policies.recurrent(game, **NETWORK), num_paths=1, response_steps=2, average_steps=1, learning_rate=1e-2
    )
    states = [solver.init(game, jax.random.key(0))]
    step = jax.jit(lambda state: solver.step(game, state, 30)[0])
    for _ in range(4):
        states.append(step(states[-1]))

    def same(first, second):
        return all(map(np.array_equal, jax.tree.leaves(first), jax.tree.leaves(second)))

    assert [same(a.average, b.average) for a, b in itertools.pairwise(states)] == [True, True, False, True]
    assert [same(a.response, b.response) for a, b in itertools.pairwise(states)][:3] == [False, False, True]
    assert same(states[3].former, states[0].average)
    assert same(states[4].former, states[3].average)


@pytest.mark.parametrize("name", ["response_steps", "average_steps"])
def test_bad_settings(name):
    policy = smfg.policies.recurrent(smfg.games.make("left_right"))
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1, but is 0"):
        DeepFictitiousPlay(policy, **{name: 0})
