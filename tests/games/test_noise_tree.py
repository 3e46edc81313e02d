"""Noise trees: histories of paths that may come in any order, repeatedly, or with probability zero."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import structmfg as smfg
from structmfg.games import NoiseChain, NoisePaths, noise_tree, tree_of

CHAIN = NoiseChain(
    np.array([-1.0, 0.0, 2.0]), np.array([0.0, 0.4, 0.6]), np.array([[1, 0, 0], [0.2, 0, 0.8], [0.1, 0.6, 0.3]])
)


@dataclasses.dataclass(frozen=True)
class Chained(smfg.games.LeftRight):
    """Noise by a chain, or by its paths alone; nothing else is asked of it."""

    horizon: int = 4
    listed: bool = False

    def noise_chain(self):
        return None if self.listed else CHAIN

    def scenarios(self):
        states, probabilities = CHAIN.paths(self.horizon)
        return NoisePaths(jnp.asarray(CHAIN.values)[states], jnp.asarray(probabilities))


@st.composite
def some_paths(draw):
    """Paths of pairs, with repeated prefixes, in any order, weighted unequally, some with zero."""
    length, count = draw(st.integers(2, 5)), draw(st.integers(1, 9))
    numbers = st.lists(st.integers(0, 2), min_size=length, max_size=length)
    noise = np.array(draw(st.lists(numbers, min_size=count, max_size=count)))
    weights = np.array(draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)), float)
    weights = weights / weights.sum() if weights.sum() else np.full(count, 1 / count)
    return NoisePaths((jnp.asarray(noise), jnp.asarray(noise[..., None] / 4)), jnp.asarray(weights))


def check(tree, paths):
    """Every field, from its definition."""
    noise, weights = np.asarray(jax.tree.leaves(paths.noise)[0]), np.asarray(paths.probabilities)
    nodes, times = np.asarray(tree.nodes), np.asarray(tree.slot_time)
    parent, children, chance, probability = map(
        np.asarray, (tree.parent, tree.children, tree.branch_probability, tree.probability)
    )
    assert tree.num_slots == len(parent) == len(times) == len(probability) == tree.block * len(tree.time)
    assert tree.num_decisions == np.sum(times < nodes.shape[0] - 1) == len(chance)
    assert (np.diff(times) >= 0).all()
    for time, row in enumerate(nodes):
        prefixes = [tuple(path[: time + 1]) for path in noise.tolist()]
        assert len(set(zip(row.tolist(), prefixes, strict=True))) == len(set(row.tolist())) == len(set(prefixes))
        np.testing.assert_array_equal(times[row], time)
        for i, node in enumerate(row):
            for leaf, all_ in zip(jax.tree.leaves(tree.noise), jax.tree.leaves(paths.noise), strict=True):
                np.testing.assert_array_equal(leaf[node], all_[i, time])
            np.testing.assert_allclose(probability[node], weights[row == node].sum(), atol=1e-15)
            assert parent[node] == (nodes[time - 1, i] if time else node)
    for time, row in enumerate(nodes[:-1]):
        for node in set(row.tolist()):
            after = set(nodes[time + 1, row == node].tolist())
            ways = {c: p for c, p in zip(children[node].tolist(), chance[node], strict=True) if c in after}
            assert set(ways) == after
            np.testing.assert_allclose(chance[node].sum(), 1, atol=1e-15)
            np.testing.assert_allclose(sum(ways.values()), 1, atol=1e-15)
            for child, p in ways.items():
                np.testing.assert_allclose(probability[child], probability[node] * p, atol=1e-15)
    # Slots left over are like the first path's node, and nothing real leads to them.
    for slot in set(range(tree.num_slots)) - set(nodes.ravel().tolist()):
        twin = nodes[times[slot], 0]
        assert probability[slot] == 0
        assert slot not in np.r_[parent, children[chance > 0]]
        assert times[slot] == 0 or parent[slot] == parent[twin]
        for leaf in jax.tree.leaves(tree.noise):
            np.testing.assert_array_equal(leaf[slot], leaf[twin])
        if slot < tree.num_decisions:
            np.testing.assert_array_equal(children[slot], children[twin])
            np.testing.assert_array_equal(chance[slot], chance[twin])


@given(paths=some_paths(), page=st.sampled_from([1, 100, 5000, 10**6]))
def test_any_paths(paths, page):
    with jax.enable_x64(True):
        paths = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), paths)
        paths = NoisePaths(paths.noise, paths.probabilities / np.asarray(paths.probabilities).sum())
        for pad_levels in (False, True):
            check(tree_of(paths, page, pad_levels=pad_levels), paths)


@pytest.mark.parametrize("listed", [False, True])
def test_chain(listed, double):
    game = Chained(listed=listed)
    tree = noise_tree(game)
    check(tree, game.scenarios())
    widths = CHAIN.widths(game.horizon)
    assert [len(set(row.tolist())) for row in tree.nodes] == widths
    assert tree.num_decisions >= sum(widths[:-1])


def test_blocks(double):
    """A whole level; or one node, where tables are large; between, the fewer blocks the smaller the tables."""
    paths = Chained().scenarios()
    width = paths.num_paths
    assert tree_of(paths, 10, pad_levels=True).block == width
    assert [tree_of(paths, page).block for page in (2**16, 2**17)] == [1, 1]
    sizes = [tree_of(paths, page).block for page in (1, 2**8, 2**10, 2**12, 2**16)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == width
    assert len(set(sizes)) >= 3
    assert all(tree_of(paths, page).block * page <= 2**16 for page in (2**12, 2**13, 2**14))


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("max_bytes", [40, 10**3, 5000, 20000])
def test_too_large(max_bytes, listed):
    """The message gives the size, and the horizon that fits: it does, and one step more does not."""
    game = Chained(horizon=7, listed=listed)
    widths = CHAIN.widths(7)
    needs = [64 * (6 * sum(widths[:horizon]) + widths[horizon] * (horizon + 1)) for horizon in range(1, 8)]
    allowed = [need <= max_bytes for need in needs]
    assert not allowed[-1]
    with pytest.raises(
        ValueError, match=f"{widths[-1]} paths and {sum(widths[:-1])} nodes at which to decide"
    ) as error:
        noise_tree(game, max_bytes=max_bytes)
    if not any(allowed):
        assert "not even one step would fit" in str(error.value)
        return
    fits = int(
        re.search(r"the first (\d+) steps would" if listed else r"a horizon of (\d+) would", str(error.value))[1]
    )
    assert noise_tree(dataclasses.replace(game, horizon=fits), max_bytes=max_bytes).num_decisions >= sum(widths[:fits])
    with pytest.raises(ValueError, match="would fit"):
        noise_tree(dataclasses.replace(game, horizon=fits + 1), max_bytes=max_bytes)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, r"finite common noise, but this game's noise is continuous.*: discretise it \(for macro, noise_states=3"),
        ({"noise_states": 3}, r"has 1\.\d+e\+61 paths and .* a horizon of 9 would fit"),
    ],
)
def test_macro_at_full_length(parameters, message):
    with pytest.raises(ValueError, match=message):
        noise_tree(smfg.games.make("macro", **parameters))
