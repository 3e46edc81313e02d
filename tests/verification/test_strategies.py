"""Whatever hypothesis draws obeys the laws, and what is wrong shrinks to an example that can be read and run.

Most run without `jit`: single operations are compiled once a shape, whole programs anew for every game.
"""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from structmfg import solvers
from structmfg.operators import DenseKernel, LatticeKernel
from structmfg.policies import as_policy, tabular
from structmfg.verification import fuzz, oracles, strategies
from structmfg.verification.laws import KERNEL_LAWS, Probe, mass_kept
from structmfg.verification.strategies import RandomGame, deterministic, games, kernels, policies

SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # `precision` is the same for all


def broken_laws(kernel, at):
    return {result.name: result for law in KERNEL_LAWS if not (result := law(kernel, at)).passed}


def probes(kernel):
    sizes = (kernel.num_states, kernel.num_actions)
    return st.builds(Probe, policies(sizes), strategies.values(sizes[0]), strategies.mean_fields(sizes[0]))


@pytest.mark.slow  # `test_operators` holds a kernel of every structure against its twin
@pytest.mark.parametrize("structure", strategies.STRUCTURES)
@settings(SHARED, max_examples=3)
@given(data=st.data())
def test_every_structure_obeys_every_law(structure, precision, data):
    with jax.disable_jit():
        kernel = data.draw(kernels(structure))
        kernel.validate()
        assert not broken_laws(kernel, data.draw(probes(kernel)))


@pytest.mark.slow
@settings(SHARED, max_examples=50)
@given(data=st.data())
def test_any_structure_obeys_every_law(precision, data):
    with jax.disable_jit():
        kernel = data.draw(kernels())
        assert not broken_laws(kernel, data.draw(probes(kernel)))


class Leaky(LatticeKernel):
    """Loses what arrives in the last state from a barrier."""

    def push_under(self, policy, mass):
        return super().push_under(policy, mass * (1 - jnp.isin(jnp.arange(self.num_states), self.barriers)))


@pytest.mark.slow
def test_a_fault_shrinks_to_a_named_example():
    """One action, standing still, one barrier of two at the first cell: nothing that does not matter is left."""

    def leaks(kernel):
        kernel = Leaky(kernel.num_states, kernel.offsets, barriers=kernel.barriers)
        return not mass_kept(kernel, None).passed

    with jax.disable_jit():
        simplest = find(kernels("lattice", num_states=4, num_actions=1), leaks, settings=settings(database=None))
    assert simplest.offsets == (0,)
    assert int(simplest.shift) == 0
    assert simplest.barriers.tolist() == [0, 0]


def test_a_failure_names_the_kernel():
    """By a call, of small whole numbers."""

    @settings(database=None, phases=[Phase.generate, Phase.shrink])
    @given(kernel=kernels("dense", num_states=2))
    def never_empty(kernel):
        assert kernel.probabilities.min() > 0

    with pytest.raises(AssertionError) as caught:
        never_empty()
    printed = "\n".join(caught.value.__notes__)
    assert re.search(r"kernel=DenseKernel\(probabilities=(Array|array)\(\[\[\[", re.sub(r"\s", "", printed)), printed


