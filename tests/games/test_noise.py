"""Common noise: enumerated, independent, antithetic, stratified."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import structmfg as smfg
from structmfg.games import innovations, noise_paths

FINITE = {
    "linear_quadratic": {"num_states": 9, "horizon": 4},
    "beach_bar": {"num_states": 9, "horizon": 6},
    "beach_bar_crowded": {"num_states": 9, "horizon": 6},
    "carmona_fouque_sun": {"num_steps": 4, "num_shocks": 3},
    "crowd_modelling": {},
    "left_right": {},
    "predator_prey": {"size": 3},
    "macro": {"num_wealth": 4, "horizon": 3, "noise_states": 4},
}


def rows(noise):
    """Every path of noise as one hashable row."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(noise)]
    return [tuple(row) for row in np.concatenate(leaves, axis=1).tolist()]


@pytest.mark.parametrize("name", FINITE)
def test_scenarios_are_what_is_sampled(name):
    """Every sampled path is a scenario, and each turns up as often as its probability says, within 4.5 deviations."""
    game = smfg.games.make(name, **FINITE[name])
    scenarios, count = game.scenarios(), 4000
    assert len(set(rows(scenarios.noise))) == scenarios.num_paths
    sampled = rows(noise_paths(game, key=jax.random.key(1), num_paths=count).noise)
    assert set(sampled) <= set(rows(scenarios.noise))
    for row, probability in zip(rows(scenarios.noise), np.asarray(scenarios.probabilities), strict=True):
        deviation = np.sqrt(probability * (1 - probability) / count)
        assert abs(sampled.count(row) / count - probability) <= 4.5 * deviation


@pytest.mark.parametrize(
    ("name", "parameters", "num_paths"),
    [
        ("linear_quadratic", {}, 2),
        ("beach_bar", {}, 102),
        ("beach_bar", {"num_states": 9}, 2 * 5),
        ("carmona_fouque_sun", {}, 4),
        ("carmona_fouque_sun", {"num_shocks": 0}, 1),
        ("crowd_modelling", {}, 1),
        ("left_right", {}, 1),
    ],
)
def test_number_and_weight_of_scenarios(name, parameters, num_paths, precision):
    scenarios = smfg.games.make(name, **parameters).scenarios()
    assert scenarios.num_paths == num_paths
    np.testing.assert_allclose(scenarios.probabilities.sum(), 1, rtol=1e-6)
    np.testing.assert_allclose(scenarios.probabilities, 1 / num_paths)


def test_beach_bar_closes_at_half_time():
    """Bars on 25..75; open at times 0..14; from 15 on closed in one half of the paths."""
    noise = smfg.games.make("beach_bar").scenarios().noise
    np.testing.assert_array_equal(noise.bar, np.repeat(np.arange(25, 76), 2)[:, None] * np.ones(31, int))
    np.testing.assert_array_equal(noise.open[:, :15], 1)
    np.testing.assert_array_equal(noise.open[::2, 15:], 1)
    np.testing.assert_array_equal(noise.open[1::2, 15:], 0)


def test_productivity_is_autoregressive(double):
    """z_{t+1} = .9 z_t + .03 Phi^{-1}(u_{t+1}), z_0 = 0."""
    game = smfg.games.make("macro", num_wealth=4, horizon=40)
    uniforms = innovations(jax.random.key(0), 50, 41, "iid")
    z = jax.vmap(lambda u: smfg.games.noise_path(game, u))(uniforms)
    np.testing.assert_array_equal(z[:, 0], 0)
    np.testing.assert_allclose(z[:, 1:], 0.9 * z[:, :-1] + 0.03 * jax.scipy.special.ndtri(uniforms[:, 1:]), atol=1e-14)
    steps = (z[:, 1:] - 0.9 * z[:, :-1]) / 0.03
    assert abs(steps.mean()) < 4.5 / np.sqrt(steps.size)
    assert abs(steps.std() - 1) < 4.5 / np.sqrt(2 * steps.size)


