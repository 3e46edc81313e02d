"""Bounds of the public exploitability by Bayes' rule over a hidden chain, against enumeration of all noise paths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import structmfg as smfg
from structmfg.cli._output import basis
from structmfg.evaluation.bounds._filter import FilteredGame
from structmfg.games import Game, NoiseChain
from structmfg.operators import LatticeKernel
from structmfg.runs._result import bounds_object
from structmfg.solvers import evaluate_paths, exploitability, exploitability_bounds


class Regimes(Game):
    """On a line of seven places a regime decides where it pays to be; two of three regimes look alike."""

    num_states, num_actions, horizon, discount = 7, 3, 4, 0.95

    def __init__(self, drift=0, spread=0.0, seen=False, scale=1.0):
        self.drift, self.spread, self.seen, self.scale = drift, spread, seen, scale

    def noise_chain(self):
        transition = np.array([[0.8, 0.15, 0.05], [0.1, 0.7, 0.2], [0.25, 0.05, 0.7]])
        return NoiseChain(np.arange(3), np.array([0.2, 0.5, 0.3]), transition)

    def initial_noise(self, uniform):
        return self.noise_chain().first(uniform)

    def next_noise(self, noise, uniform, time):
        return self.noise_chain().following(noise, uniform)

    def initial_mean_field(self, noise):
        """With `spread` it is wider in regime 2, around the same mean, which is observed."""
        mass = 1 + self.spread * (noise == 2) * abs(jnp.arange(7) - 3)
        return mass / mass.sum()

    def kernel(self, aggregate):
        return LatticeKernel(7, (-1, 0, 1), shift=self.drift * (aggregate.noise == 2), max_shift=1)

    def reward(self, aggregate, following):
        """The place that pays is that of the regime at t; to move up pays if regime 1 comes next."""
        best = jnp.array([0.0, 6.0, 3.0])[aggregate.noise]
        places = -jnp.abs(jnp.arange(7) - best) - 2 * aggregate.mean_field
        luck = 0.3 * (1 + aggregate.noise) * (following.noise == 1)
        return places[:, None] - jnp.array([0.1, 0, 0.1]) + luck * jnp.arange(3)

    def observe(self, aggregate):
        regime = aggregate.noise if self.seen else aggregate.noise == 1
        return jnp.stack([self.scale * regime.astype(float), aggregate.mean_field @ jnp.arange(7.0)])


def network(game):
    return smfg.policies.recurrent(game, head="ordered", hidden=4, width=8, depth=1, rank=2).initialised(
        jax.random.key(0)
    )


@pytest.fixture(scope="module")
def measured():
    """A game, its policy, and bounds over many paths."""
    game = Regimes()
    policy = network(game)
    return game, policy, exploitability_bounds(game, policy, key=jax.random.key(0), num_paths=64)


def test_bounds_hold_the_exact_value(measured):
    """Two regimes that look alike make public information worth less."""
    game, policy, found = measured
    exact = exploitability(game, policy, kind="public").value
    lower, upper = found.public
    assert not found.reveals_noise
    assert lower.value - 3 * lower.stderr < exact < upper.value + 3 * upper.stderr
    assert -1e-9 < upper.value - lower.value < 1e-3 * exact
    assert upper.value + 4 * upper.stderr < found.lower.value


def test_beliefs_are_frequencies_of_paths(measured):
    """Against the probabilities of all noise paths that agree with what has been seen so far."""
    game, policy, _ = measured
    seen = FilteredGame(game)
    states, probabilities = game.noise_chain().paths(game.horizon)
    some = np.arange(0, len(states), 7)
    paths = evaluate_paths(seen, policy, jnp.asarray(states[some])).aggregates
    for path, beliefs in zip(some, np.asarray(paths.public), strict=True):
        for time, belief in enumerate(beliefs):
            alike = ((states[:, : time + 1] == 1) == (states[path, : time + 1] == 1)).all(1)
            mass = np.bincount(states[alike, time], probabilities[alike], minlength=3)
            np.testing.assert_allclose(belief, mass / mass.sum(), atol=1e-6)


def test_reward_is_the_mean_given_the_next_noise(measured):
    """Its mean over z' is the mean over all pairs."""
    game, _, _ = measured
    seen, transition = FilteredGame(game), game.noise_chain().transition
    belief, mean_field = np.array([0.6, 0.0, 0.4]), np.full(7, 1 / 7)
    now = seen.aggregate(mean_field=mean_field, noise=0, time=1, public=belief)
    then = [seen.advance(now, now.mean_field, jnp.asarray(z)) for z in range(3)]
    mean = sum(weight * seen.reward(now, at) for weight, at in zip(belief @ transition, then, strict=True))
    pairs = [(game.aggregate(mean_field=mean_field, noise=z, time=1), belief[z] * transition[z]) for z in (0, 2)]
    plain = [game.aggregate(mean_field=mean_field, noise=z, time=2) for z in range(3)]
    wanted = sum(row[z] * game.reward(at, plain[z]) for at, row in pairs for z in range(3))
    np.testing.assert_allclose(mean, wanted, rtol=1e-5)


def test_observations_are_told_apart_alike_in_both_precisions():
    """A scale that single precision takes for rounding, and double precision does not."""
    game, policy = Regimes(scale=1e-4), np.full((7, 3), 1 / 3)
    lower, upper = exploitability_bounds(game, policy, key=jax.random.key(0), num_paths=8).public
    assert upper.value - lower.value < 1e-3 * upper.value


@pytest.mark.parametrize(
    "changed",
    [{"drift": 1}, {"spread": 0.1}],
    ids=["a kernel that reads the regime", "a start that reads the regime"],
)
def test_unknown_where_a_belief_over_the_chain_does_not_suffice(changed):
    game = Regimes(**changed)
    found = exploitability_bounds(game, np.full((7, 3), 1 / 3), key=jax.random.key(0), num_paths=8)
    assert found.public is None


def test_unknown_where_the_population_knows_the_noise():
    game = Regimes()
    informed = smfg.solvers.best_response(game, np.full((7, 3), 1 / 3)).policy
    assert exploitability_bounds(game, informed, key=jax.random.key(0), num_paths=8).public is None


def test_with_nothing_hidden_both_kinds_are_the_same():
    game = Regimes(seen=True)
    found = exploitability_bounds(game, np.full((7, 3), 1 / 3), key=jax.random.key(0), num_paths=8)
    assert found.public == (found.lower, found.upper)


def test_the_command_line_tells_them(measured):
    _, _, found = measured
    told = bounds_object(found)
    lower, upper = found.public
    assert (told["public_lower"], told["public_upper_stderr"]) == (lower.value, upper.stderr)
    anchors = {"floor": dict.fromkeys(smfg.reports.KINDS)}
    text = basis({"anchors": anchors, "evaluation": {"noise_paths": 8, "exact": False}, "bounds": told})
    assert f"public: from {lower.value:.4g}" in text
