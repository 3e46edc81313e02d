"""Sweeps over a noise tree against policy evaluation along every path."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_game import Coin

import structmfg as smfg
from structmfg.evaluation._tree_problem import TreeProblem
from structmfg.evaluation._tree_sweeps import backward, push, unroll_on_tree
from structmfg.games import noise_tree
from structmfg.policies import tree_policy

GAMES = {
    "coin": Coin(),
    "beach_bar": smfg.games.make("beach_bar", num_states=5, max_action=1, horizon=4),
    "linear_quadratic": smfg.games.make(
        "linear_quadratic", num_states=7, max_action=1, horizon=4, first=1, last=2, push=2.0
    ),
    "macro": smfg.games.make("macro", num_wealth=3, num_income=2, num_actions=3, horizon=4, noise_states=2),
}


def random_table(seed, *shape):
    return np.random.default_rng(seed).dirichlet(np.ones(shape[-1]), size=shape[:-1])


def policies(game, tree):
    """One that knows the noise so far, one of time alone, and one of the history of observations."""
    page = (game.num_states, game.num_actions)
    return {
        "tree": tree_policy(tree, jnp.log(random_table(0, tree.num_decisions, *page))),
        "table": smfg.policies.tabular(game, random_table(1, game.horizon, *page)),
        "recurrent": smfg.policies.recurrent(game, hidden=3, width=3, depth=1, rank=2).initialised(jax.random.key(0)),
    }


@eqx.filter_jit
def along(game, policy, noise):
    """Mean fields (N, T+1, S), probabilities (N, T, S, A) and values (N, T+1, S) along paths."""

    def path(z):
        trajectory = smfg.solvers.rollout(game, policy, z)
        values = smfg.solvers.policy_values(game, trajectory.aggregates, trajectory.policy)
        return trajectory.aggregates.mean_field, trajectory.policy, values

    return jax.vmap(path)(noise)


@eqx.filter_jit
def on_tree(game, tree, policy):
    flow, table = unroll_on_tree(game, tree, policy)
    values, pages = backward(game, tree, flow, lambda page, q: (jnp.sum(page * q, -1), page), table)
    return flow, table, values, pages, push(game, tree, table)[0]


def node_means(tree, x, weights):
    """Averages (N, T+1, ...) over the paths that pass the same node."""
    same = np.asarray(tree.nodes)[:, :, None] == np.asarray(tree.nodes)[:, None]
    shares = same * weights
    return np.einsum("tnm,mts->nts", shares / shares.sum(-1, keepdims=True), x)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("coin", "tree"),
        ("coin", "table"),
        ("beach_bar", "tree"),
        ("linear_quadratic", "recurrent"),
        ("macro", "tree"),
    ],
)
def test_paths(name, kind, double):
    """At every node: the mean field, what is played, and the mean of the values along the paths through it."""
    game, tree = GAMES[name], noise_tree(GAMES[name])
    policy, scenarios, nodes = policies(game, tree)[kind], game.scenarios(), np.asarray(tree.nodes).T
    flow, table, values, pages, pushed = (np.asarray(x) for x in on_tree(game, tree, policy))
    mean_fields, played, path_values = along(game, policy, scenarios.noise)
    np.testing.assert_allclose(flow[nodes], mean_fields, atol=1e-13)
    np.testing.assert_allclose(table[nodes[:, :-1]], played, atol=1e-13)
    expected = node_means(tree, np.asarray(path_values), np.asarray(scenarios.probabilities))
    np.testing.assert_allclose(values[nodes], expected, rtol=1e-11, atol=1e-11)
    np.testing.assert_array_equal(pages, table)
    np.testing.assert_allclose(pushed, flow, atol=1e-15)
    if kind == "tree":
        np.testing.assert_allclose(played, jax.nn.softmax(policy.logits)[nodes[:, :-1]], atol=1e-15)


@pytest.mark.parametrize("block", [1, 3, None])
def test_blocks(block, monkeypatch, double):
    """However nodes are grouped, the numbers are the same."""
    game = GAMES["macro"]
    reference = noise_tree(game)
    policy = policies(game, reference)["table"]
    expected = on_tree(game, reference, policy)
    monkeypatch.setattr("structmfg.games._noise_tree._block", lambda widths, page: block)
    tree = noise_tree(game, pad_levels=block is None)
    assert tree.block == (block or len(game.scenarios().probabilities))
    for one, other, last in zip(on_tree(game, tree, policy), expected, (0, 1, 0, 1, 0), strict=True):
        end = len(tree.nodes) - last
        one, other = np.asarray(one)[tree.nodes[:end]], np.asarray(other)[reference.nodes[:end]]
        np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-13)


PUBLIC = {
    "seen": Coin(),
    "remembered": Coin(veiled=(2,)),
    "hidden at first": Coin(revealed=0, veiled=(0,)),
    "hidden for long": Coin(veiled=(1, 2), tells=0.0),
}


@pytest.mark.parametrize("name", PUBLIC)
def test_public_sets_and_their_policy(name, double):
    """Paths are together while their observations are the same; a table on the sets is what its policy then plays."""
    game = PUBLIC[name]
    problem = TreeProblem.of(game, "public")
    tree, noise = problem.tree, game.scenarios().noise
    nodes = np.asarray(tree.nodes)
    pages = random_table(2, tree.num_decisions, 2, 2)
    sets = problem.sets(problem.push(jnp.asarray(pages)))
    table = jnp.asarray(pages)[sets.members]  # plays alike in a set, which therefore stays one
    policy = problem.policy(table)
    trajectories = jax.vmap(functools.partial(smfg.solvers.rollout, game, policy))(noise)
    np.testing.assert_allclose(trajectories.policy, np.asarray(table)[nodes[:-1].T], atol=1e-13)
    np.testing.assert_array_equal(policy.members, sets.members)
    for t in range(game.horizon):
        seen = np.asarray(trajectories.observations)[:, : t + 1]
        together = np.allclose(seen[0], seen[1], atol=1e-9)
        first, second = nodes[t]
        assert (int(sets.members[first]) == int(sets.members[second])) == together
        assert bool(sets.same_information_set[first, second % tree.block]) == together
        assert int(sets.members[first]) in nodes[t]
    assert not policy.informed


class GarnetByMatrix(smfg.games.Garnet):
    """Of the same aggregates, which are computed: they are kept as a matrix and its pseudoinverse."""

    def aggregates(self, mean_field):
        return 1.0 * mean_field


def test_the_whole_mean_field_needs_no_matrix(double):
    plain, computed = (kind(num_states=8, horizon=3) for kind in (smfg.games.Garnet, GarnetByMatrix))
    problem, by_matrix = (TreeProblem.of(game, "full") for game in (plain, computed))
    assert problem.functions is None
    assert by_matrix.functions.shape == (8, 8)
    solver = smfg.solvers.ExactEquilibrium(method="annealed")
    one, other = (smfg.solvers.solve(game, solver, max_steps=20).policy.logits for game in (plain, computed))
    np.testing.assert_allclose(one, other, atol=1e-6)
