"""Agents who move one by one: the built-in games pass, wrong operators are rejected by the check that should see it."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.wrong_games import Astray, Wrong, WrongChain, WrongNoise

import structmfg as smfg
from structmfg.games import AggregateState
from structmfg.operators import DenseKernel
from structmfg.verification import populations
from structmfg.verification.populations import (
    SampleSizes,
    rate_of_convergence,
    simulate_independent_agents,
    simulate_population,
    study,
)

SMALL = {
    "linear_quadratic": {"num_states": 15, "horizon": 5, "first": 1, "last": 3, "push": 4.0},
    "beach_bar": {"num_states": 12, "horizon": 4},
    "macro": {"num_wealth": 6, "num_income": 3, "num_actions": 4, "horizon": 3, "max_wealth": 20.0, "noise_states": 2},
    "beach_bar_crowded": {"num_states": 12, "horizon": 4},
    "carmona_fouque_sun": {"num_steps": 4, "terminal_weight": 1.0, "reach": 1.0, "mean_reversion": 0.4},
    "crowd_modelling": {"horizon": 4},
    "left_right": {},
    "predator_prey": {"size": 3, "horizon": 3},
}
UNEVEN = [{"correlation": 0.0, "volatility": 0.5}, {"correlation": 0.6, "volatility": 1.5, "push": 3.5}]
SAMPLES = SampleSizes(20_000, 128, 1000, 3, 5000, (100, 1000), (16, 16))
LEVEL = 1e-6


def around(game, seed=1):
    """A random policy, concentrated enough to tell states and actions apart, and a random noise path."""
    raw = 2 * jax.random.normal(jax.random.key(3), (game.num_states, game.num_actions))
    uniforms = smfg.games.innovations(jax.random.key(seed), 1, game.horizon + 1, "iid")[0]
    return smfg.policies.tabular(game, jax.nn.softmax(raw)), smfg.games.noise_path(game, uniforms)


def studied(game, seed=0):
    """The checks but for the rate, by name."""
    policy, noise = around(game)
    keys = jax.random.split(jax.random.key(seed), 3)
    lived = simulate_independent_agents(game, policy, noise, num_agents=SAMPLES.num_agents, key=keys[0])
    every = jax.tree.map(lambda x: x[:-1], lived.trajectory.aggregates)
    return {
        "transitions": populations.transitions(game, every, key=keys[1], level=LEVEL, num_pairs=128, num_draws=1000),
        "counts": populations.counts(lived, level=LEVEL),
        "returns": populations.returns(game, lived, level=LEVEL),
    }


def rejected(results):
    return {name for name, result in results.items() if not result.passed}


@pytest.mark.parametrize("name", SMALL)
def test_the_games_pass(name):
    """Where agents go, at a mean field of no particular kind, at the first and the last step."""
    game = smfg.games.make(name, **SMALL[name])
    _, noise = around(game)
    times = np.array([0, game.horizon - 1])
    mean_field = jax.random.dirichlet(jax.random.key(1), jnp.ones(game.num_states), (2,))
    some = AggregateState(mean_field, jax.tree.map(lambda z: z[times], noise), jnp.asarray(times))
    assert populations.transitions(game, some, key=jax.random.key(0), level=LEVEL, num_draws=1000).passed


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_whole_study(name, precision):
    assert_complete(smfg.games.make(name, **SMALL[name]))


def test_a_study(double):
    assert_complete(smfg.games.make("crowd_modelling", **SMALL["crowd_modelling"]))


def assert_complete(game):
    found = study(game, *around(game), key=jax.random.key(0), level=LEVEL, samples=SAMPLES)
    assert all(result.passed for result in found.results), found.results
    assert [r.name for r in found.results] == ["noise", "transitions", "counts", "returns", "rate is one half"]
    assert found.p_values.shape == (game.horizon + 1,)
    assert found.spread.observed.sum() == SAMPLES.num_agents == pytest.approx(found.spread.expected.sum(), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("parameters", UNEVEN)
def test_rounding_of_linear_quadratic(parameters):
    """Where ties round to even the noise is no shift, and where the push is fractional the move is none."""
    assert (
        rejected(studied(smfg.games.make("linear_quadratic", **{**SMALL["linear_quadratic"], **parameters}))) == set()
    )


# What is wrong, by whom it is found, and words of where: the walls of 15 states, the row that was changed, a time.
MORE = pytest.mark.slow
FAULTS = [
    pytest.param("none", set(), "", "", marks=MORE),
    pytest.param("transposed", {"transitions", "counts"}, "", "t = 1, the first", marks=MORE),
    ("expects", {"returns"}, "", ""),
    ("wrapped", {"transitions", "counts"}, "state (0|1|2|3|4|5|9|10|11|12|13|14),", "t = 1, the first"),
    pytest.param("shifted", {"transitions", "counts", "returns"}, "", "t = 1, the first", marks=MORE),
    pytest.param("twice", {"transitions", "counts", "returns"}, "", "t = 1, the first", marks=MORE),
    pytest.param("row", {"transitions"}, "state 6, action 2, t = ", "", marks=MORE),
]


@pytest.mark.parametrize(("fault", "by", "transition", "time"), FAULTS, ids=lambda x: x if isinstance(x, str) else "")
def test_wrong_operators_are_rejected(fault, by, transition, time):
    results = studied(Wrong(fault=fault))
    assert by <= rejected(results), results
    if fault in ("none", "expects", "transposed"):
        assert rejected(results) == by, results
    assert re.search(transition, results["transitions"].where)
    assert time in results["counts"].where


def test_agents_who_leave_the_states_are_found():
    results = studied(Astray())
    assert rejected(results) >= {"transitions", "counts"}
    assert results["transitions"].where.startswith("state 4, action ")
    assert "1000 of 1000 agents moved to no state in 0..14" in results["transitions"].where
    assert "are in no state in 0..14" in results["counts"].where


@pytest.mark.parametrize(
    ("game", "where"),
    [
        (WrongNoise(), None),
        (WrongNoise(fault="sum"), "probabilities sum to 1.01"),
        (WrongNoise(fault="weights"), "t = 2: "),
        (WrongNoise(fault="unlisted"), "begin like no scenario"),
        (WrongChain(), None),
        (WrongChain(fault="value"), "begin like no scenario"),
        (WrongChain(fault="value", horizon=12), "sampled values differ"),
        (WrongChain(fault="transition", horizon=12), "transitions from state"),
    ],
)
def test_wrong_noise_is_rejected(game, where):
    result = populations.noise(game, key=jax.random.key(0), level=LEVEL, num_paths=20_000)
    assert result.passed == (where is None), result
    assert (where or "") in result.where


def test_continuous_noise_is_not_applicable():
    game = smfg.games.make("macro", **{**SMALL["macro"], "noise_states": 0})
    assert populations.noise(game, key=jax.random.key(0), level=LEVEL) is None


def moves(game, aggregate, state, action, num=2000):
    """Where agents go, as frequencies (S,)."""
    states, actions = jnp.full(num, state), jnp.full(num, action)
    arrived = jax.jit(game.move_agents)(aggregate, states, actions, jax.random.key(0))
    return np.bincount(np.asarray(arrived), minlength=game.num_states) / num


def test_moves_at_the_edges():
    """Corner cases of the definitions, counted by hand."""
    game = smfg.games.make("linear_quadratic")
    falling = game.aggregate(mean_field=np.full(99, 1 / 99), noise=1, time=0)  # eps = -10: five cells down
    weights = np.exp(-(np.arange(-3, 4) ** 2) / 2)
    weights /= weights.sum()
    at_wall = moves(game, falling, 2, 0)
    np.testing.assert_allclose(at_wall[:5], [weights[:4].sum(), *weights[4:], 0], atol=0.05)
    rising = game.aggregate(mean_field=np.full(99, 1 / 99), noise=1, time=21)
    np.testing.assert_allclose(moves(game, rising, 40, 3)[42:49], weights, atol=0.05)

    game = smfg.games.make("beach_bar")
    beside = game.aggregate(mean_field=np.full(101, 1 / 101), noise=(50, 1), time=0)
    np.testing.assert_allclose(moves(game, beside, 49, 10)[47:52], [0.05, 0.1, 0.85, 0, 0], atol=0.05)
    np.testing.assert_allclose(moves(game, beside, 51, 0)[49:54], [0, 0, 0.85, 0.1, 0.05], atol=0.05)
    np.testing.assert_allclose(moves(game, beside, 100, 10)[97:], [0, 0.05, 0.1, 0.85], atol=0.05)

    game = smfg.games.make("macro")
    rich = game.aggregate(mean_field=np.full(1000, 1e-3), noise=0.0, time=0)
    top = moves(game, rich, 199 * 5 + 4, 0).reshape(200, 5)  # richest, saves nearly all: stays on top of the grid
    np.testing.assert_allclose(top[199], [0, 0, 0, 0.1, 0.9], atol=0.05)
    _, wage = game.prices(rich)
    savings = float(wage * game.income_grid.points()[2]) * (
        1 - 0.975
    )  # from no wealth, with income 2, saves a fortieth
    poor = moves(game, rich, 2, 19, num=20_000).reshape(200, 5)
    assert poor.sum(1) @ np.asarray(game.wealth_grid.points()) == pytest.approx(
        savings, rel=0.02
    )  # the lottery keeps the mean
    assert np.count_nonzero(poor.sum(1)) == 2


def test_interacting_agents_make_their_own_prices():
    """Ten agents see the prices of their ten: returns are those of the empirical path, replayed in NumPy."""
    game = smfg.games.make("linear_quadratic", **SMALL["linear_quadratic"], max_action=1, volatility=0.0)
    policy = smfg.policies.tabular(game, np.eye(3)[np.full(15, 2)])  # all go up: the path is deterministic
    noise = jnp.full(6, -1)
    alone = simulate_population(game, policy, noise, num_agents=10, key=jax.random.key(0))
    states = np.repeat(np.arange(15), np.asarray(alone.counts[0]))
    total = 0.0
    for t in range(5):
        following = np.clip(states + 1, 0, 14)
        np.testing.assert_array_equal(alone.counts[t + 1], np.bincount(following, minlength=15))
        d = following.mean() - states
        total += 0.99**t * (-0.5 * d**2 if t == 4 else -0.5 + 0.1 * d - 0.25 * d**2).mean()
        states = following
    assert float(alone.returns.mean()) == pytest.approx(total, rel=1e-5)
    among = simulate_independent_agents(game, policy, noise, num_agents=10, key=jax.random.key(0)).population
    np.testing.assert_array_equal(among.counts, alone.counts)
    assert float(among.returns.mean()) != pytest.approx(total, rel=1e-4)


def rate_of(game, policy=None, sizes=(100, 1000), replicates=(16, 16), **options):
    given, noise = around(game)
    options = {"sizes": sizes, "replicates": replicates, "largest": max(sizes), **options}
    return rate_of_convergence(game, policy or given, noise, key=jax.random.key(0), **options)


def test_rate_of_convergence():
    """One half, for the right operators; with wrong ones the populations stop getting nearer."""
    right, wrong = rate_of(Wrong()), rate_of(Wrong(fault="shifted"))
    assert populations.rate_is_one_half(right).passed
    assert right.low < 0.5 < right.high
    assert right.stderr <= 0.011
    assert wrong.rate < 0.2
    assert not populations.rate_is_one_half(wrong).passed


class Rumour(smfg.games.NoiselessGame):
    """One in ten knows a rumour and tells it on. With `root`, the share told is not smooth at half of all."""

    num_states, num_actions, horizon, discount = 2, 1, 6, 1.0

    def __init__(self, root=False):
        self.root, self.first = root, 0.5 if root else 0.1

    def initial_mean_field(self, noise):
        return jnp.array([1 - self.first, self.first])

    def kernel(self, aggregate):
        know = aggregate.mean_field[1]
        told = jnp.sqrt(jnp.abs(know - 0.5)) if self.root else -jnp.expm1(-2 * know)
        return DenseKernel(jnp.array([[[1 - told, told]], [[0.0, 1.0]]]))

    def reward(self, aggregate, following):
        return jnp.zeros((2, 1))

    def observe(self, aggregate):
        return aggregate.mean_field


def test_rate_is_fitted_to_larger_populations_where_twenty_agents_are_few():
    """Two of twenty agents know the rumour: its first tellings matter more than in the linearised game."""
    right = rate_of(Rumour(), sizes=(20, 200), replicates=(200, 200), largest=2000, stderr=0.02)
    assert right.sizes == (200, 2000)  # as the rate was not one half between 20 and 200
    assert populations.rate_is_one_half(right).passed


@pytest.mark.parametrize(("game", "most"), [(Wrong(fault="shifted"), 0.05), (Rumour(root=True), 0.3)])
def test_larger_populations_hide_neither_a_bias_nor_a_slower_rate(game, most):
    """The root of an error of size N^(-1/2) is one of size N^(-1/4), and its root is larger still."""
    wrong = rate_of(game, largest=10**4, stderr=0.02)
    assert wrong.sizes == (1000, 10**4)
    assert wrong.rate < most
    assert not populations.rate_is_one_half(wrong).passed


def test_rate_is_fitted_twice_anew_with_the_replicates_of_each_size(monkeypatch):
    """Errors that fall from a thousand agents on: the least sizes drop out, and so does one beyond the largest."""

    def errors(game, policy, noise, mean_fields, num_agents, count, key):
        return np.linspace(0.9, 1.1, count) / max(num_agents, 1000)

    monkeypatch.setattr("structmfg.verification.populations._rate._squared_errors", errors)
    found = rate_of(Rumour(), sizes=(10, 100, 1000), replicates=(6, 5, 4), largest=10**4, stderr=1.0)
    assert found.sizes == (1000, 10**4)
    assert [len(each) for each in found.errors] == [6, 5]
    assert found.rate == pytest.approx(0.5)


def test_rate_where_nothing_is_left_to_chance():
    game = smfg.games.make("left_right")
    certain = smfg.policies.tabular(game, np.eye(2)[[0, 0, 0]])
    result = populations.rate_is_one_half(rate_of(game, certain))
    assert result.passed
    assert "no error at any N" in result.where


class Raises(Wrong):
    def move_agents(self, aggregate, states, actions, key):
        raise RuntimeError("no <agents> here")


def test_a_game_that_raises_is_a_finding():
    game = Raises()
    found = study(game, *around(game), key=jax.random.key(0), samples=SAMPLES)
    assert found.spread is None
    assert found.results[-1].where.startswith("raised RuntimeError: no <agents> here (test_populations.py, line ")


@pytest.mark.parametrize(
    ("sizes", "replicates"), [((100,), (4,)), ((100, 1000), (4,)), ((100, 1000), (4, 1)), ((0, 100), (4, 4))]
)
@pytest.mark.usefixtures("unchecked")
def test_bad_arguments(sizes, replicates):
    game = Wrong()
    policy, noise = around(game)
    with pytest.raises(ValueError, match=r"whole number of at least|needs two or more"):
        rate_of_convergence(game, policy, noise, key=jax.random.key(0), sizes=sizes, replicates=replicates)
    with pytest.raises(ValueError, match="num_agents must be a whole number"):
        simulate_population(game, policy, noise, num_agents=0, key=jax.random.key(0))


class Disaster(smfg.games.LeftRight):
    """Once in a million, whoever goes left loses a million."""

    chance = 1e-6

    def kernel(self, aggregate):
        return DenseKernel(jnp.zeros((3, 2, 3)).at[..., 1].set(1 - self.chance).at[..., 2].set(self.chance))

    def reward(self, aggregate, following):
        return jnp.zeros((3, 2)).at[2].set(-1e6)

    def move_agents(self, aggregate, states, actions, key):
        return jnp.where(jax.random.uniform(key, states.shape) < self.chance, 2, 1)

    horizon = 3


def test_rare_and_large_losses_are_no_evidence():
    game = Disaster()
    policy, noise = smfg.policies.uniform(game), jnp.zeros(4, int)
    for seed in range(5):
        lived = simulate_independent_agents(game, policy, noise, num_agents=10**5, key=jax.random.key(seed))
        assert populations.returns(game, lived, level=1e-4).passed
    lived = lived._replace(population=lived.population._replace(returns=lived.population.returns - 1e4))
    assert not populations.returns(game, lived, level=1e-4).passed


def test_a_chain_that_changes_with_time_is_not_the_one_it_says():
    class Seasonal(Wrong):
        horizon = 8

        def initial_noise(self, uniform):
            return jnp.where(uniform < 0.5, -1, 1)

        def next_noise(self, noise, uniform, time):
            return jnp.where(uniform < jnp.where(time % 2 == 0, 0.3, 0.5), -noise, noise)

        def noise_chain(self):
            return smfg.games.NoiseChain(np.array([-1, 1]), np.full(2, 0.5), np.array([[0.6, 0.4], [0.4, 0.6]]))

        def scenarios(self):
            return None

    result = populations.noise(Seasonal(), key=jax.random.key(0), level=1e-4)
    assert not result.passed
    assert "transitions from state" in result.where
