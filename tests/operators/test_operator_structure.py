"""Bounds on the number of stored entries hold wherever walls and repeated offsets make successors coincide."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import numpy_kernels as twin
from hypothesis import given
from hypothesis import strategies as st

from structmfg import operators as ops

SIZE = 23  # one size of line, so that compiled programs are shared
offsets_of = st.lists(st.integers(-3, 3), min_size=2, max_size=2)
weights_of = st.lists(st.floats(0.05, 1.0), min_size=2, max_size=2)
barriers_of = st.tuples(st.integers(0, SIZE - 1), st.integers(0, SIZE - 1))


def normalised(weights):
    return np.asarray(weights) / np.sum(weights)


def distinct(dense):
    """The largest number of successors of one state under all actions together."""
    return (dense > 0).any(axis=1).sum(-1).max()


def assert_is(kernel, dense):
    """Both forms are the dense kernel, no entry is lost, and the bounds are bounds."""
    explicit = kernel.as_bcoo()
    np.testing.assert_allclose(explicit.todense().reshape(dense.shape), dense, atol=1e-6)
    policy = np.tile(normalised(1.0 + np.arange(dense.shape[1])), (SIZE, 1))
    operator = kernel.under(jnp.asarray(policy, float))
    np.testing.assert_allclose(operator.as_dense(), twin.under(dense, policy), atol=1e-6)
    assert operator.as_bcoo().nse <= SIZE * kernel.branching
    assert distinct(dense) <= kernel.branching
    values, mass = jnp.cos(jnp.arange(SIZE)), jnp.sin(1.0 + jnp.arange(dense[..., 0].size)).reshape(dense.shape[:2])
    np.testing.assert_allclose(kernel.expect(values), dense @ values, atol=1e-5)
    np.testing.assert_allclose(kernel.push(mass), np.einsum("sa,sat->t", mass, dense), atol=1e-5)


@given(offsets=offsets_of, shift=st.integers(-2, 2), barriers=barriers_of)
def test_lattice(offsets, shift, barriers):
    """Barriers may stand together, at the ends, and in each other's reach."""
    kernel = ops.LatticeKernel(SIZE, offsets, shift=shift, max_shift=2, barriers=barriers)
    assert_is(kernel, twin.lattice(SIZE, offsets, shift=shift, barriers=barriers))


@given(offsets=offsets_of, steps=offsets_of, weights=weights_of, barriers=barriers_of)
def test_lattice_then_noise(offsets, steps, weights, barriers):
    """The move may be held back where the noise is not."""
    noise = ops.LatticeNoise(SIZE, steps, normalised(weights))
    kernel = ops.LatticeKernel(SIZE, offsets, barriers=barriers) >> noise
    dense = twin.lattice(SIZE, offsets, barriers=barriers)
    assert_is(kernel, twin.followed_by(dense, twin.noise(SIZE, steps, normalised(weights))))


@given(indices=st.lists(st.integers(0, SIZE - 1), min_size=SIZE * 6, max_size=SIZE * 6))
def test_successors_named_many_times(indices):
    indices = np.array(indices).reshape(SIZE, 2, 3)
    probabilities = np.broadcast_to([0.2, 0.3, 0.5], indices.shape)
    kernel = ops.SuccessorKernel(jnp.asarray(indices), jnp.asarray(probabilities, float))
    assert_is(kernel, twin.successors(indices, probabilities))


def test_noise_that_tears_neighbours_apart():
    """Noise in pieces may send neighbours far from each other: more successors than both spans would allow."""
    size, offsets, shifts, even = 41, (-1, 0, 1), (0, 12), np.full((41, 3), 1 / 3)
    piece = np.arange(size) >= 20
    pieces = [ops.LatticeKernel(size, offsets, shift=shift, max_shift=12) for shift in shifts]
    noise = ops.MixtureKernel(pieces, np.stack([~piece, piece]).astype(float)).under(even)
    kernel = ops.FactoredKernel(ops.LatticeKernel(size, range(-2, 3)), noise)
    dense = twin.mixture([twin.lattice(size, offsets, shift=shift) for shift in shifts], np.stack([~piece, piece]))
    dense = twin.under(dense, even)
    dense = twin.followed_by(twin.lattice(size, range(-2, 3)), dense)
    assert distinct(dense) <= kernel.branching
    policy = np.full((size, 5), 1 / 5)
    np.testing.assert_allclose(kernel.under(policy).as_dense(), twin.under(dense, policy), atol=1e-6)


@pytest.mark.parametrize("steps", [(-1, 0, 1), (-3, 3), (0, 0)])
def test_bound_is_reached(steps):
    """Away from the walls, a move of consecutive offsets and noise fill the span: the bound wastes nothing."""
    kernel = ops.LatticeKernel(15, range(-2, 3)) >> ops.LatticeNoise(15, steps, [1 / len(steps)] * len(steps))
    dense = twin.followed_by(twin.lattice(15, range(-2, 3)), twin.noise(15, steps, np.ones(len(steps)) / len(steps)))
    most = {(-1, 0, 1): 7, (-3, 3): 10, (0, 0): 5}[steps]
    assert distinct(dense) == most
    assert kernel.branching == {(-1, 0, 1): 7, (-3, 3): 10, (0, 0): 5}[steps]


