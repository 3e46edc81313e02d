"""Policies in the game of N players: against enumeration by hand, and against the mean field as N grows."""

import dataclasses
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_game import Coin, CoinByHand, Jammed
from jaxtyping import Array

import structmfg as smfg
from structmfg.games import AggregateState, Game, NoisePaths
from structmfg.operators import DenseKernel
from structmfg.policies import Policy
from structmfg.solvers import Estimate, PlayersEvaluation, gain_rate, players
from structmfg.solvers.n_players import _players
from structmfg.verification.populations import simulate_population

KEY = jax.random.key(0)
LEFT = 0.7  # of the crowd, in the games of two sides
SIDED = np.array([[LEFT, 1 - LEFT]] * 3)
TABLE = np.array([[0.3, 0.7], [0.6, 0.4]])
COSTS = (1.0, 2.0)


@dataclasses.dataclass(frozen=True)
class Sides(Game):
    """All choose a side at t = 0, pay cost * mu^3 at t = 1 and move home with probability mu, where t = 2 earns one.

    Everything is decided before anything is known of the others.
    """

    costs: tuple[float, float] = COSTS
    num_states = 3
    num_actions = 2
    horizon = 3
    discount = 0.9

    def kernel(self, aggregate: AggregateState) -> DenseKernel:
        chosen = jnp.broadcast_to(jnp.eye(3)[1:], (3, 2, 3))
        home = aggregate.mean_field[:, None] * jnp.eye(3)[0] + (1 - aggregate.mean_field[:, None]) * jnp.eye(3)
        return DenseKernel(jnp.where(aggregate.time == 0, chosen, home[:, None, :].repeat(2, axis=1)))

    def reward(self, aggregate: AggregateState, following: AggregateState) -> Array:
        costs = jnp.array([0.0, *self.costs]) * aggregate.mean_field**3
        paid = jnp.where(aggregate.time == 1, -costs, jnp.where(aggregate.time == 2, jnp.eye(3)[0], 0.0))
        return paid[:, None].repeat(2, axis=1)

    def observe(self, aggregate: AggregateState) -> Array:
        return aggregate.mean_field

    def initial_mean_field(self, noise: Array) -> Array:
        return jnp.eye(3)[0]

    def initial_noise(self, uniform: Array) -> Array:
        return jnp.zeros((), int)

    def next_noise(self, noise: Array, uniform: Array, time: Array) -> Array:
        return noise

    def scenarios(self) -> NoisePaths:
        return NoisePaths(jnp.zeros((1, 4), int), jnp.ones(1))


class Mindful(Policy):
    """Logits that follow the sum of all observations so far: it remembers, and it reacts."""

    def prepare(self) -> None:
        return None

    def start(self) -> Array:
        return jnp.zeros(2)

    def update(self, hidden: Array, observation: Array, time: Array) -> Array:
        return hidden + observation * (1 + time)

    def decode(self, prepared: None, hidden: Array) -> Array:
        return jnp.stack([jnp.stack([hidden[0], hidden[1]]), jnp.stack([1 - hidden[1], hidden[0] ** 2])])

    @staticmethod
    def by_hand(hidden):
        logits = np.array([[hidden[0], hidden[1]], [1 - hidden[1], hidden[0] ** 2]])
        return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def left_right_by_hand(count):
    """Return and gain: -mu'(left) and -2 mu'(right), oneself among the others."""
    left, right = -(1 + (count - 1) * LEFT) / count, -2 * (1 + (count - 1) * (1 - LEFT)) / count
    own = LEFT * left + (1 - LEFT) * right
    return own, max(left, right) - own


def sides_by_hand(count, costs=COSTS):
    """Of `Sides`, by the binomial law of those who choose the same side."""

    def value(cost, chance):
        others = range(count)
        law = [math.comb(count - 1, k) * chance**k * (1 - chance) ** (count - 1 - k) for k in others]
        fields = [(k + 1) / count for k in others]
        return sum(p * (-0.9 * cost * m**3 + 0.81 * m) for p, m in zip(law, fields, strict=True))

    left, right = value(costs[0], LEFT), value(costs[1], 1 - LEFT)
    own = LEFT * left + (1 - LEFT) * right
    return own, max(left, right) - own


