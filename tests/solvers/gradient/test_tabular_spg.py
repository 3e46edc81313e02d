"""Structural policy gradient over tables: the bins, the gradient of every entry, and runs that are saved."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import structmfg as smfg
from structmfg import runs
from structmfg.policies import BinnedPolicy, binned
from structmfg.solvers import TabularSPG, policy_values, preset, rollout, solve
from structmfg.solvers.gradient import _structural

GAME = smfg.games.make("macro", num_wealth=4, num_income=2, num_actions=3, horizon=4, max_wealth=5.0)
RANGE = {"lowest": (0.2, 0.3), "highest": (0.6, 0.5)}
KEY = jax.random.key(0)


def solver(head="categorical", **settings):
    return TabularSPG(binned(GAME, bins=(3, 2), head=head, **RANGE), **{"num_paths": 4, "clip": 1e9, **settings})


def random_table(policy):
    logits = np.random.default_rng(2).normal(size=policy.shape)
    return policy.with_parameters({"logits": jnp.asarray(logits, float)})


@pytest.mark.parametrize(
    ("observation", "cells"),
    [
        ([0.2, 0.3], (0, 0)),
        ([0.3, 0.35], (0, 0)),
        ([0.34, 0.42], (1, 1)),
        ([0.59, 0.49], (2, 1)),
        ([0.6, 0.5], (2, 1)),
        ([-9.0, 9.0], (0, 1)),
        ([9.0, -9.0], (2, 0)),
    ],
)
def test_bins(observation, cells, precision):
    """Equal bins of each observation, the first one slowest; beyond the range, those at the ends; a page a time."""
    policy = random_table(binned(GAME, bins=(3, 2), **RANGE))
    assert policy.shape == (4, 6, 8, 3)
    logits = policy.parameters["logits"].reshape(4, 3, 2, 8, 3)
    for time in range(4):
        hidden = policy.update(policy.start(), jnp.asarray(observation), jnp.asarray(time))
        np.testing.assert_array_equal(policy.decode(policy.prepare(), hidden), logits[(time, *cells)])


def test_bins_are_of_normalised_observations(precision):
    """The mean position 3 of 10 is 0.3: of five bins over 0..1 the second."""
    game = smfg.games.make("linear_quadratic", num_states=10, horizon=3)
    policy = binned(game, bins=5)
    assert int(policy.update(policy.start(), jnp.array([3.0]), jnp.asarray(2))) == 2 * 5 + 1


def test_ordered_head():
    """Two numbers x, y a state: the density of Beta(1 + softplus(x), 1 + softplus(y)) at the actions' positions."""
    policy = random_table(binned(GAME, head="ordered", bins=1))
    assert policy.shape == (4, 1, 8, 2)
    x, y = np.logaddexp(0, np.asarray(policy.parameters["logits"])[2, 0, 5])
    positions = np.asarray(GAME.action_positions())
    weights = positions**x * (1 - positions) ** y
    given = jax.nn.softmax(policy.unroll(jnp.ones((4, 2))))[2, 5]
    np.testing.assert_allclose(given, weights / weights.sum(), rtol=1e-5)


def test_starts_uniform():
    policy = binned(GAME).initialised(KEY)
    assert policy.shape == (4, 64, 8, 3)
    np.testing.assert_allclose(jax.nn.softmax(policy.unroll(jnp.ones((4, 2)))), 1 / 3, rtol=1e-6)


def mean_return(trainer, noise, held, logits):
    """The mean return over noise paths, by the table; `held` keeps the population fixed under differentiation."""
    policy = trainer.policy.with_parameters({"logits": logits})

    def along(noise):
        trajectory = rollout(GAME, policy, noise)
        aggregates = held(trajectory.aggregates)
        played = jax.nn.softmax(policy.unroll(held(trajectory.observations)))
        return aggregates.mean_field[0] @ policy_values(GAME, aggregates, played)[0]

    return jnp.mean(jax.vmap(along)(noise))


@pytest.mark.parametrize(("part", "head"), [(4, "categorical"), (2, "categorical"), (4, "ordered")])
def test_gradient_of_every_entry(part, head, monkeypatch, double):
    """That of the mean return, with the population held; nothing in the bins that no path comes through.

    Whether the time is taken in one part or in several.
    """
    monkeypatch.setattr(_structural, "_MAX_CHUNK_NUMBERS", 4 * part * GAME.num_states * GAME.num_actions)
    trainer = solver(head, sampling="iid")
    assert trainer._chunk_steps(GAME, GAME.horizon) == part
    policy = random_table(trainer.policy)
    paths = trainer.draw_noise_paths(GAME, KEY)

    @jax.jit
    def descent(parameters):
        bound = trainer.policy.with_parameters(parameters)
        trajectories = jax.vmap(lambda z: rollout(GAME, bound, z))(paths.noise)
        return trainer.returns_and_loss_gradient(GAME, parameters, trajectories, paths, jnp.zeros(()))[1]

    found = -descent(policy.parameters)["logits"]
    loss = functools.partial(mean_return, trainer, paths.noise, jax.lax.stop_gradient)
    expected = jax.jit(jax.grad(loss))(policy.parameters["logits"])
    np.testing.assert_allclose(found, expected, atol=1e-12 * np.abs(expected).max())
    visited = np.abs(found).sum((2, 3)) > 0
    assert visited.any(1).all()
    assert not visited.all(1).any()


