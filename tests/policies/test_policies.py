"""Policies: distributions in every state, history in one hidden state, and nothing seen before its time."""

import functools
import itertools

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import structmfg as smfg
from structmfg.policies import as_policy, memoryless, network_policy, recurrent, tabular, uniform
from structmfg.policies._base import RecurrentModel

GAME = smfg.games.make("linear_quadratic", num_states=7, horizon=4)
SIZES = {"hidden": 6, "width": 5, "depth": 2, "rank": 3}
NETWORKS = list(itertools.product([True, False], ["factored", "joint"], ["categorical", "ordered"]))
OBSERVATIONS = np.array([[3.0], [1.0], [5.0], [2.0]])


@functools.cache
def built(is_recurrent, architecture, head, x64):
    """A network in the current precision, with no parameter at zero, so that nothing hides behind an initial bias."""
    settings = {"architecture": architecture, "head": head, **SIZES}
    policy = network_policy(GAME, recurrent=is_recurrent, **settings).initialised(jax.random.key(0))
    leaves, structure = jax.tree.flatten(policy.parameters)
    nudged = [x + 0.3 * np.cos(np.arange(x.size)).reshape(x.shape).astype(x.dtype) for x in leaves]
    return policy.with_parameters(jax.tree.unflatten(structure, nudged))


@pytest.fixture(params=NETWORKS, ids=lambda p: f"{'recurrent' if p[0] else 'memoryless'}-{p[1]}-{p[2]}")
def network(request, precision):
    return built(*request.param, precision == "float64")


_unroll = eqx.filter_jit(lambda policy, observations: jax.nn.log_softmax(policy.unroll(observations)))


def unroll(policy, observations):
    return np.asarray(_unroll(policy, jnp.asarray(observations, float)))


def test_rows_are_distributions(network, precision):
    log_policy = unroll(network, OBSERVATIONS)
    assert log_policy.dtype == precision
    assert log_policy.shape == (4, GAME.num_states, GAME.num_actions)
    np.testing.assert_allclose(np.exp(log_policy).sum(-1), 1, rtol=1e-6)
    assert np.ptp(log_policy, axis=1).max() > 1e-3, "states differ"


def test_unroll_is_step_by_step(network):
    hidden, prepared, pages = network.start(), network.prepare(), []
    for time, observation in enumerate(jnp.asarray(OBSERVATIONS, float)):
        hidden = network.update(hidden, observation, jnp.asarray(time))
        pages.append(jax.nn.log_softmax(network.decode(prepared, hidden)))
    np.testing.assert_allclose(unroll(network, OBSERVATIONS), pages, rtol=1e-5, atol=1e-6)


def test_only_the_past_is_seen(network):
    """Changing o_2 leaves the pages at t = 0, 1 as they are and changes the page at t = 2."""
    changed = OBSERVATIONS.copy()
    changed[2] += 4
    before, after = unroll(network, OBSERVATIONS), unroll(network, changed)
    np.testing.assert_array_equal(before[:2], after[:2])
    assert np.abs(before[2] - after[2]).max() > 1e-4


def test_only_recurrent_policies_remember(network):
    """Changing o_0 changes the page at t = 2 just where the policy is recurrent."""
    changed = OBSERVATIONS.copy()
    changed[0] += 4
    difference = np.abs(unroll(network, OBSERVATIONS)[2] - unroll(network, changed)[2]).max()
    assert difference > 1e-4 if network.settings.recurrent else difference == 0


@pytest.mark.parametrize("architecture", ["factored", "joint"])
def test_skip_carries_the_present_observation_past_the_memory(architecture):
    """Without what the output takes from the GRU, the page at t = 2 depends on o_2 alone; with it on o_0 as well."""
    policy = recurrent(GAME, skip=True, clock=False, architecture=architecture, **SIZES).initialised(jax.random.key(0))
    changed = OBSERVATIONS.copy()
    changed[0] += 4
    assert np.abs(unroll(policy, OBSERVATIONS)[2] - unroll(policy, changed)[2]).max() > 1e-4
    name, first = ("branch", 0) if architecture == "factored" else ("joint/~/linear_0", -2 * SIZES["hidden"])
    weights = policy.parameters[name]["w"]
    rows = np.arange(len(weights))[first:][: SIZES["hidden"]]
    cut = {**policy.parameters, name: {**policy.parameters[name], "w": weights.at[rows].set(0.0)}}
    before, after = (unroll(policy.with_parameters(cut), seen) for seen in (OBSERVATIONS, changed))
    np.testing.assert_array_equal(before[1:], after[1:])
    assert np.abs(before[0] - after[0]).max() > 1e-4


def test_parameters_all_matter(network):
    """The gradient reaches every layer."""
    observations = jnp.asarray(OBSERVATIONS, float)

    def score(parameters):
        logits = network.with_parameters(parameters).unroll(observations)
        return jnp.sum(jnp.sin(jnp.arange(logits.size)).reshape(logits.shape) * logits)

    gradient = jax.jit(jax.grad(score))(network.parameters)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))


