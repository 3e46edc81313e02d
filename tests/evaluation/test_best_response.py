"""Best responses against the enumeration of every deterministic policy of the deviating agent, by hand."""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_game import Coin, CoinByHand

import structmfg as smfg
from structmfg.policies import tree_policy
from structmfg.solvers import best_response, exploitability
from structmfg.verification import oracles

KINDS = get_args(smfg.solvers.Kind)
TABLE = np.array([[0.3, 0.7], [0.8, 0.2]])
GAMES = {
    "late": Coin(revealed=2),
    "hidden at first": Coin(revealed=0, veiled=(0,), stakes=3.0),
    "to be remembered": Coin(revealed=1, veiled=(2,), stakes=3.0),
    "hidden twice, with equal kernels": Coin(revealed=1, veiled=(1, 2), tells=0.0, stakes=3.0),
    "seen through the mean field": Coin(revealed=1, shows_noise=False, stakes=3.0),
}
FORESIGHT = {*GAMES} - {"hidden at first"}  # where it is worth something
HIDDEN = {*GAMES} - {"late", "to be remembered"}  # where the public knows less than the noise so far


def by_hand(game, kind, tables):
    """Best values, and those of a population with tables (N, T, S, A): along every path, given what z_0 tells."""
    scenarios = game.scenarios()
    noise, weights = np.asarray(scenarios.noise), np.asarray(scenarios.probabilities, float)
    faced = oracles.faced_population(CoinByHand(game), tables, noise, weights, kind)
    starts = [np.broadcast_to(row, (2, 2)) for row in np.eye(2)]
    best = np.stack([oracles.best_without_history(faced._replace(start=start)) for start in starts], -1)
    root = np.arange(2) if kind == "clairvoyant" else noise[:, 0]
    same = weights * (root == root[:, None])
    means = (same / weights @ best, same @ oracles.policy_values(faced, tables))
    return [mean / same.sum(1, keepdims=True) for mean in means]


def everywhere(game, table=TABLE):
    """The same page at all times, on all paths."""
    return np.broadcast_to(table, (2, game.horizon, 2, 2))


@pytest.mark.parametrize("name", GAMES)
def test_brute_force(name, double):
    """Values by path and state."""
    game, found = GAMES[name], {}
    for kind in KINDS if game.stakes > 1 else KINDS[:2]:
        response = best_response(game, TABLE, kind=kind)
        values, own = by_hand(game, kind, everywhere(game))
        np.testing.assert_allclose(response.values, values, atol=1e-12)
        np.testing.assert_allclose(response.policy_values, own, atol=1e-12)
        np.testing.assert_allclose(response.gains, values - own, atol=1e-12)
        np.testing.assert_allclose(response.by_path, (values - own) @ [0.35, 0.65], atol=1e-12)
        np.testing.assert_allclose(response.probabilities, [0.3, 0.7], atol=1e-15)
        found[kind] = [0.3, 0.7] @ (values - own) @ [0.35, 0.65]
        assert response.exploitability == pytest.approx(found[kind], abs=1e-12)
        assert (response.policy is None) == (kind == "clairvoyant")
    for worth, more in zip(-np.diff(list(found.values())), (FORESIGHT, HIDDEN), strict=False):
        assert worth > 1e-2 if name in more else worth == pytest.approx(0, abs=1e-12)


def alone(game, policy, aggregates):
    """Values (N, S) of one agent who plays a policy against given aggregates, path by path."""

    def values(path):
        now = jax.tree.map(lambda x: x[:-1], path)
        signals = jax.vmap(lambda aggregate: policy.signal(aggregate, game.observe(aggregate)))(now)
        return smfg.solvers.policy_values(game, path, jax.nn.softmax(policy.unroll(signals)))[0]

    return jax.vmap(values)(aggregates)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("to be remembered", "non_anticipative"), *((name, "public") for name in ("to be remembered", *sorted(HIDDEN)))],
)
def test_policy_attains_the_best_values(name, kind, precision):
    """Played by one agent against the population, which goes on as before."""
    game, tolerance = GAMES[name], 1e-12 if precision == "float64" else 1e-5
    response = best_response(game, TABLE, kind=kind)
    aggregates = smfg.solvers.evaluate_paths(game, smfg.policies.tabular(game, TABLE), game.scenarios().noise)[0]
    values = np.asarray(jax.jit(lambda policy: alone(game, policy, aggregates))(response.policy))
    if game.revealed > 0:  # what is known at t = 0 is the same on both paths
        values = np.broadcast_to([0.3, 0.7] @ values, values.shape)
    np.testing.assert_allclose(values, response.values, atol=tolerance)


INFORMED = Coin(revealed=1, veiled=(1, 2), tells=0.0, crowding=0.0, stakes=3.0)


def test_public_response_to_an_informed_population(double):
    """A mean field that the public does not see says nothing about the agent: beliefs are the paths' probabilities."""
    tree = smfg.games.noise_tree(INFORMED)
    nodes = np.asarray(tree.nodes)
    second = 0.5 + 0.45 * np.asarray(tree.noise)[: tree.num_decisions]  # probability of the second action
    pages = np.broadcast_to(np.stack([1 - second, second], -1)[:, None], (tree.num_decisions, 2, 2))
    policy = tree_policy(tree, jnp.log(pages))
    tables = pages[nodes[:-1]].swapaxes(0, 1)
    for kind in KINDS[1:]:
        response = best_response(INFORMED, policy, kind=kind)
        values, own = by_hand(INFORMED, kind, tables)
        np.testing.assert_allclose(response.values, values, atol=1e-12)
        np.testing.assert_allclose(response.policy_values, own, atol=1e-12)


def test_public_kind_needs_perfect_recall(double):
    """Where an agent's own moves say something about noise that stays hidden, it is refused."""
    with pytest.raises(ValueError, match=r"not defined by backward induction.*allowed: clairvoyant, non_anticipative"):
        exploitability(Coin(revealed=1, veiled=(1, 2)), TABLE, kind="public")


@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_gives_the_same(kind):
    """It is computed in double precision either way."""
    game = GAMES["seen through the mean field"]
    single = exploitability(game, TABLE, kind=kind)
    with jax.enable_x64(True):
        assert exploitability(game, TABLE, kind=kind).value == pytest.approx(single.value, abs=1e-6)
    assert best_response(game, TABLE, kind=kind).values.dtype == np.float64


def test_interval():
    low, high = smfg.solvers.Estimate(2.0, 0.5).interval
    assert [low, high] == pytest.approx([2 - 0.5 * 1.959964, 2 + 0.5 * 1.959964])
