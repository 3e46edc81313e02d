"""The master equation against equilibria on noise trees, and interpolation on the simplex."""

import dataclasses
import importlib.util
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.numpy_tree import Places as NumpyPlaces
from helpers.numpy_tree import soft_tree
from helpers.tiny_game import Coin
from hypothesis import given
from hypothesis import strategies as st

import structmfg as smfg
from structmfg.operators import DenseKernel
from structmfg.solvers import MASTER_RESULTS, barycentric, master_equation, simplex_grid

_EXAMPLE = Path(__file__).parents[2] / "examples" / "master_equation.py"
_SPEC = importlib.util.spec_from_file_location("master_equation_example", _EXAMPLE)
example = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(example)
Places = example.Places

CHAIN = Places().noise_chain()


@dataclasses.dataclass(frozen=True)
class Jump(Places):
    """Whoever reaches a place with more than half of all is fined: no equilibrium without mixing at the jump."""

    def reward(self, aggregate, following):
        return super().reward(aggregate, following) - (following.mean_field > 0.5)


@dataclasses.dataclass(frozen=True)
class Spoiled(Places):
    def reward(self, aggregate, following):
        return super().reward(aggregate, following) + jnp.log(aggregate.mean_field)[:, None]


@dataclasses.dataclass(frozen=True)
class Fine(Places):
    """No noise: `scenarios` has the one path of fine weather."""

    weathers: tuple[float, ...] = (0.0,)

    def noise_chain(self):
        return None

    def scenarios(self):
        weather = np.resize(self.weathers, self.horizon + 1)
        return smfg.games.NoisePaths(jnp.asarray(weather)[None], jnp.ones(1))


@dataclasses.dataclass(frozen=True)
class Hurried(Places):
    """The kernel reads the clock."""

    def kernel(self, aggregate):
        weather = jnp.where(aggregate.time == 1, 1.0, aggregate.noise)
        return DenseKernel(self.moves(weather, aggregate.mean_field))


def along_tree(game, mean_field, noise_state, horizon, temperature):
    return soft_tree(NumpyPlaces(game), mean_field, noise_state, CHAIN.transition, horizon, temperature)


@given(st.integers(2, 4), st.integers(1, 9), st.data())
def test_barycentric(num_states, mesh, data):
    """Weights are a distribution over neighbours in the grid that reproduces the point, at the border as well."""
    grid = simplex_grid(num_states, mesh)
    assert len(grid) == len(np.unique(grid, axis=0)) == math.comb(mesh + num_states - 1, num_states - 1)
    number = st.one_of(st.integers(0, 3).map(float), st.floats(0, 1))
    drawn = np.array(data.draw(st.lists(number, min_size=num_states, max_size=num_states).filter(any)))
    with jax.enable_x64(True):
        for mu in (drawn / drawn.sum(), grid[data.draw(st.integers(0, len(grid) - 1))]):
            around = jax.jit(barycentric, static_argnums=1)(mu, mesh)
            weights = np.asarray(around.weights)
            assert (weights >= 0).all()
            assert weights.sum() == pytest.approx(1, abs=1e-14)
            assert ((np.asarray(around.indices) >= 0) & (np.asarray(around.indices) < len(grid))).all()
            np.testing.assert_allclose(weights @ grid[around.indices], mu, atol=1e-14)
            assert np.ptp(grid[around.indices], axis=0).max() <= (1 + 1e-12) / mesh
            linear = grid @ np.arange(1.0, num_states + 1) - 3
            assert float(around.interpolate(linear)) == pytest.approx(mu @ np.arange(1.0, num_states + 1) - 3)


def test_barycentric_in_either_precision(precision):
    grid = simplex_grid(3, 7)
    for mu in np.random.default_rng(0).dirichlet(np.ones(3), size=20):
        around = jax.jit(barycentric, static_argnums=1)(mu, 7)
        assert around.weights.dtype == precision
        np.testing.assert_allclose(around.weights @ grid[around.indices], mu, atol=1e-6)


def test_interpolation_is_continuous(double):
    """Across the borders of cells, a step of 1e-9 changes an interpolated function by no more than its slope allows."""
    table = jnp.asarray(np.random.default_rng(1).normal(size=len(simplex_grid(3, 5))))
    line = np.linspace(0, 1, 61)[:, None] * [0.15, 0.25, -0.4] + [0.1, 0.1, 0.8]
    values = jax.vmap(lambda mu: barycentric(mu, 5).interpolate(table))
    for direction in np.array([[1, -1, 0], [0, 1, -1], [1, 0, -1]]) * 1e-9:
        np.testing.assert_allclose(values(line), values(line + direction), atol=1e-7)


