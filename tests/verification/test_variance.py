"""The variance study on a game small enough to enumerate: unbiased, exact where it says so, rightly split."""

import dataclasses
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_game import Coin, CoinByHand
from jax.flatten_util import ravel_pytree

import structmfg as smfg
from structmfg._files import to_json
from structmfg._statistics import squared_deviations
from structmfg.benchmarks.variance import plain, tables
from structmfg.evaluation._paths import policy_gradient, rollout
from structmfg.games import noise_paths
from structmfg.solvers.gradient._rspg import StructuralPolicyGradient
from structmfg.verification import variance_study
from structmfg.verification._moments import path_moments
from structmfg.verification.variance import figures
from structmfg.verification.variance._agents import rewards_to_go
from structmfg.verification.variance._gradients import gradients, reinforce, structural
from structmfg.verification.variance._returns import _components, path_returns
from structmfg.verification.variance._study import returns_agree, spreads_agree

GAME = Coin()
BASELINES = ("none", "mean", "values")
FAST = {
    "num_paths": 2,
    "num_agents": (4, 64),
    "draws": 64,
    "rounds": 1,
    "max_paths": 256,
    "return_paths": (1, 8),
    "return_agents": (1, 100),
}


def network(game=GAME):
    policy = smfg.policies.recurrent(game, hidden=4, width=4, rank=2)
    parameters = policy.initialised(jax.random.key(3)).parameters
    return policy.with_parameters(jax.tree.map(lambda x: 2 * x, parameters))  # not too close to uniform


@pytest.fixture
def trajectory():
    """On the path of tails, the rarer."""
    return rollout(GAME, network(), jax.tree.map(lambda z: z[0], GAME.scenarios().noise))


@pytest.fixture(scope="module")
def study():
    return variance_study(GAME, network(), key=jax.random.key(0), **FAST)


@pytest.mark.usefixtures("double")
def test_structural_gradient_is_that_of_the_solver():
    policy, paths = network(), GAME.scenarios()
    solver = StructuralPolicyGradient(policy, num_paths=2)
    trajectories = jax.vmap(lambda noise: rollout(GAME, policy, noise))(paths.noise)
    _, descent = solver._returns_and_descent(GAME, policy.parameters, trajectories, paths, jnp.zeros(()))
    found = gradients(GAME, policy, paths, jax.random.key(0), [structural(GAME)])
    np.testing.assert_allclose(found[0], -ravel_pytree(descent)[0], rtol=1e-10, atol=1e-13)


def test_rewards_to_go():
    togo = rewards_to_go(dataclasses.replace(GAME, discount=0.5), jnp.array([[1.0], [2.0], [4.0]]))
    np.testing.assert_array_equal(togo, [[3.0], [4.0], [4.0]])


@pytest.mark.usefixtures("double")
def test_reinforce_is_unbiased_for_every_state_action_and_time(trajectory):
    """4000 draws of 16 agents: no coordinate is further than five standard errors off."""
    logits = jnp.log(trajectory.policy)
    estimate = jax.jit(jax.vmap(lambda key: reinforce(GAME, 16, BASELINES)(trajectory, logits, key)))
    draws = np.asarray(estimate(jax.random.split(jax.random.key(0), 4000)))
    exact = policy_gradient(GAME, trajectory.aggregates, logits, jnp.zeros(()))[2]
    errors = (draws.mean(axis=0) - exact) / (draws.std(axis=0, ddof=1) / np.sqrt(len(draws)))
    assert np.abs(errors).max() < 5


@pytest.mark.usefixtures("double")
def test_variance_falls_with_the_number_of_agents(trajectory):
    """As 1/N given the path, within four standard errors of a ratio of two variances."""
    draws, logits, keys = 2000, jnp.log(trajectory.policy), jax.random.split(jax.random.key(1), 2000)

    def traces(num_agents):
        estimate = jax.jit(
            jax.vmap(lambda key: reinforce(GAME, num_agents, ("none", "values"))(trajectory, logits, key))
        )
        found = np.asarray(estimate(keys)).reshape(draws, 2, -1)
        return np.array([squared_deviations(found[:, i]).mean() for i in range(2)])

    few, many = traces(2), traces(32)
    assert np.abs(np.log(few / many / 16)).max() < 4 * np.sqrt(2 * 2 / draws)
    assert (few[1] < few[0]).all()  # and a baseline helps


