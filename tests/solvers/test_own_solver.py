"""Solvers and optimisers that a user writes, with public names only; `examples/own_solver.py` has the solvers."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from helpers.tiny_game import Coin

import structmfg as smfg
from structmfg.solvers import RESULTS, Snapshots, Solver, solve

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_solver.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("own_solver", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_uses_public_names_only():
    assert "structmfg._" not in EXAMPLE.read_text()
    assert "._" not in EXAMPLE.read_text()


def test_both_solve_the_game(example):
    """`left_right`, where the uniform policy's exploitability is 0.25."""
    trained, exact = example.main()
    assert trained.result is RESULTS.completed
    assert smfg.solvers.exploitability(smfg.games.make("left_right"), trained.policy).value < 0.05
    assert exact.result is RESULTS.converged
    assert exact.stats["exploitability"] <= 1e-3


@pytest.mark.parametrize("kind", ["GradientAscent", "SoftResponses"])
def test_they_go_on_from_snapshots(kind, example, tmp_path):
    """To the same numbers as without a stop; so their states are arrays as the loop needs them."""
    game = Coin()
    policy = smfg.policies.memoryless(game, width=3, depth=1, rank=2)
    solver = example.GradientAscent(policy) if kind == "GradientAscent" else example.SoftResponses(tolerance=0.0)

    def solution(**options):
        return solve(game, solver, key=jax.random.key(0), max_steps=30, **options)

    with Snapshots(tmp_path) as kept:
        assert solution(snapshots=kept, max_seconds=1e-9).result is RESULTS.time_limit
    with Snapshots(tmp_path) as kept:
        resumed, whole = solution(snapshots=kept), solution()
    assert resumed.stats["returns"] == whole.stats["returns"]
    for leaves in zip(*(jax.tree.leaves(found.policy) for found in (resumed, whole)), strict=True):
        np.testing.assert_array_equal(*leaves)
    assert isinstance(solver, Solver)


@pytest.mark.parametrize("clip", [1e9, 0.5])
def test_gradient_descent_moves_by_rate_times_gradient(clip):
    """The first step of plain gradient descent, by the norm that the step reports; Adam's would not depend on it."""
    game = smfg.games.make("linear_quadratic", num_states=9, horizon=3)
    network = smfg.policies.recurrent(game, hidden=4, width=4, depth=1)
    solver = smfg.solvers.RSPG(network, num_paths=2, learning_rate=0.1, clip=clip, optimiser=optax.sgd)

    @jax.jit
    def first_step(key):
        state = solver.init(game, key)
        after, metrics = solver.step(game, state, 10)
        return metrics, optax.tree.norm(jax.tree.map(lambda a, b: a - b, after.parameters, state.parameters))

    metrics, moved = first_step(jax.random.key(0))
    assert metrics.gradient_norm > 0.5
    expected = 0.1 * min(metrics.gradient_norm, clip)
    assert moved == pytest.approx(float(expected), rel=1e-4)