def coin_by_hand(game, count, pages):
    """Return and gain by recursion over the states of all agents, one by one; `pages(hidden)` is the policy."""
    model = CoinByHand(game)

    @functools.cache
    def values(time, z, states, hidden):
        if time == game.horizon:
            return 0.0, 0.0
        mu = np.bincount(states, minlength=2) / count
        hidden = tuple(np.asarray(hidden) + np.asarray(model.observe(mu, z, time)) * (1 + time))
        page, kernel = pages(hidden), model.dense(mu, z, time)
        moves = np.einsum("sa,sax->sx", page, kernel)
        futures = [(-1, 0.3), (1, 0.7)] if time + 1 == game.revealed else [(z, 1.0)]
        best, own = np.zeros(2), np.zeros(2)
        for after in itertools.product(range(2), repeat=count):
            others = math.prod(moves[s, x] for s, x in zip(states[1:], after[1:], strict=True))
            for then, p in futures:
                reward = model.reward(mu, z, time, np.bincount(after, minlength=2) / count, then)[states[0]]
                chance = others * p * kernel[states[0], :, after[0]]
                further = values(time + 1, then, after, hidden)
                best += chance * (reward + game.discount * further[0])
                own += chance * (reward + game.discount * further[1])
        return best.max(), page[states[0]] @ own

    starts = [(states, math.prod(model.start(0)[list(states)])) for states in itertools.product(range(2), repeat=count)]
    found = np.array([[p * x for x in values(0, 0, states, (0.0, 0.0))] for states, p in starts]).sum(axis=0)
    return found[1], found[0] - found[1]


def within(estimate, value, errors=4.0, slack=1e-6):
    return abs(estimate.value - value) <= errors * estimate.stderr + slack


@pytest.mark.parametrize("by_hand", [left_right_by_hand, sides_by_hand])
def test_enumeration_by_formula(by_hand):
    game = Sides() if by_hand is sides_by_hand else smfg.games.make("left_right")
    for found in players(game, SIDED, [2, 10], deviator="full"):
        value, gain = by_hand(found.num_players)
        assert found.mean_return == (pytest.approx(value, abs=1e-6), 0)
        assert found.gain == (pytest.approx(gain, abs=1e-6), 0)
        assert (found.num_games, found.neglected) == (0, ())


@pytest.mark.parametrize(("policy", "revealed"), [("table", 1), ("mindful", 2)])
def test_enumeration_by_recursion(policy, revealed):
    game = Coin(revealed=revealed, horizon=2)
    pages, given = ((lambda hidden: TABLE), TABLE) if policy == "table" else (Mindful.by_hand, Mindful())
    for found in players(game, given, [2, 3], deviator="full"):
        value, gain = coin_by_hand(game, found.num_players, pages)
        assert found.mean_return.value == pytest.approx(value, abs=1e-6)
        assert found.gain.value == pytest.approx(gain, abs=1e-6)


def test_sampled_by_formula():
    """What is known of the others is worth nothing here. The mean field counts oneself, now and one step later."""
    (found,) = players(smfg.games.make("left_right"), SIDED, [3], key=KEY)
    value, gain = left_right_by_hand(found.num_players)
    assert within(found.mean_return, value)
    assert found.gain == (pytest.approx(gain, abs=1e-6), pytest.approx(0, abs=1e-9))
    assert found.neglected == ()
    (found,) = players(Sides(), SIDED, [3], key=KEY, num_games=20_000)
    value, gain = sides_by_hand(found.num_players)
    assert within(found.mean_return, value)
    assert within(found.gain, gain)
    assert found.gain.stderr < 0.1 * gain


@pytest.mark.parametrize(
    ("game", "policy"),
    [
        (Jammed(horizon=2), TABLE),
        pytest.param(Coin(horizon=2, crowding=0.0), TABLE, marks=pytest.mark.slow),
        pytest.param(Coin(horizon=2), TABLE, marks=pytest.mark.slow),
        pytest.param(Coin(horizon=2), Mindful(), marks=pytest.mark.slow),
    ],
)
def test_sampled_against_enumeration(game, policy):
    """Returns agree, and a deviator who knows less gains no more, but for the reaction that it neglects."""
    (exact,) = players(game, policy, [3], deviator="full")
    (found,) = players(game, policy, [3], key=KEY, num_games=4000)
    assert within(found.mean_return, exact.mean_return.value)
    assert found.gain.value <= exact.gain.value + 4 * found.gain.stderr + (0.05 if policy is not TABLE else 0)
    assert found.gain.value > 0.5 * exact.gain.value
    assert found.neglected == (("reaction",) if policy is not TABLE or game.crowding > 0 else ())


