"""Occupation-measure solvers against plain NumPy and closed forms; the accelerated and the adaptive mirror descents."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpy_occupation as reference
import pytest
from helpers import numpy_classical
from helpers.tiny_game import Coin, Jammed

import structmfg as smfg
from structmfg.benchmarks.exact._rock_paper_scissors import OneRound
from structmfg.evaluation import TreeProblem
from structmfg.solvers import (
    RESULTS,
    AcceleratedMirrorDescent,
    ExactEquilibrium,
    OccupationInclusion,
    OccupationMeasureOptimisation,
    OnlineMirrorDescent,
    solve,
)

STEPS = 4
OF_ADAM = 1e-6  # it divides by slopes that are zero at the start up to rounding, 1e-15, plus 1e-8
CASES = {
    "mf_omo": (
        OccupationMeasureOptimisation(0.05, optimality=0.7, complementarity=1.3),
        lambda tree: reference.optimise(tree, 0.05, weights=(0.7, 1.3)),
        OF_ADAM,
    ),
    "mf_omo_softmax": (
        OccupationMeasureOptimisation(0.1, parameterisation="softmax"),
        lambda tree: reference.optimise(tree, 0.1, softmax=True),
        OF_ADAM,
    ),
    "inclusion": (OccupationInclusion(0.05, accuracy=1e-12), lambda tree: reference.inclusion(tree, 0.05), 1e-9),
    "perturbed": (
        OccupationInclusion(0.2, perturbation=0.5, accuracy=1e-12),
        lambda tree: reference.inclusion(tree, 0.2, 0.5),
        1e-9,
    ),
}


@pytest.mark.parametrize(("revealed", "jammed"), [(1, True), (0, False)])
@pytest.mark.parametrize("case", CASES)
def test_against_numpy(case, revealed, jammed, double):
    """Policies and certificates at every node, in games whose moves and rewards depend on both mean fields."""
    solver, iterate, tolerance = CASES[case]
    game = (Jammed if jammed else Coin)(revealed=revealed)
    model = numpy_classical.CrossedCoin(revealed, jammed)
    tree = numpy_classical.Tree(model)
    policies = list(itertools.islice(iterate(tree), STEPS))
    solution = solve(game, solver, max_steps=STEPS)
    for path in model.paths:
        found = smfg.solvers.rollout(game, solution.policy, jnp.array(path)).policy
        for t in range(model.horizon):
            np.testing.assert_allclose(found[t], policies[-1][path[: t + 1]], atol=tolerance)
    expected = [tree.exploitability(policy) for policy in policies]
    np.testing.assert_allclose(solution.stats["exploitabilities"], expected, atol=10 * tolerance)


def test_objective_at_an_equilibrium_is_zero_and_else_bounds_the_exploitability(double):
    """With mass kept and best-response values, the objective is the exploitability (Prop. 6 of the paper)."""
    game, solver = Jammed(revealed=1), OccupationMeasureOptimisation()
    problem = TreeProblem.of(game, "full")
    start = solver.init(problem).unknowns
    _, flow = problem.play(problem.uniform())
    gain = jnp.sum(problem.certify(flow, problem.uniform()).gain)
    assert float(solver.objective(problem, start)) == pytest.approx(float(gain), rel=1e-9)
    assert float(gain) > 0.01


def test_two_sides():
    """Two thirds go left (Cui & Koeppl 2021), by every one of the solvers."""
    game = smfg.games.make("left_right")
    for solver in (OccupationMeasureOptimisation(0.03), OccupationInclusion(0.3), AcceleratedMirrorDescent()):
        solution = solve(game, solver, max_steps=300)
        policy = smfg.solvers.rollout(game, solution.policy, game.scenarios().noise[0]).policy
        np.testing.assert_allclose(policy[0, 0], [2 / 3, 1 / 3], atol=1e-3)


def test_inclusion_in_a_crowd_converges():
    solution = solve(smfg.games.make("crowd_modelling"), OccupationInclusion(0.03, tolerance=1e-4), max_steps=400)
    assert solution.result is RESULTS.converged


MASKED = {
    "inclusion": (OccupationInclusion(0.1), 60),
    "mf_omo": (OccupationMeasureOptimisation(0.03), 300),
    "mf_omo_softmax": (OccupationMeasureOptimisation(0.1, parameterisation="softmax"), 400),
}


@pytest.mark.parametrize("case", MASKED)
def test_forbidden_actions(case, double):
    """They would pay best, and where they are allowed depends on the time; the rest is an equilibrium without them."""
    solver, steps = MASKED[case]
    never, sometimes = np.array([[0, 0, 1], [0, 0, 0], [1, 0, 0]], bool), np.eye(3, dtype=bool)[[1, 2, 1]]

    def forbidden(now):
        return never | (sometimes & (now.time == 1))

    game = smfg.games.from_arrays(
        np.broadcast_to(np.eye(3), (3, 3, 3)),
        lambda now, then: jnp.where(forbidden(now), 5.0, jnp.array([0.0, 0.1, 0.3]) - now.mean_field[:, None]),
        horizon=3, discount=1.0, allowed=lambda now: ~forbidden(now),
    )  # fmt: skip
    solution = solve(game, solver, max_steps=steps)
    policy = smfg.solvers.rollout(game, solution.policy, game.scenarios().noise[0]).policy
    assert not policy[:, never].any()
    assert not policy[1, sometimes].any()
    assert policy[0, sometimes].any()
    exact = solve(game, ExactEquilibrium(tolerance=1e-6), max_steps=2000)
    assert exact.result is RESULTS.converged
    assert solution.stats["exploitability"] < 2e-3
    assert solution.stats["returns"][-1] == pytest.approx(exact.stats["returns"][-1], abs=5e-3)
    problem = TreeProblem.of(game, "full")
    state = jax.lax.fori_loop(0, 20, lambda _, state: solver.step(problem, state), solver.init(problem))
    measure = state.measure if case == "inclusion" else solver.measure(problem, state.unknowns)
    assert float(measure[:, never].max()) < 1e-200  # the solver itself, not what its policy is restricted to


def test_projection_stops_at_its_limits(double):
    """A projection ends where the mass not kept is small enough, or after so many steps, and says what is left."""
    game = Jammed(revealed=1)
    problem = TreeProblem.of(game, "full")
    rough, fine = (OccupationInclusion(0.2, accuracy=x, projection_steps=n) for x, n in ((1e-3, 999), (1e-10, 999)))
    cut = OccupationInclusion(0.2, accuracy=1e-10, projection_steps=3)
    missing = [float(s.step(problem, s.init(problem)).missing) for s in (rough, fine, cut)]
    assert missing[0] <= 1e-3
    assert missing[1] <= 1e-10
    assert missing[2] > 1e-3


def test_accelerated_is_the_exact_solver_by_mirror_steps():
    game = smfg.games.make("crowd_modelling")
    alone = solve(game, AcceleratedMirrorDescent(cycle=40), max_steps=60)
    exact = solve(game, ExactEquilibrium(method="mirror", cycle=40, tolerance=0.0), max_steps=60)
    assert alone.stats["exploitabilities"] == exact.stats["exploitabilities"]
    assert alone.stats["certified"] == [20, 40, 60]


@pytest.mark.parametrize(("first", "steps"), [(20.0, 8), (5.0, 18)])
def test_adaptive_rate_follows_the_exploitability(first, steps, double):
    """Steps by hand with 1.2 times the rate after a fall and half of it after a rise, but never below the first."""
    tree = numpy_classical.Tree(numpy_classical.CrossedCoin(1, True))
    policy, total, rate, before = tree.uniform, dict.fromkeys(tree.uniform, 0.0), first, np.inf
    expected, factors = [], []
    for _ in range(steps):
        _, q = tree.own(tree.push(policy), policy)
        total = {node: total[node] + rate * q[node] for node in total}
        policy = {node: numpy_classical.softmax(total[node]) for node in total}
        gain = tree.exploitability(policy)
        factors.append(1.2 if gain < before else 0.5)
        rate, before = max(rate * factors[-1], first), gain
        expected.append(gain)
    assert set(factors) == {1.2, 0.5}
    solution = solve(Jammed(revealed=1), OnlineMirrorDescent(first, adaptive=True), max_steps=steps)
    np.testing.assert_allclose(
        solution.stats["exploitabilities"], expected, rtol=1e-6
    )  # rates near 100 enlarge rounding


def test_adaptive_rate_does_not_vanish_in_a_rotation():
    """In rock, paper, scissors steps go round the equilibrium; half of the steps raise the exploitability."""
    history = solve(OneRound(), OnlineMirrorDescent(0.1, adaptive=True), max_steps=600).stats["exploitabilities"]
    assert sum(later > sooner for sooner, later in itertools.pairwise(history)) > 100
    assert history[-1] < 0.02


def test_adaptive_rate_needs_no_tuning():
    """On `crowd_modelling` the same exploitability from rates that are a hundred times apart."""
    game = smfg.games.make("crowd_modelling")
    for rate in (0.02, 2.0):
        solution = solve(game, OnlineMirrorDescent(rate, adaptive=True), max_steps=100)
        assert solution.stats["exploitability"] < 5e-3
    assert all(leaf.dtype != np.float64 for leaf in jax.tree.leaves(solution.policy))


@pytest.mark.parametrize("kind", [OccupationInclusion, OccupationMeasureOptimisation])
def test_refused(kind):
    with pytest.raises(ValueError, match=f"{kind.__name__} is for full information only, because"):
        kind(information="public")
    with pytest.raises(ValueError, match=f"{kind.__name__} is for games that interact through the mean field alone"):
        solve(smfg.games.make("trade_crowding", horizon=2), kind(), max_steps=1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: OccupationInclusion(learning_rate=0.0), "learning_rate must be finite and above 0"),
        (lambda: OccupationInclusion(perturbation=-1.0), "perturbation must lie in"),
        (lambda: OccupationInclusion(projection_steps=0), "projection_steps must be a whole number of at least 1"),
        (lambda: OccupationMeasureOptimisation(optimality=0.0), "optimality must be finite and above 0"),
        (lambda: OccupationMeasureOptimisation(parameterisation="soft"), "unknown parameterisation 'soft'"),
        (lambda: AcceleratedMirrorDescent(cycle=1), "cycle must be a whole number of at least 2, but is 1"),
        (lambda: AcceleratedMirrorDescent(stiffness=0.0), "stiffness must be finite and above 0"),
    ],
)
def test_bad_settings(call, message, unchecked):
    with pytest.raises(ValueError, match=message):
        call()
