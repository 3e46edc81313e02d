"""A game against its oracle: at its default size, and made wrong on purpose."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.small_games import acted
from helpers.tiny_game import Coin, CoinByHand

import structmfg as smfg
from structmfg.operators import DenseKernel
from structmfg.verification import matches_oracle, oracles

SMALL = {"macro": {"num_wealth": 8, "num_income": 3, "num_actions": 4}}
CHECKS = ("start", "transitions", "products", "reward", "observation")


def points(game, times):
    """Random mean fields at some times of a random noise path, and one time later."""
    noise = smfg.games.noise_path(game, smfg.games.innovations(jax.random.key(0), 1, game.horizon + 1, "iid")[0])
    rng = np.random.default_rng(0)

    def at(time):
        mean_field, z = rng.dirichlet(np.ones(game.num_states)), jax.tree.map(lambda z: z[time], noise)
        public = game.initial_public(z)
        return acted(game, game.aggregate(mean_field=mean_field, noise=z, time=time, public=public))

    return [(at(time), at(time + 1)) for time in times]


def failures(game, model, at=1):
    (point,) = points(game, [at])
    return {result.name.split()[0]: result.where for result in matches_oracle(game, model, *point) if not result.passed}


@pytest.mark.slow  # `test_games` holds small sizes against the same oracles
@pytest.mark.parametrize("name", smfg.games.GAMES)
def test_games_at_their_default_size(name):
    """At the first, a middle and the last step; in double precision, though the package works in single."""
    game = smfg.games.make(name)
    game = smfg.games.truncated(game, 3) if game.horizon is None else game
    for point in points(game, sorted({0, game.horizon // 2, game.horizon - 1})):
        results = matches_oracle(game, oracles.model(game), *point)
        assert tuple(result.name.split()[0] for result in results) == CHECKS + ("declared",) * bool(game.declared)
        assert [result.name for result in results if not result.passed] == []
        assert max(result.bound for result in results) == 1e-12


def test_every_game_has_a_model_and_others_have_none():
    assert set(oracles.MODELS) == set(smfg.games.GAMES)

    class LeftRight(smfg.games.LeftRight):
        """A user's, with a name that is taken."""

    for name, model in oracles.MODELS.items():
        assert type(oracles.model(smfg.games.make(name, **SMALL.get(name, {})))) is model
    assert oracles.model(LeftRight()) is None
    assert oracles.model(Coin()) is None
    assert isinstance(CoinByHand(Coin()), oracles.Model)


@dataclasses.dataclass(frozen=True)
class Wrong(Coin):
    """`Coin`, with one piece told otherwise."""

    what: str = ""

    def kernel(self, aggregate):
        dense = super().kernel(aggregate).as_dense()
        late = dataclasses.replace(aggregate, noise=-aggregate.noise)
        wrong = {
            "one entry": dense.at[1, 0].add(jnp.array([-1e-9, 1e-9])),
            "transposed": jnp.swapaxes(dense, 0, 2),
            "other noise": super().kernel(late).as_dense(),
        }
        return DenseKernel(wrong.get(self.what, dense))

    def reward(self, aggregate, following):
        if self.what == "not a number":
            return super().reward(aggregate, following).at[1, 1].set(jnp.nan)
        if self.what == "reward before the step":
            return super().reward(aggregate, aggregate)
        sign = jnp.ones((2, 2)).at[0, 1].set(-1 if self.what == "sign" else 1)
        return sign * super().reward(aggregate, following)

    def observe(self, aggregate):
        if self.what == "raises":
            raise RuntimeError("no observation here")
        return super().observe(aggregate) * (1 + 1e-9 * (self.what == "observation"))

    def initial_mean_field(self, noise):
        return super().initial_mean_field(noise)[:: -1 if self.what == "start" else 1]