def test_moments_of_a_path_by_enumeration(precision, trajectory):
    """Over all 64 sequences of states and actions of an agent."""
    hand, aggregates, policy = CoinByHand(GAME), trajectory.aggregates, np.asarray(trajectory.policy, float)
    mu, z = np.asarray(aggregates.mean_field, float), np.asarray(aggregates.noise)
    kernels = [hand.dense(mu[t], z[t], t) for t in range(3)]
    rewards = [hand.reward(mu[t], z[t], t, mu[t + 1], z[t + 1]) for t in range(3)]
    chances, totals = [], []
    for states, actions in itertools.product(itertools.product((0, 1), repeat=3), itertools.product((0, 1), repeat=3)):
        chance = mu[0][states[0]] * np.prod([policy[t][states[t], actions[t]] for t in range(3)])
        chances.append(chance * np.prod([kernels[t][states[t], actions[t], states[t + 1]] for t in range(2)]))
        totals.append(sum(0.9**t * rewards[t][states[t], actions[t]] for t in range(3)))
    mean = np.dot(chances, totals)
    expected = mean, np.dot(chances, (np.array(totals) - mean) ** 2)
    np.testing.assert_allclose(path_moments(GAME, trajectory), expected, rtol=1e-5 if precision == "float32" else 1e-12)


def test_analysis_of_variance():
    """Of normal returns with variance 4 between paths and 9 within: inside four times the half width of an interval."""
    rng = np.random.default_rng(0)
    sample = 1 + 2 * rng.normal(size=(4000, 1)) + 3 * rng.normal(size=(4000, 5))
    for (value, low, high), expected in zip(_components(sample), (1, 4, 9), strict=True):
        assert abs(value - expected) < 2 * (high - low) / 2
        assert 0 < high - low < 0.2 * expected + 0.1


@pytest.mark.slow
def test_nothing_is_left_where_all_paths_are_taken(study):
    assert study.row("own").variance == (0, 0, 0)
    assert study.row("own").ratio is None
    assert study.row("own", study.equal_agents, "values").variance.low > 0


@pytest.mark.slow
def test_structure_has_less_variance_than_agents(study):
    for baseline in BASELINES:
        few, many = (study.row("iid", agents, baseline).ratio for agents in (4, 64))
        assert 1 < many.value < few.low


@pytest.mark.slow
def test_returns_split(study):
    """The exact parts by the two paths; agents agree."""
    policy, scenarios = network(), GAME.scenarios()
    means, variances = jax.vmap(lambda noise: jnp.stack(path_moments(GAME, rollout(GAME, policy, noise))))(
        scenarios.noise
    ).T
    mean = 0.3 * means[0] + 0.7 * means[1]
    spread = study.returns
    assert spread.exact
    assert spread.mean == pytest.approx(float(mean), rel=1e-5)
    assert spread.common == pytest.approx(float(0.3 * (means[0] - mean) ** 2 + 0.7 * (means[1] - mean) ** 2), rel=1e-4)
    assert spread.idiosyncratic == pytest.approx(float(0.3 * variances[0] + 0.7 * variances[1]), rel=1e-4)
    assert spread.variance(2, 5) == pytest.approx(spread.common / 2 + spread.idiosyncratic / 10)
    for (value, low, high), exact in [
        (spread.sampled_common, spread.common),
        (spread.sampled_idiosyncratic, spread.idiosyncratic),
        *((point.variance, spread.variance(point.num_paths, point.num_agents)) for point in spread.points),
    ]:
        assert abs(value - exact) < 2 * (high - low)  # four standard errors
    assert {(point.num_paths, point.num_agents) for point in spread.points} == {(1, 1), (1, 100), (8, 1), (8, 100)}


@pytest.mark.slow
def test_the_study_passes_and_can_be_written(study):
    assert all(result.passed for result in study.results), study.results
    written = json.loads(to_json(plain(study)))
    assert written["gradients"][0]["variance"]["value"] == study.gradients[0].variance.value
    assert "64 draws" in tables(study)[0]
    pictures = figures([study, study])
    assert [drawn.name for drawn in pictures] == ["variance", "variance_of_returns"]
    assert all(drawn.png.startswith(b"\x89PNG") for drawn in pictures)


class Elsewhere(Coin):
    """Its agents do not go where its kernel says."""

    def move_agents(self, aggregate, states, actions, key):
        return 1 - super().move_agents(aggregate, states, actions, key)


def test_agents_that_go_elsewhere_are_found():
    def found(game):
        paths = noise_paths(game, key=jax.random.key(0), num_paths=256)
        return path_returns(game, network(game), paths, jax.random.key(1), num_agents=512)

    right, wrong = found(GAME), found(Elsewhere())
    assert returns_agree(right, 1e-6).passed
    assert spreads_agree(right, 1e-6).passed
    assert not returns_agree(wrong, 1e-6).passed


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"num_agents": (1,)}, "num_agents must be a whole number of at least 2"),
        ({"num_agents": ()}, "num_agents must name at least one"),
        ({"draws": 1}, "draws must be a whole number of at least 8"),
        ({"num_paths": 0}, "num_paths must be a whole number of at least 1"),
        ({"policy": smfg.policies.uniform(GAME)}, "policy must be a NetworkPolicy"),
        ({"max_paths": 4}, "max_paths must be a whole number of at least 16"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_refused(given, words):
    with pytest.raises(ValueError, match=words):
        variance_study(GAME, **{"key": jax.random.key(0), "policy": network()} | given)