@pytest.mark.slow
@pytest.mark.parametrize("deviator", ["non_anticipative", "clairvoyant"])
def test_the_limit(deviator):
    """As N grows: the exploitability, and the return of the mean field, at rate 1 / N."""
    game = Coin()
    few, many = players(game, TABLE, [10, 10_000], key=KEY, deviator=deviator, num_games=400)
    limit = smfg.solvers.exploitability(game, TABLE, kind=deviator).value
    value = float(smfg.solvers.best_response(game, TABLE).mean_return)
    for found in (few, many):
        assert found.mean_field_gain == pytest.approx(limit, abs=1e-5)
        assert found.mean_field_return == pytest.approx(value, abs=1e-5)
    assert within(many.gain, limit, slack=1e-3)
    assert within(many.mean_return, value, slack=1e-3)
    assert abs(few.mean_return.value - value) > 10 * abs(many.mean_return.value - value)
    assert many.mean_return.stderr < 1e-3 < few.mean_return.stderr  # 1 / N by the copies, not N^(-1/2)
    assert many.gain.stderr < few.gain.stderr / 100


def test_the_return_is_that_of_a_population():
    game = smfg.games.make("left_right")
    (found,) = players(game, SIDED, [5], key=KEY)
    policy = smfg.policies.tabular(game, SIDED)
    lived = jax.vmap(
        lambda key: simulate_population(game, policy, jnp.zeros(2, int), num_agents=5, key=key).returns.mean()
    )
    returns = np.asarray(lived(jax.random.split(KEY, 4000)))
    plain = Estimate(returns.mean(), math.hypot(returns.std() / np.sqrt(len(returns)), found.mean_return.stderr))
    assert within(plain, found.mean_return.value)


@pytest.mark.slow
def test_a_game_without_interaction():
    """The others do not matter, however many there are, nor what is known of them."""
    game = smfg.games.make("beach_bar", num_states=5, horizon=2)
    policy = smfg.policies.uniform(game)
    limit = smfg.solvers.best_response(game, policy)
    (exact,) = players(game, policy, [2], deviator="full")
    (found,) = players(game, policy, [7], key=KEY, num_games=50)
    for one in (exact, found):
        assert one.gain == (pytest.approx(limit.exploitability, rel=1e-5), pytest.approx(0, abs=1e-6))
    assert exact.mean_return.value == pytest.approx(limit.mean_return, rel=1e-5)


@pytest.mark.slow
def test_gains_are_measured_on_other_games():
    """Where nothing can be gained, luck in the games that the response was learned on must not count as gain."""
    game, even = Sides(costs=(1.0, 1.0)), np.full((3, 2), 0.5)
    found = players(game, even, [4] * 400, key=KEY, num_games=4)
    gains, errors = np.array([one.gain for one in found]).T
    assert abs(gains.mean()) < 4 * gains.std() / np.sqrt(len(gains))
    assert np.sqrt((errors**2).mean()) == pytest.approx(gains.std(), rel=0.4)
    assert gains.std() > 1e-3


@pytest.mark.slow
def test_the_response_learns_from_games_where_it_pays():
    """Luck bends the cost mu^3, so that the best response to the mean field goes to the wrong side."""
    game, count = Sides(costs=(1.0, 1.76)), 4
    _, gain = sides_by_hand(count, game.costs)
    (found,) = players(game, SIDED, [count], key=KEY, num_games=40_000)
    assert within(found.gain, gain)
    assert found.gain.stderr < gain / 5


@pytest.mark.slow
def test_stratified_and_drawn_noise(monkeypatch):
    """A path counts with its probability, however often it is played; drawn paths give errors over paths."""
    game = Coin(horizon=2)
    (found,) = players(game, TABLE, [3], key=KEY, num_games=10)
    assert found.num_games == 12  # three games a path and half
    monkeypatch.setattr(_players, "MAX_STRATA", 1)
    (drawn,) = players(game, TABLE, [3], key=KEY, num_paths=40)
    assert drawn.deviator == "clairvoyant"
    assert drawn.num_games % 80 == 0
    by_path = smfg.solvers.best_response(game, TABLE, kind="clairvoyant").by_path
    spread = np.sqrt(0.3 * 0.7) * abs(by_path[1] - by_path[0]) / np.sqrt(40)
    assert spread / 2 < drawn.gain.stderr < 2 * spread


