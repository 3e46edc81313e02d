"""Games that break somewhere along the way, rewards that hide their differences, noise values that are equal.

Each is refused with one line that says where, or answered rightly.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import structmfg as smfg
from structmfg.games import NoiseChain, NoisePaths
from structmfg.operators import DenseKernel, LatticeKernel
from structmfg.solvers import (
    RESULTS,
    RSPG,
    ExactEquilibrium,
    best_response_gains,
    evaluate_paths,
    exploitability,
    solve,
)

MOVES = np.array([[[0.5, 0.5], [0.9, 0.1]], [[0.2, 0.8], [0.6, 0.4]]])
CHAIN = NoiseChain(np.array([0.0, 1.0]), np.array([0.3, 0.7]), np.array([[0.8, 0.2], [0.4, 0.6]]))


class Two(smfg.Game):
    """Two states, two actions, two noise states; to be broken from time `since` on."""

    num_states, num_actions, horizon, discount, since = 2, 2, 4, 1.0, 2
    leak, negative, start, forbidden, shift, chain = 0.0, 0.0, (0.5, 0.5), 0.0, 0.0, CHAIN

    def kernel(self, aggregate):
        late = jnp.where(aggregate.time >= self.since, 1.0, 0.0)
        moves = (1 - late * self.leak) * jnp.asarray(MOVES, float)
        return DenseKernel(moves + late * self.negative * jnp.array([1.0, -1.0]))

    def reward(self, aggregate, following):
        late = (aggregate.time >= self.since) & (jnp.eye(2)[1][:, None] * jnp.eye(2)[1] > 0)
        base = jnp.array([[1.0, 0.2], [-0.3, 0.5]]) + jnp.array([[0.0, 1.0], [0.5, 0.0]]) * following.noise
        return self.shift + base - aggregate.mean_field[:, None] + jnp.where(late, self.forbidden, 0.0)

    def observe(self, aggregate):
        return aggregate.mean_field

    def initial_mean_field(self, noise):
        return jnp.asarray(self.start, float)

    def initial_noise(self, uniform):
        return self.chain.first(uniform)

    def next_noise(self, noise, uniform, time):
        return self.chain.following(noise, uniform)

    def noise_chain(self):
        return self.chain


class Unlisted(Two):
    """The same, its noise drawn."""

    def noise_chain(self):
        return None


def make(base=Two, **fields):
    return type("Broken", (base,), fields)()


BROKEN = [
    ({"leak": 0.1}, r"rows of kernel must .* at time 2 with common noise .* sum is 0.9"),
    ({"negative": -0.6}, r"rows of kernel must .* at time 2 .* least probability -0.1"),
    ({"start": (4.5, 4.5)}, r"initial_mean_field|mean fields must .* at time 0 .* the sum is 9"),
]


@pytest.mark.parametrize(("fields", "message"), BROKEN)
def test_masses_and_rows_after_the_start(fields, message, unchecked):
    game, uniform = make(**fields), smfg.policies.uniform(Two())
    with pytest.raises(ValueError, match=message):
        solve(game, ExactEquilibrium(), max_steps=5)
    with pytest.raises(ValueError, match=message):
        exploitability(game, uniform)
    drawn = make(Unlisted, **fields)
    with pytest.raises(ValueError, match=message):
        solve(drawn, RSPG(smfg.policies.recurrent(Two())), key=jax.random.key(0), max_steps=1)
    if "negative" not in fields:
        paths = smfg.games.noise_paths(drawn, key=jax.random.key(0), num_paths=2)
        with pytest.raises(ValueError, match="mean fields must be nonnegative and sum to 1"):
            evaluate_paths(drawn, uniform, paths.noise)


def test_rewards_that_are_not_finite(unchecked):
    """In words, with state, action and time."""
    words = "reward of state 1, action 1 at time 2 with common noise . is -inf"
    game = make(forbidden=-np.inf)
    with pytest.raises(ValueError, match=words):
        exploitability(game, smfg.policies.uniform(game))
    solution = solve(game, ExactEquilibrium(), max_steps=5, throw=False)
    assert solution.result is RESULTS.nonfinite
    assert "at the start" in solution.stats["failure"]
    with pytest.raises(RuntimeError, match=words):
        solve(
            make(Unlisted, forbidden=-np.inf), RSPG(smfg.policies.recurrent(Two())), key=jax.random.key(0), max_steps=9
        )


@pytest.mark.parametrize("loss", [pytest.param(-1e9, marks=pytest.mark.slow), -1e30])
def test_large_losses(loss):
    """The status is true: the certificate is a number, that of the policy returned."""
    game = make(forbidden=loss)
    solution = solve(game, ExactEquilibrium(), max_steps=40)
    fresh = exploitability(game, solution.policy, kind="non_anticipative").value
    assert fresh == pytest.approx(solution.stats["exploitability"], rel=1e-9)
    assert (solution.result is RESULTS.converged) == (fresh <= 1e-6)


def test_a_constant_in_the_rewards_changes_nothing():
    """On trees and along paths, in single precision, too."""
    table = np.array([[0.5, 0.5], [0.9, 0.1]])
    for base, how in ((Two, {}), (Two, {"kind": "non_anticipative"}), (Unlisted, {"key": jax.random.key(1)})):
        plain, shifted = (exploitability(make(base, shift=c), table, **how).value for c in (0.0, 1e8))
        assert plain > 0.1
        assert shifted == pytest.approx(plain, rel=1e-6)
    paths = smfg.games.noise_paths(Two(), key=jax.random.key(0), num_paths=2)
    policy = smfg.policies.tabular(Two(), table)
    traced = jax.jit(lambda paths: best_response_gains(make(shift=1e3), policy, paths))(paths)
    np.testing.assert_allclose(traced, best_response_gains(Two(), policy, paths), rtol=2e-3)


class Listed(Two):
    """Two scenarios of given weights."""

    weights, values = (0.75, 0.25), (0.0, 1.0)

    def noise_chain(self):
        return None

    def scenarios(self):
        noise = jnp.broadcast_to(jnp.asarray(self.values, float)[:, None], (2, self.horizon + 1))
        return NoisePaths(noise, jnp.asarray(self.weights, float))


@pytest.mark.parametrize("weights", [(3, 1), (75, 25), (1.5, -0.5), (np.nan, 1.0)])
def test_weights_of_scenarios(weights, unchecked):
    game = make(Listed, weights=weights)
    for attempt in (
        lambda: exploitability(game, smfg.policies.uniform(game)),
        lambda: solve(game, ExactEquilibrium(), max_steps=3),
        lambda: solve(game, RSPG(smfg.policies.recurrent(game)), key=jax.random.key(0), max_steps=1),
    ):
        with pytest.raises(ValueError, match=r"probabilities of the noise paths .* must be .* sum to"):
            attempt()


@pytest.mark.parametrize(
    ("chain", "message"),
    [
        (CHAIN._replace(values=np.array([0.0, np.nan])), "values .* must be finite, but that of state 1 is nan"),
        (CHAIN._replace(values=np.array([2.0, 2.0])), "different values, but states 0 and 1 have 2.0 and 2.0"),
        (CHAIN._replace(values=np.array([1.0, 1.000000001])), "states 0 and 1|equal in float32"),
        (CHAIN._replace(values=np.array([16777216.0, 16777217.0])), "states 0 and 1|equal in float32"),
        (CHAIN._replace(values=(np.zeros(2), np.array([0.0, -0.0]))), "different values, but states 0 and 1"),
    ],
)
def test_values_of_chains(chain, message, unchecked):
    with pytest.raises(ValueError, match=message):
        solve(make(chain=chain), ExactEquilibrium(), max_steps=3)
    with pytest.raises(ValueError, match=message):
        chain.validate()


def test_noise_that_single_precision_merges(double, unchecked):
    """In double precision it can be told apart; scenarios that cannot be in single precision are refused."""
    values = 1.0, 1.000000001
    assert CHAIN._replace(values=np.array(values)).validate().num_states == 2
    policy = solve(make(Listed, values=values), ExactEquilibrium(), max_steps=300).policy
    assert exploitability(make(Listed, values=values), policy, kind="non_anticipative").value <= 1e-6
    with jax.enable_x64(False), pytest.raises(ValueError, match="equal in float32, so that no policy"):
        solve(make(Listed, values=values), ExactEquilibrium(), max_steps=3)


def test_rows_of_chains_are_normalised():
    off = CHAIN._replace(initial=CHAIN.initial * (1 + 8e-6), transition=CHAIN.transition * (1 - 8e-6))
    found = off.validate()
    np.testing.assert_allclose(found.initial, CHAIN.initial, rtol=1e-15)
    np.testing.assert_allclose(found.transition, CHAIN.transition, rtol=1e-15)
    assert make(chain=off).scenarios().probabilities.sum() == pytest.approx(1, abs=1e-6)


def test_observations_that_are_not_finite(unchecked):
    game = make(start=(1.0, 0.0), observe=lambda self, now: jnp.log(now.mean_field))
    words = "observations must be finite, but entry 1 at time 0 with common noise . is -inf"
    with pytest.raises(ValueError, match=words):
        solve(game, ExactEquilibrium(information="public"), max_steps=3)
    with pytest.raises(ValueError, match=words):
        exploitability(game, smfg.policies.uniform(game), kind="public")
    assert exploitability(game, smfg.policies.uniform(game), kind="non_anticipative").value > 0


@pytest.mark.slow
def test_no_observation_means_open_loop():
    """The same as an observation that never changes."""
    found = []
    for size in (0, 1):
        game = make(observe=lambda self, now, size=size: jnp.zeros(size))
        solution = solve(game, ExactEquilibrium(information="public"), max_steps=300)
        assert solution.result is RESULTS.converged
        found.append((solution.stats["returns"][-1], exploitability(game, solution.policy, kind="public").value))
    np.testing.assert_allclose(*found, atol=1e-9)


class Cells(Two):
    """Many cells that are told apart by the mean field alone, so that what is seen depends on what is played."""

    num_states, num_actions, horizon = 12, 3, 5

    def kernel(self, aggregate):
        return LatticeKernel(12, (-1, 0, 1))

    def reward(self, aggregate, following):
        place = jnp.arange(12) / 11
        seen = jnp.where(aggregate.time >= 2, aggregate.noise, 0.0)
        return (
            -jnp.abs(place - 0.3 - 0.5 * seen)[:, None] * jnp.ones(3)
            - 2 * (place @ aggregate.mean_field) * place[:, None]
        )

    def observe(self, aggregate):
        return (jnp.arange(12) @ aggregate.mean_field)[None]

    def initial_mean_field(self, noise):
        return jnp.full(12, 1 / 12)

    def aggregates(self, mean_field):
        return (jnp.arange(12) / 11 @ mean_field)[None]


@pytest.mark.parametrize(
    "max_steps", [pytest.param(1, marks=pytest.mark.slow), 4, pytest.param(15, marks=pytest.mark.slow)]
)
def test_the_certificate_is_that_of_the_policy_returned(max_steps):
    """However early the solve ends: what stands in the statistics is what a user finds of the policy."""
    game = Cells()
    solution = solve(game, ExactEquilibrium(information="public", method="annealed"), max_steps=max_steps)
    fresh = smfg.solvers.best_response(game, solution.policy, kind="public")
    assert solution.stats["exploitability"] == pytest.approx(fresh.exploitability, abs=1e-12)
    assert solution.stats["exploitabilities"][-1] == solution.stats["exploitability"]
    assert solution.stats["returns"][-1] == pytest.approx(fresh.mean_return, abs=1e-12)
    informed = exploitability(game, solution.policy, kind="non_anticipative").value
    assert fresh.exploitability <= informed + 1e-12


# Games, and policies, that are refused before anything is solved; and a certificate that is not given.


class Bets(smfg.Game):
    """z is never shown, but moves tell it: who remembers where an action led wins the bet that pays 1 at t = 1."""

    num_states, num_actions, horizon, discount = 3, 2, 2, 1.0

    def kernel(self, aggregate):
        reached = jnp.where(aggregate.noise == 0, 1, 2)
        start = jnp.stack([jax.nn.one_hot(reached, 3), jax.nn.one_hot(3 - reached, 3)])
        stay = jnp.broadcast_to(jnp.eye(3)[1:, None], (2, 2, 3))
        return DenseKernel(jnp.concatenate([start[None], stay]))

    def reward(self, aggregate, following):
        right = jnp.arange(2) == aggregate.noise
        return jnp.where((aggregate.time == 1) & (jnp.arange(3) > 0)[:, None], jnp.where(right, 1.0, -1.5), 0.0)

    def initial_noise(self, uniform):
        return jnp.where(uniform < 0.5, 0, 1)

    def next_noise(self, noise, uniform, time):
        return noise

    def noise_chain(self):
        return NoiseChain(np.array([0, 1]), np.full(2, 0.5), np.eye(2))

    def initial_mean_field(self, noise):
        return jnp.array([1.0, 0.0, 0.0])

    def observe(self, aggregate):
        return jnp.zeros(1)

    def aggregates(self, mean_field):
        return mean_field[:0]


def test_no_certificate_without_perfect_recall():
    """No single change gains, but going a and betting on where one is gains 1: that must not count as converged."""
    solution = solve(Bets(), ExactEquilibrium(information="public"), max_steps=5)
    assert solution.result in (RESULTS.uncertified, RESULTS.not_converged)
    assert not solution.result.succeeded
    with pytest.raises(ValueError, match="not defined by backward induction"):
        exploitability(Bets(), solution.policy, kind="public")
    assert solve(Bets(), ExactEquilibrium(), max_steps=5).result is RESULTS.converged  # knowing z


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        ({"aggregates": lambda self, mean_field: [mean_field]}, "aggregates must return an array"),
        ({"reward": lambda self, now, then: jnp.zeros((2, 1))}, r"reward must return an array of shape \(S, A\)"),
        ({"kernel": lambda self, now: jnp.ones(3)}, "kernel must return a TransitionKernel"),
        ({"kernel": lambda self, now: LatticeKernel(3, [-1, 0])}, r"kernel must be of \(S, A\)"),
        ({"kernel": lambda self, now: DenseKernel(jnp.ones((2, 2, 2)), checks=False)}, "rows of kernel must sum to 1"),
        ({"initial_mean_field": lambda self, noise: jnp.ones(2)}, "initial_mean_field must be nonnegative and sum"),
        ({"observe": lambda self, now: jnp.zeros(())}, "observe must return an array"),
        ({"chain": CHAIN._replace(initial=np.array([1.0, 0.1]))}, "initial probabilities of the noise chain"),
        ({"chain": CHAIN._replace(values=np.zeros(3))}, "values of the noise chain must have shape"),
    ],
)
def test_spoiled_games_are_refused(spoiled, message, unchecked):
    with pytest.raises(ValueError, match=message):
        solve(make(**spoiled), ExactEquilibrium(), max_steps=5)


def test_policies_for_another_game_are_refused(unchecked):
    policy = smfg.policies.uniform(Two())
    with pytest.raises(ValueError, match=r"is one for \(T, S, A\) = \(4, 2, 2\)"):
        exploitability(make(horizon=5), policy)
    solution = solve(Two(), ExactEquilibrium(), max_steps=5, throw=False)
    with pytest.raises(ValueError, match="is a Solution"):
        exploitability(Two(), solution)
    with pytest.raises(ValueError, match="game must be a Game, but is a str"):
        solve("linear_quadratic", ExactEquilibrium(), max_steps=5)
    with pytest.raises(ValueError, match="the class ExactEquilibrium itself"):
        solve(Two(), ExactEquilibrium, max_steps=5)