@pytest.mark.parametrize(
    ("num_states", "mesh", "horizon"), [pytest.param(2, 256, 4, marks=pytest.mark.slow), (3, 48, 3)]
)
def test_agrees_with_the_tree(num_states, mesh, horizon):
    """Values and policies of the equilibrium from mu_0; clock, mean fields and noise, now and next, all matter."""
    game = Places(num_states, horizon=horizon, season=0.1, jam=0.2)
    solution = master_equation(game, mesh=mesh, horizon="game", temperature=0.2)
    assert solution.result is MASTER_RESULTS.solved
    assert solution.values.shape == (horizon + 1, 2, len(solution.points), num_states)
    start = np.arange(1.0, num_states + 1) ** 2 / (np.arange(1.0, num_states + 1) ** 2).sum()
    for z in range(2):
        values, policy = along_tree(game, start, z, horizon, 0.2)
        np.testing.assert_allclose(solution.value(start, z), values, atol=3e-6 if num_states == 2 else 1e-4)
        np.testing.assert_allclose(solution.policy_at(start, z), policy, atol=1e-5 if num_states == 2 else 5e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("num_states", "meshes"), [(2, (8, 16, 64)), (3, (4, 8, 32))])
def test_order_of_convergence(num_states, meshes):
    """Errors against the tree fall as mesh^-2: V is smooth. `test_the_example_prints_orders` finds the same order."""
    game = Places(num_states, horizon=3)
    start = np.arange(1.0, num_states + 1) / np.arange(1.0, num_states + 1).sum()
    exact = np.array([along_tree(game, start, z, 3, 0.5)[0] for z in range(2)])
    errors = []
    for mesh in meshes:
        solution = master_equation(game, mesh=mesh, horizon=3, temperature=0.5)
        errors.append(np.abs([solution.value(start, z) - exact[z] for z in range(2)]).max())
    assert -np.polyfit(np.log(meshes), np.log(errors), 1)[0] > 1.6


