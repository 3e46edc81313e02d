"""Input and output vectors of each game at full size, made by an independent implementation in single precision."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import structmfg as smfg

FILES = sorted((Path(__file__).parent / "data").glob("*.npz"))
BOUND = 1e-5  # of an array's largest entry
# The reference finds next wealth in single precision. At the top of the wealth grid one unit in the last place of cash
# on hand (about 1e-5) is amplified by the slope of the random values between grid points, in either of our precisions.
EXPECTED_BOUND = {"macro": 2e-5}


def noises(name, data):
    """z_t and z_{t+1} as the game writes them."""
    if name == "beach_bar":
        bar = int(data["bar"])
        return (bar, int(data["z"])), (bar, int(data["next_z"]))
    z = float(data["z"]) if name == "macro" else int(data["z"])
    return z, z


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def reference(request, precision):
    name = request.param.stem.rsplit("_", 1)[0]
    data = dict(np.load(request.param))
    game = smfg.games.make(name)
    z, next_z = noises(name, data)
    aggregate = game.aggregate(mean_field=data["mu"], noise=z, time=int(data["t"]))
    return name, game, aggregate, jax.tree.map(jnp.asarray, game.as_noise(next_z)), data


def assert_near(actual, expected, bound=BOUND):
    assert np.abs(np.asarray(actual) - expected).max() <= bound * np.abs(expected).max()


def test_there_are_three_vectors_of_each_game():
    assert [file.stem for file in FILES] == [f"{name}_{i}" for name in sorted(smfg.games.GAMES) for i in range(3)]


@pytest.mark.parametrize("form", ["matrix_free", "explicit"])
def test_mean_field_and_expected_values(reference, form):
    name, game, aggregate, _, data = reference
    operator = game.kernel(aggregate).under(jnp.asarray(data["policy"], float))
    operator = operator.explicit() if form == "explicit" else operator
    assert_near(operator.T.mv(aggregate.mean_field), data["next_mu"])
    assert_near(operator.mv(jnp.asarray(data["values"], float)), data["expected"], EXPECTED_BOUND.get(name, BOUND))


def test_reward_and_observation(reference):
    _, game, aggregate, next_noise, data = reference
    following = game.follow(aggregate, jnp.asarray(data["policy"], float), next_noise)
    assert_near(game.reward(aggregate, following), data["reward"])
    observation = data["observation"] if "observation" in data else np.array([data["interest_rate"], data["wage"]])
    assert_near(game.observe(aggregate), observation)
    assert bool(game.is_last(aggregate)) == bool(data["terminal"])


def test_normalised_observation(reference):
    name, game, aggregate, _, _ = reference
    mean, size = float(aggregate.mean_field @ np.arange(game.num_states)), game.num_states
    expected = {
        "linear_quadratic": lambda: [mean / size],
        "beach_bar": lambda: [1 - mean / size, aggregate.noise.open, 1 - aggregate.noise.bar / size],
        "macro": lambda: game.observe(aggregate),
    }[name]()
    np.testing.assert_allclose(game.normalise(game.observe(aggregate)), expected, rtol=1e-6)
