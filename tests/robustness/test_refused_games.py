"""Games and policies that exact solvers refuse, and a certificate that they do not give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import structmfg as smfg
from structmfg.operators import DenseKernel, LatticeKernel
from structmfg.solvers import RESULTS, ExactEquilibrium, solve


class Bets(smfg.Game):
    """z is never shown, but moves tell it: who remembers where an action led wins the bet that pays 1 at t = 1."""

    num_states, num_actions, horizon, discount = 3, 2, 2, 1.0

    def kernel(self, aggregate):
        told = jnp.where(aggregate.noise == 0, 1, 2)
        start = jnp.stack([jax.nn.one_hot(told, 3), jax.nn.one_hot(3 - told, 3)])
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
        return smfg.games.NoiseChain(np.array([0, 1]), np.full(2, 0.5), np.eye(2))

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
        smfg.solvers.exploitability(Bets(), solution.policy, kind="public")
    assert solve(Bets(), ExactEquilibrium(), max_steps=5).result is RESULTS.converged  # knowing z


class Line(smfg.Game):
    """A game to be spoiled."""

    num_states, num_actions, horizon, discount = 5, 3, 4, 0.9

    def kernel(self, aggregate):
        return LatticeKernel(5, [-1, 0, 1])

    def reward(self, aggregate, following):
        return jnp.zeros((5, 3)) - aggregate.mean_field[:, None]

    def initial_noise(self, uniform):
        return jnp.zeros(())

    def next_noise(self, noise, uniform, time):
        return noise

    def observe(self, aggregate):
        return aggregate.mean_field

    def noise_chain(self):
        return smfg.games.NoiseChain(np.zeros(1), np.ones(1), np.ones((1, 1)))


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        ({"aggregates": lambda self, mean_field: [mean_field]}, "aggregates must return an array"),
        ({"reward": lambda self, now, then: jnp.zeros((5, 1))}, r"reward must return an array of shape \(S, A\)"),
        ({"kernel": lambda self, now: jnp.ones(3)}, "kernel must return a TransitionKernel"),
        ({"kernel": lambda self, now: LatticeKernel(6, [-1, 0, 1])}, r"kernel must be of \(S, A\)"),
        ({"kernel": lambda self, now: DenseKernel(jnp.ones((5, 3, 5)), checks=False)}, "rows of kernel must sum to 1"),
        ({"initial_mean_field": lambda self, noise: jnp.ones(5)}, "initial_mean_field must be nonnegative and sum"),
        ({"observe": lambda self, now: jnp.zeros(())}, "observe must return an array"),
        (
            {"noise_chain": lambda self: smfg.games.NoiseChain(np.zeros(2), np.array([1.0, 0.1]), np.eye(2))},
            "initial probabilities of the noise chain",
        ),
        (
            {"noise_chain": lambda self: smfg.games.NoiseChain(np.zeros(3), np.array([1.0, 0.0]), np.eye(2))},
            "values of the noise chain must have shape",
        ),
    ],
)
def test_spoiled_games_are_refused(spoiled, message, unchecked):
    with pytest.raises(ValueError, match=message):
        solve(type("Spoiled", (Line,), spoiled)(), ExactEquilibrium(), max_steps=5)


def test_policies_for_another_game_are_refused(unchecked):
    policy = smfg.policies.uniform(Line())
    with pytest.raises(ValueError, match=r"is one for \(T, S, A\) = \(4, 5, 3\)"):
        smfg.solvers.exploitability(type("Longer", (Line,), {"horizon": 5})(), policy)
    solution = solve(Line(), ExactEquilibrium(), max_steps=5, throw=False)
    with pytest.raises(ValueError, match="is a Solution"):
        smfg.solvers.exploitability(Line(), solution)
    with pytest.raises(ValueError, match="game must be a Game, but is a str"):
        solve("linear_quadratic", ExactEquilibrium(), max_steps=5)
    with pytest.raises(ValueError, match="the class ExactEquilibrium itself"):
        solve(Line(), ExactEquilibrium, max_steps=5)