@pytest.mark.slow
def test_the_simplest_game_is_printed_as_it_is_made():
    game = find(
        games(),
        lambda game: game.num_actions == 2 and sum(game.luck) > 0,
        settings=settings(database=None, max_examples=500),
    )
    assert eval(repr(game)) == game
    assert game == RandomGame(
        targets=((0, 0),) * 2, pull=((0, 0),), start=((0, 0),), transition=((0,),), rewards=((0, 0),) * 2,
        first=(0,), luck=(1,), observed="nothing", horizon=1, discount=1.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"structure": "latice"}, "unknown structure 'latice'; did you mean lattice"),
        ({"num_states": 1}, "num_states must be a whole number of at least 2"),
        ({"num_actions": 0}, "num_actions must be a whole number of at least 1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        kernels(**arguments)


@pytest.mark.usefixtures("unchecked")
def test_a_random_game_of_sizes_that_differ():
    whole = find(games(), lambda game: True, settings=settings(database=None))
    with pytest.raises(ValueError, match=r"luck must have shape \(1,\), but has shape \(2,\)"):
        dataclasses.replace(whole, luck=(1, 2))
    with pytest.raises(ValueError, match="unknown observed 'all'"):
        dataclasses.replace(whole, observed="all")


def test_corners_are_drawn(precision):
    """Pure policies and all mass in one state are found at once, and shrink to the first place."""
    quick = settings(database=None, max_examples=100)
    pure = find(policies((3, 2)), lambda table: bool((table.max(-1) == 1).all()), settings=quick)
    np.testing.assert_array_equal(pure, deterministic([0, 0, 0], 2))
    alone = find(strategies.mean_fields(5), lambda mu: mu.max() == 1, settings=quick)
    np.testing.assert_array_equal(alone, deterministic(0, 5))
    assert find(strategies.values(3), lambda v: True, settings=quick).dtype == pure.dtype == alone.dtype == precision


class ByHand:
    """`RandomGame` in plain NumPy, from its docstring."""

    def __init__(self, game):
        self.game, self.horizon, self.discount = game, game.horizon, game.discount

    @staticmethod
    def shares(weights):
        return np.ones(len(weights)) / len(weights) if not any(weights) else np.array(weights) / sum(weights)

    def start(self, z):
        return self.shares(self.game.start[z])

    def dense(self, mu, z, t):
        g = self.game
        weights = np.zeros((g.num_states, g.num_actions, g.num_states))
        for s, a, u in np.ndindex(*weights.shape):
            weights[s, a, u] = (g.targets[s][a] == u) + g.pull[z][u] + g.crowding * mu[u] + g.fatigue * t * (s == u)
        return weights / weights.sum(-1, keepdims=True)

    def reward(self, mu, z, t, next_mu, next_z):
        g, rewards = self.game, np.array(self.game.rewards) * self.game.luck[next_z]
        return np.array(
            [[r - g.aversion * mu[s] + g.company * next_mu[u] for r, u in zip(*rows, strict=True)]
             for s, rows in enumerate(zip(rewards, g.targets, strict=True))]
        )  # fmt: skip

    def observe(self, mu, z, t):
        return [mu[0] * (self.game.observed in ("crowd", "both")), z * (self.game.observed in ("noise", "both"))]


@settings(SHARED, max_examples=3)
@given(data=st.data())
def test_random_games_against_plain_numpy(double, data):
    """Mean fields, observations and the return, in both forms, along any path under any policy."""
    game = data.draw(games())
    table, noise = data.draw(policies(game)), data.draw(strategies.noise_paths(game))
    policy = tabular(game, table)
    expected = oracles.rollout(ByHand(game), np.asarray(policy.table), np.asarray(noise))
    with jax.disable_jit():
        for form in ("matrix_free", "explicit"):
            path = solvers.rollout(game, policy, noise, form=form)
            np.testing.assert_allclose(path.aggregates.mean_field, expected.mean_fields, atol=1e-12)
            np.testing.assert_allclose(path.observations, expected.observations, atol=1e-12)
            values = solvers.policy_values(game, path.aggregates, path.policy, form=form)
            assert float(path.aggregates.mean_field[0] @ values[0]) == pytest.approx(expected.total, abs=1e-11)


@pytest.mark.slow
@settings(SHARED, max_examples=8)
@given(data=st.data())
def test_exploitability_of_random_games_is_ordered(precision, data):
    """Who knows the future gains no less than who knows the past, and that no less than the policy itself."""
    game = data.draw(games())
    table = data.draw(policies(game))
    with jax.disable_jit():
        gains = {
            kind: solvers.exploitability(game, table, kind=kind).value for kind in ("clairvoyant", "non_anticipative")
        }
        best = solvers.best_response(game, table)
    assert gains["clairvoyant"] >= gains["non_anticipative"] - 1e-9
    assert gains["non_anticipative"] >= -1e-9
    assert (best.gains >= -1e-9).all()
    assert best.exploitability == pytest.approx(gains["non_anticipative"], abs=1e-9)


@pytest.mark.slow
@settings(max_examples=3)
@given(game=games())
def test_certificates_of_random_games(game):
    """They are what an exact best response says of the policy, never below zero, nor above the uniform policy's."""
    solution = solvers.solve(game, solvers.ExactEquilibrium(tolerance=1e-6), max_steps=60, throw=False)
    certificate = solution.stats["exploitability"]
    assert certificate >= 0
    measured = solvers.exploitability(game, as_policy(game, solution.policy), kind="non_anticipative").value
    assert measured == pytest.approx(certificate, abs=1e-4)
    even = np.full((game.num_states, game.num_actions), 1 / game.num_actions)
    assert certificate <= solvers.exploitability(game, even, kind="non_anticipative").value + 1e-9


@pytest.mark.slow
@settings(max_examples=2, suppress_health_check=[HealthCheck.nested_given])
@given(game=games())
def test_random_games_pass_the_fuzz(game):
    results = fuzz(game, 10)
    assert all(result.passed for result in results), results
    assert isinstance(game.kernel(game.initial(jax.random.key(0))), DenseKernel)
