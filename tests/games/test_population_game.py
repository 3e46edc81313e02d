"""The game of N players: what a step does, and when a population starts anew."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.small_games import SMALL

import structmfg as smfg
from structmfg.games import GAMES, PopulationGame, make

KEY = jax.random.key(0)


def played(population, key, steps, actions=None):
    """What is seen, the states, the rewards and the ends along so many steps of uniform actions."""

    @jax.jit
    def step(carry, key):
        act, move = jax.random.split(key)
        seen, state = carry
        chosen = jax.random.randint(act, seen.states.shape, 0, population.game.num_actions)
        following, after, rewards, done = population.step(move, state, chosen)
        return (following, after), (seen, state, chosen, rewards, done)

    start = jax.jit(population.reset)(key)
    return jax.lax.scan(step, start, jax.random.split(key, steps))[1]


# Their agents move as those of another game do, or by a law that a test of another folder looks at.
ALIKE = ("beach_bar_crowded", "crowd_modelling", "four_rooms", "lasry_lions", "rock_paper_scissors", "trade_crowding")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in ALIKE))
        for name in GAMES
        if "price" not in make(name).declared
    ],
)
def test_steps_of_every_game(name, double):
    """Everybody is somewhere, what is seen is that of the empirical mean field, and T steps make an episode."""
    game = make(name, **SMALL.get(name, {}))
    population = PopulationGame(game, 40)
    horizon = game.horizon or 1000  # which goes on beyond the steps here
    steps = 7 if game.horizon is None else 2 * horizon + 1
    seen, state, actions, rewards, done = played(population, KEY, steps)
    assert rewards.shape == (steps, 40)
    assert jnp.isfinite(rewards).all()
    assert rewards.dtype == "float64"
    np.testing.assert_array_equal(state.aggregate.time, np.arange(steps) % horizon)
    np.testing.assert_array_equal(done, (np.arange(steps) + 1) % horizon == 0)
    np.testing.assert_array_equal(seen.states, state.agents)
    np.testing.assert_array_equal(seen.time, state.aggregate.time)
    counts = np.stack([np.bincount(agents, minlength=game.num_states) for agents in np.asarray(state.agents)])
    np.testing.assert_allclose(state.aggregate.mean_field, counts / 40, rtol=1e-6)

    @jax.jit
    def anew(state, actions):
        """What is seen, and the first rewards."""
        first, then = (jax.tree.map(lambda x, i=i: x[i], state) for i in (0, 1))
        paid = game.reward(population.acting(first, actions[0]), then.aggregate)
        return jax.vmap(game.observe)(state.aggregate), paid[first.agents, actions[0]]

    observation, expected = anew(state, actions)
    np.testing.assert_allclose(seen.observation, observation, rtol=1e-5, atol=1e-9)
    if horizon > 1:  # the second state follows the first in the same episode
        np.testing.assert_allclose(rewards[0], expected, rtol=1e-5, atol=1e-5)


def test_the_last_reward_is_that_of_the_episode_that_ends():
    """In left_right the one step ends the episode: rewards are those of where one went, not of the new start."""
    population = PopulationGame(make("left_right"), 6)
    _, state = population.reset(KEY)
    actions = jnp.array([0, 0, 0, 0, 1, 1])
    seen, state, rewards, done = population.step(KEY, state, actions)
    np.testing.assert_allclose(rewards, [-4 / 6] * 4 + [-4 / 6] * 2, rtol=1e-6)
    assert done
    np.testing.assert_array_equal(seen.states, np.zeros(6))
    assert int(state.aggregate.time) == 0


def test_noise_is_drawn_anew_for_every_population_and_every_episode():
    """linear_quadratic's coin is fixed within an episode, fair over episodes, and each population has its own."""
    game = make("linear_quadratic", **SMALL["linear_quadratic"])
    population = PopulationGame(game, 3)
    _, state, _, _, _ = jax.vmap(lambda key: played(population, key, 24))(jax.random.split(KEY, 200))
    coins = np.asarray(state.aggregate.noise).reshape(200, 4, 6)
    assert (coins == coins[:, :, :1]).all()
    tosses = coins[:, :, 0]
    assert abs(tosses.mean()) < 0.15  # 800 tosses: 4 standard errors
    assert 0.3 < (tosses[:, 0] != tosses[:, 1]).mean() < 0.7


def test_a_large_population_follows_the_operators():
    """The empirical mean field of 20000 agents is that of the rollout, along the same noise path, to N^-1/2."""
    game = make("linear_quadratic", **SMALL["linear_quadratic"])
    noise, policy = game.scenarios().noise[0], smfg.policies.uniform(game)
    expected = smfg.solvers.rollout(game, policy, noise).aggregates.mean_field
    population = PopulationGame(game, 20_000)
    state = population.start(KEY, noise[0])
    for t, key in enumerate(jax.random.split(KEY, game.horizon)):
        np.testing.assert_allclose(state.aggregate.mean_field, expected[t], atol=0.02)
        act, move = jax.random.split(key)
        actions = jax.random.randint(act, (20_000,), 0, game.num_actions)
        state, _ = population.advance(move, state, actions, noise[t + 1])
    np.testing.assert_allclose(state.aggregate.mean_field, expected[-1], atol=0.02)


def test_the_same_key_gives_the_same_game():
    population = PopulationGame(make("beach_bar", **SMALL["beach_bar"]), 7)
    one, two, other = (played(population, jax.random.key(seed), 9) for seed in (3, 3, 4))
    assert all((a == b).all() for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True))
    assert not (one[0].states == other[0].states).all()


@pytest.mark.parametrize("bad", [0, -1, 2.0, True, "many"])
def test_bad_number_of_agents(bad, unchecked):
    with pytest.raises(ValueError, match="num_agents must be a whole number of at least 1"):
        PopulationGame(make("left_right"), bad)


@pytest.mark.parametrize("action", [-1, 2])
def test_actions_out_of_range(action):
    population = PopulationGame(make("left_right"), 3)
    _, state = population.reset(KEY)
    with pytest.raises(ValueError, match=r"actions must lie in 0..1"):
        population.step(KEY, state, jnp.array([0, action, 1]))


def test_no_game(unchecked):
    with pytest.raises(ValueError, match="game must be a Game, but is a str"):
        PopulationGame("left_right", 3)
