"""`converged` means what it says: an independent computation of what the returned policy leaves to be gained."""

import jax
import numpy as np
import pytest
from helpers.random_games import Oracle, random_game

from structmfg.solvers import (
    RESULTS,
    ExactEquilibrium,
    FictitiousPlay,
    FixedPoint,
    MunchausenMirrorDescent,
    OnlineMirrorDescent,
    PolicyIteration,
    PriorDescent,
    solve,
)

TOLERANCE = 0.02
SOLVERS = {
    "annealed": lambda **how: ExactEquilibrium(tolerance=1e-6, method="annealed", **how),
    "mirror": lambda **how: ExactEquilibrium(tolerance=1e-4, method="mirror", **how),
    "fictitious play": lambda **how: FictitiousPlay(tolerance=TOLERANCE, **how),
    "fixed point": lambda **how: FixedPoint(tolerance=TOLERANCE, damping=0.3, temperature=0.02, **how),
    "mirror descent": lambda **how: OnlineMirrorDescent(tolerance=TOLERANCE, learning_rate=1.0, **how),
    "munchausen": lambda **how: MunchausenMirrorDescent(tolerance=TOLERANCE, learning_rate=1.0, **how),
    "prior descent": lambda **how: PriorDescent(tolerance=TOLERANCE, temperature=0.3, inner=3, **how),
    "policy iteration": lambda **how: PolicyIteration(tolerance=TOLERANCE, temperature=0.02, **how),
}
SHAPES = [
    (2, 2, 3, 2, "all"),
    (3, 2, 2, 3, "some"),
    (2, 3, 4, 2, "nothing"),
    (4, 2, 1, 1, "some"),
    (3, 3, 5, 1, "nothing"),
    (2, 2, 3, 3, "some"),
    (2, 2, 5, 2, "nothing"),
]


def study(rng, shape, name, information, max_steps=150):
    """The status, and by how much an independent computation is above what is stated."""
    game = random_game(rng, shape, discount=0.9 if shape[0] == 2 else 1.0, scale=rng.choice([1.0, 1e-3, 10.0]))
    solver = SOLVERS[name](information=information)
    solution = solve(game, solver, max_steps=max_steps, throw=False)
    stated = solution.stats["exploitability"]
    if solution.result is RESULTS.uncertified:
        return solution.result, 0.0, solver.tolerance
    found = Oracle(game, solution.policy).exploitability(information)
    if solution.result is RESULTS.converged:
        assert 0 <= stated <= solver.tolerance
    return solution.result, found - stated, solver.tolerance


@pytest.mark.parametrize(
    ("information", "name"), [("public", "annealed"), pytest.param("full", "fictitious play", marks=pytest.mark.slow)]
)
def test_converged_is_true(information, name):
    rng, converged = np.random.default_rng(7), 0
    for _ in range(6):
        result, off, tolerance = study(rng, SHAPES[0], name, information, 60)
        converged += result is RESULTS.converged
        assert off <= 1e-3 * tolerance
    assert converged


@pytest.mark.slow
@pytest.mark.parametrize("information", ["full", "public"])
@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_study(shape, name, information):
    """All families, in both precisions: some two thousand games."""
    rng = np.random.default_rng([SHAPES.index(shape), list(SOLVERS).index(name), information == "full"])
    for wide in (False, True):
        with jax.enable_x64(wide):
            for _ in range(9):
                _, off, tolerance = study(rng, shape, name, information)
                assert off <= 1e-3 * tolerance
