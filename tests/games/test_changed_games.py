"""Games by content: numbers are those of the game as it is, whatever lies in its fields and however it was changed."""

import copy
import dataclasses
import functools
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import structmfg as smfg
from structmfg.operators import DenseKernel
from structmfg.solvers import RSPG, SPG, ExactEquilibrium, exploitability, solve

FACTOR = 1.0


class Rates:
    scale = 1.0


class Bets(smfg.Game):
    """Two sides, of which one pays `scale`: exploitability of the uniform policy is half of that."""

    num_states, num_actions, horizon, discount = 2, 2, 1, 1.0
    scale: Any = 1.0

    def paid(self):
        return self.scale

    def kernel(self, aggregate):
        return DenseKernel(jnp.broadcast_to(jnp.eye(2), (2, 2, 2)))

    def reward(self, aggregate, following):
        return jnp.ones((2, 1)) * jnp.array([0.0, 1.0]) * self.paid()

    def observe(self, aggregate):
        return jnp.zeros(1)

    def initial_noise(self, uniform):
        return jnp.zeros(())

    def next_noise(self, noise, uniform, time):
        return noise

    def noise_chain(self):
        return smfg.games.NoiseChain(np.zeros(1), np.ones(1), np.ones((1, 1)))


@functools.cache
def _uniform():
    return smfg.policies.uniform(Bets())


def gain(game):
    return exploitability(game, _uniform()).value


def made(paid, **held):
    """A game of a class of its own."""
    game = type("Own", (Bets,), {"paid": paid})()
    vars(game).update(held)
    return game


def double(name):
    def change(game):
        value = getattr(game, name)
        setattr(game, name, 2 * value)

    return change


def in_place(game):
    game.scale[0] *= 2


def of_class(game):
    type(game).scale = 2.0


def of_method(game):
    type(game).paid = lambda self: 2.0


def of_global(game):
    globals()["FACTOR"] = 2.0


def cell(by):
    return lambda self: by[0]


HELD = [1.0]


@pytest.mark.parametrize(
    ("game", "change"),
    [
        (made(lambda self: self.scale, scale=1.0), double("scale")),
        (made(lambda self: self.scale, scale=jnp.ones(())), double("scale")),
        (made(lambda self: self.scale[0], scale=np.ones(1)), in_place),
        (made(lambda self: self.scale[0], scale=[1.0, "so"]), in_place),
        (made(lambda self: self.scale[0], scale={0: 1.0}), in_place),
        (made(lambda self: self.scale.of[0], scale=types.SimpleNamespace(of=[1])), lambda g: g.scale.of.insert(0, 2)),
        (made(lambda self: self.scale), of_class),
        (made(lambda self: self.scale), of_method),
        (made(lambda self: 1.0), lambda g: vars(g).update(paid=lambda: 2.0)),
        (made(lambda self: self.scale.scale, scale=Rates()), lambda g: setattr(g.scale, "scale", 2.0)),
        (made(lambda self: FACTOR), of_global),
        (made(cell(HELD)), lambda g: HELD.insert(0, 2.0)),
    ],
    ids=[
        *("number", "jax", "numpy", "list", "dictionary", "object"),
        *("class", "method", "own method", "class of a field", "global", "closure"),
    ],
)
def test_numbers_are_those_of_the_game_as_it_is(game, change):
    assert gain(game) == pytest.approx(0.5)
    change(game)
    assert gain(game) == pytest.approx(1.0)


def test_a_shared_class_is_seen(monkeypatch):
    game = made(lambda self: self.scale.scale, scale=Rates)
    assert gain(game) == pytest.approx(0.5)
    monkeypatch.setattr(Rates, "scale", 2.0)
    assert gain(game) == pytest.approx(1.0)


def test_a_network_follows_its_game():
    """Features of the states are those of the game as it is."""

    class Own(Bets):
        def state_features(self):
            return self.features

    game = Own()
    game.features = np.array([[0.0], [0.0]])
    policy = smfg.policies.memoryless(game, hidden=4, width=4, rank=2).initialised(jax.random.key(0))
    alike = exploitability(game, policy).value
    game.features[1] = 1.0
    fresh = Own()
    fresh.features = np.array([[0.0], [1.0]])
    other = smfg.policies.memoryless(fresh, hidden=4, width=4, rank=2).with_parameters(policy.parameters)
    assert exploitability(game, policy).value == exploitability(fresh, other).value != alike
    trained = [
        solve(of, SPG(by), key=jax.random.key(0), max_steps=2).stats["returns"]
        for of, by in ((game, policy), (fresh, other))
    ]
    assert trained[0] == trained[1]