@pytest.mark.parametrize("discretisation", ["rouwenhorst", "tauchen"])
@pytest.mark.parametrize("noise_states", [2, 3, 6])
def test_productivity_on_a_chain(discretisation, noise_states, precision):
    """It starts in the middle, with mean zero; its mean then decays as that of the process it stands for, to zero."""
    game = smfg.games.make("macro", num_wealth=4, horizon=3, noise_states=noise_states, discretisation=discretisation)
    scenarios = game.scenarios()
    start = np.asarray(scenarios.noise[:, 0], float)
    points = game.noise_chain().values
    assert set(np.abs(start)) <= {np.abs(np.float32(points)).min(), np.abs(points).min()}
    np.testing.assert_allclose(scenarios.probabilities @ scenarios.noise, 0, atol=1e-8)
    np.testing.assert_allclose(scenarios.probabilities.sum(), 1, rtol=1e-6)


def test_too_many_paths_of_productivity_are_not_listed():
    assert smfg.games.make("macro", noise_states=3).scenarios() is None


def test_antithetic_pairs(precision):
    draws = innovations(jax.random.key(0), 8, 5, "antithetic")
    np.testing.assert_allclose(draws[:4] + draws[4:], 1, rtol=1e-6)
    assert len(np.unique(draws)) == draws.size
    game = smfg.games.make("macro", num_wealth=4, horizon=5)
    z = noise_paths(game, key=jax.random.key(0), num_paths=8, sampling="antithetic").noise
    np.testing.assert_allclose(z[:4], -z[4:], atol=1e-6)
    assert np.abs(z[:, 1:]).min() > 0


def test_stratified_has_one_in_each_cell(precision):
    draws = np.asarray(innovations(jax.random.key(0), 16, 6, "stratified"))
    cells = np.floor(draws * 16).astype(int)
    np.testing.assert_array_equal(np.sort(cells, axis=0), np.arange(16)[:, None] * np.ones(6, int))
    orders = {tuple(column) for column in cells.T}
    assert len(orders) == 6, "an order of its own at every time"


@pytest.mark.parametrize("sampling", ["iid", "antithetic", "stratified"])
def test_innovations_lie_strictly_inside(sampling):
    draws = innovations(jax.random.key(0), 20000, 10, sampling)
    assert 0 < draws.min() < draws.max() < 1
    assert abs(draws.mean() - 0.5) < 4.5 / np.sqrt(12 * draws.size)


def test_stratified_bars_are_all_visited():
    """With as many paths as bars, every bar turns up once."""
    game = smfg.games.make("beach_bar", num_states=9, horizon=6)
    paths = noise_paths(game, key=jax.random.key(0), num_paths=5, sampling="stratified")
    assert sorted(paths.noise.bar[:, 0].tolist()) == game.bars.tolist()


def test_same_key_same_paths():
    game = smfg.games.make("macro", num_wealth=4, horizon=5)
    one, two, other = (noise_paths(game, key=jax.random.key(k), num_paths=3).noise for k in (0, 0, 1))
    np.testing.assert_array_equal(one, two)
    assert not jnp.allclose(one, other)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("macro", {"sampling": "enumerate"}, "not finite: sample it"),
        ("macro", {"sampling": "iid"}, "needs a key and num_paths"),
        ("macro", {"sampling": "iid", "key": 0}, "needs a key and num_paths"),
        ("macro", {"sampling": "antithetic", "key": 0, "num_paths": 3}, "num_paths must be even, but is 3"),
        ("macro", {"key": 0, "num_paths": 0}, "num_paths must be a whole number of at least 1, but is 0"),
        ("beach_bar", {"key": 0, "num_paths": -2}, "num_paths must be a whole number"),
        ("beach_bar", {"sampling": "sobol", "key": 0, "num_paths": 2}, "unknown sampling 'sobol'; allowed: antithetic"),
    ],
)
def test_bad_sampling(name, arguments, message, unchecked):
    if "key" in arguments:
        arguments = {**arguments, "key": jax.random.key(0)}
    with pytest.raises(ValueError, match=message):
        noise_paths(smfg.games.make(name), **arguments)