def test_ordered_head_is_a_beta_density(double):
    """Log-densities over the action positions x are affine in log x and log(1 - x), with nonnegative slopes."""
    policy = recurrent(GAME, head="ordered", **SIZES).initialised(jax.random.key(1))
    log_policy = unroll(policy, OBSERVATIONS).reshape(-1, GAME.num_actions)
    x = (np.arange(GAME.num_actions) + 0.5) / GAME.num_actions
    np.testing.assert_allclose(GAME.action_positions(), x, rtol=1e-14)
    basis = np.stack([np.log(x), np.log1p(-x), np.ones_like(x)], axis=1)
    coefficients, *_ = np.linalg.lstsq(basis, log_policy.T, rcond=None)
    np.testing.assert_allclose(basis @ coefficients, log_policy.T, atol=1e-10)
    assert coefficients[:2].min() >= 0


def test_initialisation_depends_on_the_key_alone():
    parameters = [recurrent(GAME, **SIZES).initialised(jax.random.key(k)).parameters for k in (0, 0, 1)]
    one, two, other = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(p)]) for p in parameters)
    np.testing.assert_array_equal(one, two)
    assert not np.allclose(one, other)


def random_table(*leading):
    raw = np.random.default_rng(0).random((*leading, GAME.num_states, GAME.num_actions))
    return raw / raw.sum(-1, keepdims=True)


def test_tables_are_read_by_time(precision):
    table = random_table(GAME.horizon)
    table[1, 2] = np.eye(GAME.num_actions)[0]  # zero probabilities are allowed
    np.testing.assert_allclose(np.exp(unroll(tabular(GAME, table), OBSERVATIONS)), table, rtol=1e-5)


def test_page_serves_all_times(precision):
    page = random_table()
    expected = np.tile(page, (GAME.horizon, 1, 1))
    np.testing.assert_allclose(np.exp(unroll(tabular(GAME, page), OBSERVATIONS)), expected, rtol=1e-5)


def test_uniform():
    np.testing.assert_allclose(np.exp(unroll(uniform(GAME), OBSERVATIONS)), 1 / 7, rtol=1e-6)


def test_as_policy_accepts_both():
    policy = uniform(GAME)
    assert as_policy(GAME, policy) is policy
    np.testing.assert_array_equal(as_policy(GAME, policy.table).table, policy.table)


def spoiled(value, index=(0, 0)):
    table = random_table()
    table[index] = value
    return table


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (np.full((7, 6), 1 / 6), r"must have shape \(S, A\) = \(7, 7\) or \(T, S, A\) = \(4, 7, 7\), not \(7, 6\)"),
        (random_table(3), r"not \(3, 7, 7\)"),
        (np.ones(7), r"not \(7,\)"),
        (spoiled(np.nan), "NaN"),
        (spoiled(np.inf), "infinite"),
        (spoiled([1.5, -0.5, 0, 0, 0, 0, 0], 3), "negative"),
        (spoiled([0.5, 0, 0, 0, 0, 0, 0], 3), r"row \(3,\) sums to 0.5"),
    ],
)
def test_bad_tables(table, message):
    with pytest.raises(ValueError, match=message):
        tabular(GAME, table)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head": "gaussian"}, "unknown head 'gaussian'; allowed: categorical, ordered"),
        ({"architecture": "factord"}, "did you mean factored"),
        ({"hiden": 3}, "did you mean hidden"),
        ({"rank": 0}, "rank must be a whole number of at least 1"),
        ({"depth": 1.5}, "depth must be a whole number"),
    ],
)
@pytest.mark.parametrize("kind", [recurrent, memoryless])
def test_bad_settings(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(GAME, **settings)


@pytest.mark.parametrize("is_recurrent", [True, False])
def test_histories_are_those_of_single_updates(is_recurrent, double):
    """They are computed for all times at once, with a backward pass of their own; the unit is that of haiku."""
    policy = built(is_recurrent, "factored", "categorical", True)
    observations = jnp.asarray(OBSERVATIONS)[None] * np.array([1.0, 0.7])[:, None, None]
    hidden = jnp.asarray(np.linspace(-0.8, 0.9, 12).reshape(2, 6))
    weights = jnp.asarray(np.cos(np.arange(48.0)).reshape(2, 4, 6))

    def weighted(histories, parameters, observations, hidden):
        bound = policy.with_parameters(parameters)
        states = jax.vmap(lambda o, h: histories(bound, o, h, 1))(observations, hidden)
        return jnp.sum(weights * states**2)

    def one_by_one(policy, observations, hidden, time):
        return RecurrentModel.histories(policy, observations, hidden, time)

    def by_haiku(policy, observations, hidden, time):
        unit = hk.without_apply_rng(hk.transform(lambda x, h: hk.GRU(6)(x, h)[1]))
        parameters = policy.parameters
        states = []
        for step, observation in enumerate(observations):
            signal = policy._input(observation, jnp.asarray(time + step))
            embedded = policy.network.parts.embed(parameters, signal)
            hidden = unit.apply({"gru": parameters["gru"]}, embedded, hidden)
            states.append(hidden)
        return jnp.stack(states)

    given = (policy.parameters, observations, hidden)
    found = jax.jit(jax.value_and_grad(lambda *x: weighted(type(policy).histories, *x), argnums=(0, 1, 2)))(*given)
    for other in (one_by_one, by_haiku) if is_recurrent else (one_by_one,):
        gradient = jax.value_and_grad(lambda *x, other=other: weighted(other, *x), argnums=(0, 1, 2))
        expected = jax.jit(gradient)(*given)
        for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)