@given(positions=st.lists(st.floats(-2.0, 120.0), min_size=6, max_size=6), points=st.integers(2, 40))
def test_closed_form_search_is_binary_search(positions, points):
    """On a geometric grid, both find the same lottery, at its own points too."""
    grid = ops.GeometricGrid(points, 0.0, 99.0)
    exact = np.asarray(grid.points())
    at = jnp.concatenate([jnp.asarray(positions, float), jnp.pad(exact, (0, 40 - points))])
    one, other = (g.lottery(at) for g in (grid, ops.ArbitraryGrid(grid.points())))
    # On a grid point, index i with weight 1 is index i + 1 with weight 0.
    one, other = (np.asarray(index, float) + np.asarray(weight, float) for index, weight in (one, other))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
    assert grid.num_points == points


@pytest.mark.parametrize(("lower", "upper", "pivot"), [(0.0, 99.0, 0.25), (0.1, 2.0, 0.25), (0.5, 30.0, 0.1)])
def test_geometric_grid(lower, upper, pivot, precision):
    """x_i + p is geometric between lower + p and upper + p, with p = max(|lower|, pivot)."""
    points = np.asarray(ops.GeometricGrid(9, lower, upper, pivot).points())
    p = max(lower, pivot)
    expected = [(lower + p) * ((upper + p) / (lower + p)) ** (i / 8) - p for i in range(9)]
    np.testing.assert_allclose(points, expected, rtol=1e-5, atol=1e-6)
    assert (np.diff(points) > 0).all()


def test_lottery_keeps_the_mean(double):
    grid = ops.GeometricGrid(12, 0.0, 50.0)
    positions = jnp.linspace(0.0, 50.0, 77)
    index, weight = grid.lottery(positions)
    points = grid.points()
    np.testing.assert_allclose((1 - weight) * points[index] + weight * points[index + 1], positions, atol=1e-12)


def test_cost_of_structure():
    """Structure stores and moves less than lists of successors, and these less than a sparse matrix."""
    kernel = ops.LatticeKernel(200, range(-3, 4)) >> ops.LatticeNoise(200, (-1, 0, 1), (0.2, 0.6, 0.2))
    forms = [ops.cost(form) for form in (kernel, ops.SuccessorKernel(*kernel.successors()), kernel.explicit())]
    assert "shift by one of 7 offsets" in forms[0].structure
    assert "convolution with 3 points" in forms[0].structure
    assert "list of 3 successors" in forms[1].structure
    assert "sparse matrix of 4200 stored entries" in forms[2].structure
    for less, more in itertools.pairwise(forms):
        assert less.stored < more.stored
        assert max(less.bytes_moved) < min(more.bytes_moved)
    # Per state: 7 products and 6 sums over the actions, 3 and 2 in the noise; and some for the rows near the walls.
    assert 18 * 200 <= min(forms[0].flops) <= max(forms[0].flops) < 30 * 200


@pytest.mark.usefixtures("unchecked")
def test_cost_of_something_else():
    with pytest.raises(ValueError, match="cost is that of a transition kernel or operator, but was given a str"):
        ops.cost("macro")


@pytest.mark.parametrize("size", [5, 40])
@pytest.mark.usefixtures("unchecked")
def test_whole_numbers_are_no_probabilities(size, precision):
    """Values given as integers or as booleans, on a line all near the walls and on a longer one."""
    noise = ops.LatticeNoise(size, (-1, 0, 1), (0.1, 0.8, 0.1))
    dense = twin.noise(size, (-1, 0, 1), (0.1, 0.8, 0.1))
    for vector in (np.arange(size), np.arange(size) == 2):
        np.testing.assert_allclose(noise.mv(jnp.asarray(vector)), dense @ vector, rtol=1e-5)
        np.testing.assert_allclose(noise.rmv(jnp.asarray(vector)), dense.T @ vector, rtol=1e-5, atol=1e-6)


def test_a_high_power_is_stochastic():
    noise = ops.LatticeNoise(9, (-1, 0, 1), (0.1, 0.7, 0.2))
    np.testing.assert_allclose(ops.power(noise, 2**30).as_dense().sum(1), 1, rtol=1e-5)


def test_barriers_and_shifts_that_are_traced():
    """A list of traced barriers is as good as an array; a traced shift stays within its bound in both directions."""

    @jax.jit
    def moved(barrier, shift):
        kernel = ops.LatticeKernel(30, (0,), shift=shift, max_shift=1, barriers=[barrier])
        operator = kernel.under(jnp.ones((30, 1)))
        return operator.mv(jnp.arange(30.0)), operator.rmv(jnp.arange(30.0)), kernel.expect(jnp.arange(30.0))[:, 0]

    dense = twin.lattice(30, (1,), barriers=(12,))[:, 0]
    for shift in (1, 5):
        expected, arrived, each = moved(12, shift)
        np.testing.assert_allclose(expected, dense @ np.arange(30), rtol=1e-6)
        np.testing.assert_allclose(each, dense @ np.arange(30), rtol=1e-6)
        np.testing.assert_allclose(arrived, dense.T @ np.arange(30), rtol=1e-6)