@pytest.mark.parametrize(
    ("what", "found", "where"),
    [
        ("", set(), ""),
        ("one entry", {"transitions", "products"}, "state 1, action 0, t = 1, to state "),
        ("transposed", {"transitions", "products"}, ""),
        ("other noise", {"transitions", "products"}, "t = 1"),
        ("reward before the step", {"reward"}, "t = 1, state "),
        ("not a number", {"reward"}, "t = 1, state 1, action 1: nan, but"),
        ("sign", {"reward"}, "t = 1, state 0, action 1: "),
        ("observation", {"observation"}, "t = 1, mean field "),
        ("raises", {"observation"}, "raised RuntimeError: no observation here"),
        ("start", {"start"}, "z_0 = 0, state "),
    ],
)
def test_a_wrong_piece_is_named(what, found, where):
    game = Wrong(revealed=1, what=what)
    wrong = failures(game, CoinByHand(game))
    assert set(wrong) == found
    assert where in "".join(wrong.values())


class OutOfBounds(oracles.LeftRight):
    def moves(self, mu, z, t):
        yield 0, 0, 3, 1.0


@dataclasses.dataclass(frozen=True)
class Short(oracles.Model):
    """A model whose numbers are too few."""

    horizon: int = 3
    discount: float = 0.9

    def start(self, z):
        return np.ones(2) / 2

    def dense(self, mu, z, t):
        return np.ones((2, 2, 2)) / 2

    def reward(self, mu, z, t, next_mu, next_z):
        return np.zeros((2, 1))

    def observe(self, mu, z, t):
        return [0.0]


def test_an_oracle_that_is_wrong_itself():
    game = smfg.games.make("left_right")
    assert "moves to state 3, but there are 3" in failures(game, OutOfBounds(game), 0)["transitions"]
    wrong = failures(Coin(), Short())
    assert wrong["reward"].endswith("the game gives an array of shape (2, 2), the oracle one of shape (2, 1)")


def test_listed_moves_are_the_dense_array():
    game = smfg.games.make("beach_bar", num_states=7, max_action=1, horizon=4)
    model = oracles.model(game)
    mu, z, dense = model.start((3, 1)), (3, 1), np.zeros((7, 3, 7))
    for s, a, u, probability in oracles.moves(model, mu, z, 0):
        dense[s, a, u] += probability
    np.testing.assert_array_equal(model.dense(mu, z, 0), dense)
    coin = CoinByHand(Coin())
    assert [p for *_, p in oracles.moves(coin, coin.start(0), 0, 0)] == list(coin.dense(coin.start(0), 0, 0).ravel())


@pytest.mark.parametrize(("game", "model"), [(Coin(), None), ("coin", CoinByHand(Coin()))])
@pytest.mark.usefixtures("unchecked")
def test_bad_arguments(game, model):
    (point,) = points(Coin(), [0])
    with pytest.raises(ValueError, match="must be a"):
        matches_oracle(game, model, *point)


@pytest.mark.parametrize("file", sorted((Path(__file__).parents[1] / "data").glob("*.npz")), ids=lambda file: file.stem)
def test_oracles_against_vectors_from_outside(file):
    """Those of `test_games_reference`, made in single precision by somebody else."""
    name, data = file.stem.rsplit("_", 1)[0], dict(np.load(file))
    game = smfg.games.make(name)
    model, mu, time = oracles.model(game), data["mu"].astype(float), int(data["t"])
    z = next_z = data["z"].item()
    if name == "beach_bar":
        z, next_z = (int(data["bar"]), z), (int(data["bar"]), int(data["next_z"]))
    state, action, target, probability = map(np.array, zip(*oracles.moves(model, mu, z, time), strict=True))
    weights = data["policy"].astype(float)[state, action] * probability
    next_mu = np.bincount(target, mu[state] * weights, minlength=len(mu))
    observation = data["observation"] if "observation" in data else [data["interest_rate"], data["wage"]]
    for found, expected, bound in (
        (next_mu, data["next_mu"], 1e-5),
        (np.bincount(state, weights * data["values"][target]), data["expected"], 2e-5 if name == "macro" else 1e-5),
        (model.reward(mu, z, time, next_mu, next_z), data["reward"], 1e-5),
        (model.observe(mu, z, time), observation, 1e-5),
    ):
        assert np.abs(np.asarray(found) - expected).max() <= bound * np.abs(expected).max()