@dataclasses.dataclass(frozen=True)
class Paid(Bets):
    scale: Any = dataclasses.field(default_factory=lambda: np.ones(1))


@dataclasses.dataclass
class Mutable(Bets):
    scale: Any = dataclasses.field(default_factory=lambda: {"of": [1.0]})

    def paid(self):
        return self.scale["of"][0]


@dataclasses.dataclass(frozen=True, slots=True, unsafe_hash=True)
class Slotted(Bets):
    scale: Any = dataclasses.field(default_factory=lambda: jnp.ones(1))


class OnlyEqual(Bets):
    def __eq__(self, other):
        return self is other


class ByScale(Bets):
    scale = 1

    def __eq__(self, other):
        return self.scale == other.scale

    def __hash__(self):
        return 0


def test_own_equality_is_asked_of_one_class():
    """JAX's caches compare games whose hashes resemble each other, whatever their classes."""
    assert ByScale() == ByScale()
    assert ByScale() != Bets()
    assert Bets() != ByScale()
    assert ByScale() != 1


@pytest.mark.parametrize("kind", [Paid, Mutable, Slotted, OnlyEqual])
def test_games_with_arrays_are_hashable(kind):
    assert gain(kind()) == pytest.approx(0.5)
    assert hash(kind()) is not None
    assert (kind() == kind()) == (kind is not OnlyEqual)
    assert kind() != Bets()


def test_a_solve_takes_a_game_with_arrays():
    policy = smfg.policies.recurrent(Paid(), hidden=4, width=4, rank=2)
    assert solve(Paid(), RSPG(policy), key=jax.random.key(0), max_steps=1).result.succeeded
    game = Mutable()
    for scale in (1.0, 2.0):
        game.scale["of"][0] = scale
        solution = solve(game, ExactEquilibrium(), max_steps=50)
        assert max(solution.stats["returns"]) == pytest.approx(scale)


def test_games_of_different_content_differ():
    assert Paid(np.ones(1)) != Paid(np.ones(2))
    assert Paid(np.ones(1)) != Paid(2 * np.ones(1))
    assert Paid(np.ma.array([1.0], mask=[False])) != Paid(np.ma.array([1.0], mask=[True]))
    assert smfg.games.LinearQuadratic(num_states=9) != smfg.games.LinearQuadratic(num_states=11)
    assert smfg.games.LinearQuadratic() == copy.deepcopy(smfg.games.LinearQuadratic())


def test_nothing_is_compiled_again_for_an_equal_game():
    """Nor for one that keeps what it has derived."""

    class Lazy(Bets):
        @functools.cached_property
        def kept(self):
            return np.ones(1)

        def paid(self):
            return self.kept[0]

    compiled = []

    def listen(event, seconds, **_):
        if "backend_compile" in event:
            compiled.append(event)

    game = Lazy()
    gain(game)
    jax.monitoring.register_event_duration_secs_listener(listen)
    assert gain(game) == gain(Lazy()) == pytest.approx(0.5)
    assert not compiled
    Lazy.scale = 3.0
    gain(game)
    assert compiled


def test_copies_forget_what_they_derived():
    class Derived(Bets):
        @functools.cached_property
        def kept(self):
            return self.scale

        def paid(self):
            return self.kept

    game = Derived()
    game.scale = 1.0
    assert gain(game) == pytest.approx(0.5)
    game.scale = 2.0
    assert gain(game) == pytest.approx(1.0)


def test_noise_of_a_changed_game():
    game = type("Noisy", (Bets,), {"next_noise": lambda self, noise, uniform, time: noise + self.scale})()

    def last():
        return smfg.games.noise_paths(game, key=jax.random.key(0), num_paths=2).noise[:, -1].tolist()

    assert last() == [1.0, 1.0]
    game.scale = 2.0
    assert last() == [2.0, 2.0]