@pytest.mark.parametrize("mesh", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_one_step_needs_no_interpolation(mesh):
    """At the last step V_T = 0, so any mesh is exact at its points."""
    solution = master_equation(Places(3), mesh=mesh, horizon=1, temperature=0.1)
    for point, values in zip(solution.points, solution.values[0, 1], strict=True):
        np.testing.assert_allclose(values, along_tree(Places(3), point, 1, 1, 0.1)[0], atol=1e-9)


@pytest.mark.parametrize(("num_states", "mesh"), [pytest.param(2, 32, marks=pytest.mark.slow), (3, 8)])
def test_infinite_horizon_is_the_limit(num_states, mesh):
    game = Places(num_states)
    limit = master_equation(game, mesh=mesh, temperature=0.2)
    assert limit.values.shape == (2, len(limit.points), num_states)
    long = master_equation(game, mesh=mesh, horizon=120, temperature=0.2)
    distances = [np.abs(long.values[120 - steps] - limit.values).max() for steps in (20, 120)]
    assert 0.01 < distances[0] < 10 * 0.9**20 / 0.1
    assert distances[1] < 10 * distances[0] * 0.9**100
    assert limit.stats["residual"] <= limit.stats["tolerance"]
    assert limit.stats["bound"] == pytest.approx(9 * limit.stats["residual"])


def test_the_law_of_motion_is_that_of_the_policy():
    """mu' = (A^pi)^T mu at every grid point."""
    game = Places(3, jam=0.2)
    solution = master_equation(game, mesh=6, temperature=0.1)
    model = NumpyPlaces(game)
    reach = np.array([[model.dense(mu, z, 0) for mu in solution.points] for z in range(2)])
    moved = np.einsum("ps,zpsa,zpsat->zpt", solution.points, solution.policy, reach)
    np.testing.assert_allclose(moved, solution.next_mean_field, atol=1e-9)


@pytest.mark.parametrize(("num_states", "mesh"), [(2, 32), pytest.param(3, 8, marks=pytest.mark.slow)])
def test_cold_agents(num_states, mesh):
    """The default temperature and a colder one are solved too, and the bonus is all that V gains or loses by them."""
    game = Places(num_states)
    warm, cold = (master_equation(game, mesh=mesh, temperature=heat) for heat in (None, 1e-3))
    assert 0.02 < warm.stats["temperature"] < 0.04
    assert np.abs(warm.values - cold.values).max() < warm.stats["temperature"] * math.log(num_states) / 0.1


def test_always_in_double_precision():
    solution = master_equation(Places(2), mesh=4, horizon=2, temperature=0.2)
    assert solution.values.dtype == solution.value([0.3, 0.7], 0).dtype == np.float64
    with jax.enable_x64(True):
        again = master_equation(Places(2), mesh=4, horizon=2, temperature=0.2)
    np.testing.assert_array_equal(solution.values, again.values)


def test_without_noise():
    """Constant noise without a chain is a chain of one state."""
    game = Fine(2)
    solution = master_equation(game, mesh=64, horizon=3, temperature=0.2)
    values, _ = soft_tree(NumpyPlaces(game), [0.3, 0.7], 0, np.ones((1, 1)), 3, 0.2)
    np.testing.assert_allclose(solution.value([0.3, 0.7], 0), values, atol=1e-4)


def test_several_equilibria():
    """Agents who like company: Newton's method alone gets stuck, and the corners help."""
    solution = master_equation(Places(2, crowding=-0.2), mesh=32, temperature=0.03)
    assert solution.result is MASTER_RESULTS.solved
    assert solution.stats["stage_residual"] < 1e-9


def test_stages_without_an_equilibrium_are_no_success():
    solution = master_equation(Jump(2), mesh=8, temperature=0.1, throw=False)
    assert solution.result is MASTER_RESULTS.stage
    assert not solution.result.succeeded
    assert solution.stats["stage_residual"] > 0.1
    with pytest.raises(RuntimeError, match=r"no equilibrium of the stage.*stage_residual 0"):
        master_equation(Jump(2), mesh=8, horizon=2, temperature=0.1)


def test_other_failures():
    short = master_equation(Places(2), mesh=4, temperature=0.2, max_steps=3, throw=False)
    assert short.result is MASTER_RESULTS.max_steps
    assert short.stats["steps"] == 3
    assert short.stats["residual"] > short.stats["tolerance"]
    for horizon, heat in ((None, 0.2), (3, None)):
        spoiled = master_equation(Spoiled(2), mesh=4, horizon=horizon, temperature=heat, throw=False)
        assert spoiled.result is MASTER_RESULTS.nonfinite


@pytest.mark.parametrize(
    ("game", "arguments", "message"),
    [
        (Places(4), {}, "at most 3 states, but this game has 4"),
        (Coin(), {}, "needs noise that is a finite Markov chain"),
        (Fine(weathers=(0.0, 1.0)), {}, "needs noise that is a finite Markov chain"),
        (Places(), {"mesh": 0}, "mesh must be a whole number of at least 1, but is 0"),
        (Places(), {"temperature": 0.0}, "temperature must be finite and above 0"),
        (Places(), {"tolerance": -1.0}, "tolerance must be finite and above 0"),
        (Places(), {"max_steps": 0}, "max_steps must be a whole number"),
        (Places(), {"horizon": 0}, "horizon must be a whole number of at least 1"),
        (Places(discount=1.0), {}, "needs a discount below 1, but it is 1"),
        (Places(season=0.1), {}, "the reward at time 1 is not that at time 0; give a horizon"),
        (Hurried(), {}, "the kernel at time 1 is not that at time 0; give a horizon"),
    ],
)
def test_bad_arguments(game, arguments, message, unchecked):
    with pytest.raises(ValueError, match=message):
        master_equation(game, **arguments)


@pytest.fixture(scope="module")
def undiscounted():
    return master_equation(Places(discount=1.0), mesh=2, horizon=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5, 0.5, 0.0], 0), r"mean_field must have shape \(2,\)"),
        (([0.5, 0.6], 0), "sum 1.1"),
        (([0.5, 0.5], 2), r"noise_state must lie in 0\.\.1, but is 2"),
        (([0.5, 0.5], 0, 2), r"time must lie in 0\.\.1, but is 2"),
    ],
)
def test_bad_points(arguments, message, undiscounted, unchecked):
    assert (undiscounted.value([0.5, 0.5], 0, 2) == 0).all()
    with pytest.raises(ValueError, match=message):
        undiscounted.policy_at(*arguments)


@pytest.mark.slow
def test_the_example_prints_orders():
    rows = example.convergence(Places(2), (4, 8, 16), temperature=0.5, horizon=2)
    assert [row[0] for row in rows] == [4, 8]
    assert rows[1][3] == pytest.approx(2, abs=0.5)