@pytest.mark.slow
def test_continuous_noise():
    macro = smfg.games.make("macro", num_wealth=6, num_income=3, num_actions=4, horizon=3, max_wealth=20.0)
    policy = smfg.policies.uniform(macro)
    few, many = players(macro, policy, [5, 10_000], key=KEY, num_paths=3, num_games=12)
    assert few.deviator == many.deviator == "clairvoyant"
    assert within(many.gain, many.mean_field_gain, errors=0, slack=1e-2 * many.mean_field_gain)
    assert many.gain.stderr > 0


def test_without_the_own_weight(monkeypatch):
    """In large games the agent is one of a continuum among N - 1 others, and that is said."""
    monkeypatch.setattr(_players, "_MAX_PAIRS_WITH_OWN_WEIGHT", 5)
    (found,) = players(smfg.games.make("left_right"), SIDED, [3], key=KEY)
    left, right = -LEFT, -2 * (1 - LEFT)
    assert within(found.gain, max(left, right) - LEFT * left - (1 - LEFT) * right, slack=0.01)
    assert found.neglected == ("own weight",)


@pytest.mark.parametrize(
    ("name", "parameters", "depend"),
    [("left_right", {}, False), ("beach_bar_crowded", {"num_states": 7, "horizon": 3}, False),
     ("macro", {"num_wealth": 5, "num_income": 2, "horizon": 3}, True)],
)  # fmt: skip
def test_whether_moves_depend_on_the_mean_field(name, parameters, depend):
    """Then the others react to a deviation whatever the policy sees, by prices for instance, and that is said."""
    game = smfg.games.make(name, **parameters)
    noise = smfg.games.noise_paths(game, key=KEY, num_paths=2).noise
    along = _players.mean_field_paths(game, smfg.policies.uniform(game), noise)
    assert bool(_players.kernel_depends_on_mean_field(game, along)) == depend


def test_the_rate():
    def row(count, gain, stderr=0.0, limit=0.0):
        return PlayersEvaluation(count, Estimate(0, 0), 0.0, Estimate(gain, stderr), limit, "full", 0, ())

    limited = [row(n, 0.3 + 5 / n, limit=0.3) for n in (10, 100, 1000)]
    assert gain_rate(limited) == (pytest.approx(-1), pytest.approx(0, abs=1e-9))
    assert gain_rate([row(n, 5 / n) for n in (10, 100, 1000)]) == (pytest.approx(-1), pytest.approx(0, abs=1e-9))
    noisy = gain_rate([row(n, 5 / n, 0.5 / n) for n in (10, 100, 1000)])
    assert noisy.stderr == pytest.approx(0.1 / np.log(10) / np.sqrt(2))
    assert gain_rate([row(10, 1.0), row(100, 0.1), row(1000, 0.1, 0.06)]) is None
    bent = gain_rate([row(10, 1.0), row(100, 0.1), row(1000, 0.02)])
    assert bent.stderr == pytest.approx(np.log(2) / np.sqrt(6) / np.log(10) / np.sqrt(2))


MACRO = smfg.games.make("macro", num_wealth=6, num_income=3, num_actions=4, horizon=3)
BEACH = smfg.games.make("beach_bar", num_states=12, horizon=4)


@pytest.mark.parametrize(
    ("game", "given", "message"),
    [
        (Coin(), {"num_players": [1]}, "at least 2"),
        (Coin(), {"num_players": [10.0]}, "whole number"),
        (Coin(), {"num_players": []}, "is empty"),
        (Coin(), {"num_players": np.array(3)}, "must be a Sequence or ndarray, but is a int"),
        (Coin(), {"deviator": "clairvoiant"}, "did you mean clairvoyant"),
        (Coin(), {"key": None}, "give a key"),
        (Coin(), {"num_games": 0}, "num_games"),
        (Coin(), {"policy": np.ones((2, 2))}, "sum"),
        (Coin(), {"deviator": "full", "num_players": [400_000]}, "too large to enumerate"),
        (BEACH, {"deviator": "full", "num_players": [9]}, "too large to enumerate"),
        (MACRO, {"deviator": "full"}, "continuous"),
        (MACRO, {"deviator": "non_anticipative"}, "finite common noise"),
        (MACRO, {"num_paths": 1}, "num_paths"),
    ],
)
def test_bad_input(unchecked, game, given, message):
    policy = TABLE if game.num_states == 2 else smfg.policies.uniform(game)
    arguments = {"policy": policy, "num_players": [3], "key": KEY, **given}
    with pytest.raises(ValueError, match=message):
        players(game, **arguments)