def test_learns_and_is_saved(tmp_path):
    """Exploitability falls; the run folder gives the same policy again, and refuses a table of another shape."""
    game = smfg.games.make("linear_quadratic", num_states=9, horizon=5, first=2, last=2, push=4.0)
    chosen = preset(game, "tabular_spg", bins=6, max_steps=200)
    solution = solve(game, chosen.solver, key=KEY, max_steps=200)
    before, after = (
        smfg.solvers.exploitability(game, policy).value for policy in (smfg.policies.uniform(game), solution.policy)
    )
    assert after < before / 4
    settings = runs.Settings.of(
        game, chosen.solver, name="tabular_spg", preset="default", overrides={"bins": 6}, max_steps=200,
        max_seconds=None, seed=0,
    )  # fmt: skip
    runs.save_settings(tmp_path, settings)
    runs.save_policy(tmp_path, solution)
    loaded = runs.load_run(tmp_path)
    assert isinstance(loaded.policy, BinnedPolicy)
    assert loaded.policy.settings == solution.policy.settings == ((6,), (0.0,), (1.0,), "categorical")
    np.testing.assert_array_equal(loaded.policy.parameters["logits"], solution.policy.parameters["logits"])
    runs.save_settings(tmp_path, settings._replace(network={**settings.network, "bins": [5]}))
    with pytest.raises(ValueError, match=r"does not fit the table of settings.json: logits"):
        runs.load_run(tmp_path)


@pytest.mark.parametrize("name", ["linear_quadratic", "beach_bar", "macro"])
def test_presets_fit(name):
    """At most 0.2 GB for a table, in single precision."""
    chosen = preset(smfg.games.make(name), "tabular_spg")
    assert type(chosen.solver) is TabularSPG
    assert 4 * math.prod(chosen.solver.policy.shape) < 2e8
    assert chosen.solver.temperature > 0


LARGE = smfg.games.make("macro")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: binned(GAME, bin=3), "unknown table setting 'bin'; did you mean bins"),
        (lambda: binned(GAME, bins=0), "bins must be a whole number of at least 1, but is 0"),
        (lambda: binned(GAME, bins=2.5), "bins must be a whole number of at least 1, but is 2.5"),
        (lambda: binned(GAME, bins=(3, 2, 2)), "bins must be one number or 2, one for each observation, but are 3"),
        (lambda: binned(GAME, lowest=math.nan), "lowest must lie in"),
        (lambda: binned(GAME, highest=-1.0), r"highest must lie in \(0, .*but is -1.0"),
        (lambda: binned(GAME, lowest=(0.0, 1.0)), r"highest must lie in \(1, .*but is 1.0"),
        (
            lambda: binned(LARGE, bins=8),
            "T, S, n = 128, 1000, 20 would have more than the 134217728 numbers that are allowed: "
            "bins must multiply to at most 52",
        ),
        (
            lambda: binned(smfg.games.make("macro", num_wealth=200_000), bins=1),
            "numbers that are allowed, even with one bin",
        ),
        (lambda: binned(smfg.games.make("crowd_modelling", num_states=5 * 10**8)), "allowed, even with one bin"),
        (lambda: binned(smfg.games.make("crowd_modelling", num_states=5000)), "bins must multiply to at most 894$"),
        (lambda: TabularSPG(smfg.policies.memoryless(GAME)), r"TabularSPG trains a table: use policies.binned\(game\)"),
        (lambda: smfg.solvers.SPG(binned(GAME)), "SPG trains a network: .*but was given a BinnedPolicy"),
        (lambda: binned(GAME).unroll(jnp.ones((4, 2))), "this table has no parameters yet"),
        (lambda: preset(GAME, "tabular_spg", width=3), "unknown setting of tabular_spg 'width'"),
        (lambda: preset(GAME, "rspg", bins=3), "unknown setting of rspg 'bins'"),
    ],
)
def test_bad_settings(call, message, unchecked):
    with pytest.raises(ValueError, match=message):
        call()
