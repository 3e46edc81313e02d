"""The five games that go on for ever: their definitions, their equilibria, and who gets stuck where."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import structmfg as smfg
from structmfg.evaluation import RESIDUAL, StationaryProblem
from structmfg.solvers import StationaryMeanFieldEquilibrium
from structmfg.verification import oracles

FREE = np.array([not oracles.FourRooms.wall(s // 11, s % 11) for s in range(121)])
SIDE = [0.00112, 0.04952, 0.27750]
MEAN_FIELDS = {  # of Bench-MFG, to the digits that are known; that of the rooms follows from their symmetry
    "lasry_lions": [*SIDE, 0.34372, *SIDE[::-1]],
    "rock_paper_scissors": [1 / 3] * 3,
    "two_beach_bars": [0, 0.025, 0.95, 0.025, 0, 0, 0],
    "four_rooms": FREE / FREE.sum(),
    "sis": [1, 0],
}


def solve(game, max_steps=30, **settings):
    return smfg.solvers.solve(game, StationaryMeanFieldEquilibrium(**settings), max_steps=max_steps)


@pytest.mark.parametrize("name", MEAN_FIELDS)
def test_definitions(name):
    """Kernel, reward, observation and start against plain NumPy, at random mean fields."""
    game, random = smfg.games.make(name), np.random.default_rng(3)
    model = oracles.model(game)
    with jax.enable_x64(True):
        noise = game.initial_noise(jnp.asarray(0.5))
        np.testing.assert_allclose(game.initial_mean_field(noise), model.start(0), atol=1e-15)
        for mean_field in random.dirichlet(np.full(game.num_states, 0.3), 2):
            aggregate = game.aggregate(mean_field=mean_field, noise=0, time=0)
            dense = model.dense(mean_field, 0, 0)
            np.testing.assert_allclose(game.kernel(aggregate).as_dense(), dense, atol=1e-15)
            reward = model.reward(mean_field, 0, 0, mean_field, 0)
            np.testing.assert_allclose(game.reward(aggregate, aggregate), reward, atol=1e-12)
            np.testing.assert_allclose(game.observe(aggregate), model.observe(mean_field, 0, 0), atol=1e-15)


@pytest.mark.parametrize("name", MEAN_FIELDS)
def test_equilibria(name):
    solution = solve(smfg.games.make(name))
    assert solution.result is smfg.solvers.RESULTS.converged
    assert 0 <= solution.stats["exploitability"] <= 1e-8
    assert 0 <= solution.stats["residual"] <= RESIDUAL
    assert solution.stats["train_seconds"] < 10
    np.testing.assert_allclose(solution.policy.mean_field, MEAN_FIELDS[name], atol=1.5e-5)
    assert smfg.solvers.exploitability(smfg.games.make(name), solution.policy).value <= 1e-8


def test_lasry_lions_mixes():
    """In state 1 stay and right, in state 2 almost always stay; and the same mirrored."""
    policy = solve(smfg.games.make("lasry_lions")).policy.table
    assert policy[1, 0] < 1e-8 < 0.1 < policy[1, 2] < policy[1, 1]
    assert 0.99 < policy[2, 1] < 1 - 1e-4
    np.testing.assert_allclose(policy, policy[::-1, ::-1], atol=1e-7)


def steps(game, count, **settings):
    """The state after some steps of a solver, and the problem."""
    problem, solver = StationaryProblem(game), StationaryMeanFieldEquilibrium(**settings)
    state = solver.init(problem)
    for _ in range(count):
        state = solver.step(problem, state)
    return problem, state


@pytest.mark.parametrize("name", ["rock_paper_scissors", pytest.param("four_rooms", marks=pytest.mark.slow)])
def test_newton_away_from_an_equilibrium(name):
    """The uniform policy is an equilibrium of both: Newton's method finds one from the average of a cycle, too."""
    problem, state = steps(smfg.games.make(name), 4, responses=3)
    certificate = problem.certify(state.policy, state.mean_field)
    assert 0 <= certificate.gain <= 1e-8
    assert certificate.residual <= RESIDUAL
    np.testing.assert_allclose(state.mean_field, MEAN_FIELDS[name], atol=1e-9)
    _, cycling = steps(smfg.games.make(name), 3, responses=3)
    assert problem.certify(cycling.policy, cycling.mean_field).gain > 1


PURE = [{"method": "fixed_point"}, {"method": "fixed_point", "damping": 0.2}, {"method": "policy_iteration"}]


@pytest.mark.parametrize("settings", PURE, ids=lambda settings: " ".join(map(str, settings.values())))
def test_pure_policies_are_stuck(settings):
    """Bench-MFG has 8.9997, as its returns end after 99 steps, of which the first one pays nothing."""
    solution = solve(smfg.games.make("rock_paper_scissors"), **settings)
    assert solution.result is smfg.solvers.RESULTS.not_converged
    assert solution.stats["exploitability"] == pytest.approx(0.9 / (1 - 0.9))
    assert solution.stats["exploitability"] * (1 - 0.9**98) == pytest.approx(8.999704873345696, abs=1e-12)


@pytest.mark.parametrize("name", ["rock_paper_scissors", "lasry_lions", "sis"])
def test_fictitious_play_is_slow(name):
    """It is not called converged, and ends above 0.1, as Bench-MFG's does."""
    solution = solve(smfg.games.make(name), method="fictitious_play", max_steps=60)
    assert solution.result is smfg.solvers.RESULTS.not_converged
    assert solution.stats["exploitability"] > 0.1
    halves = solution.stats["exploitabilities"][9], solution.stats["exploitabilities"][-1]
    assert halves[1] < halves[0]


def test_mirror_descent_converges_in_a_monotone_game():
    solution = solve(smfg.games.make("lasry_lions"), method="mirror_descent", max_steps=100)
    assert solution.result is smfg.solvers.RESULTS.converged
    np.testing.assert_allclose(solution.policy.mean_field, MEAN_FIELDS["lasry_lions"], atol=1.5e-5)


def test_mirror_descent_ends_free_of_disease():
    solution = solve(smfg.games.make("sis"), method="mirror_descent", learning_rate=5.0, max_steps=60)
    assert solution.result is smfg.solvers.RESULTS.converged
    np.testing.assert_array_equal(solution.policy.mean_field, [1, 0])


def test_boltzmann_policy_iteration_reaches_its_fixed_point():
    """At a temperature, the fixed point is not an equilibrium: softmax(q / temperature) at its own mean field."""
    temperature = 100.0
    problem, state = steps(
        smfg.games.make("lasry_lions"), 60, method="policy_iteration", temperature=temperature, damping=0.3
    )
    q = problem.action_values(state.policy, state.mean_field) / temperature
    weights = np.exp(q - q.max(axis=1, keepdims=True))
    np.testing.assert_allclose(state.policy, weights / weights.sum(axis=1, keepdims=True), atol=1e-9)
    assert state.gain > 1


def test_both_equilibria_of_the_epidemic():
    """Without rounding there is one with the disease, in closed form; best responses end free of it."""
    game = smfg.games.make("sis", resolution=None)
    infected = (1 - 0.9 * (1 - 0.1)) / (0.8 * 0.9 * (10 - 1))
    with_disease, without = solve(game, responses=0), solve(game)
    for solution, share in ((with_disease, infected), (without, 0.0)):
        assert solution.result is smfg.solvers.RESULTS.converged
        np.testing.assert_allclose(solution.policy.mean_field, [1 - share, share], atol=1e-10)
    contact = with_disease.policy.table[0] @ game.levels
    assert contact == pytest.approx(0.1 / 0.8 / (1 - infected), abs=1e-9)
    np.testing.assert_allclose(without.policy.table[:, -1], 1)


def test_the_same_policy_from_the_start_keeps_the_disease():
    """An equilibrium is a pair: of its policy alone the mean field is another, which is not an equilibrium."""
    game = smfg.games.make("sis", resolution=None)
    policy = solve(game).policy
    assert smfg.solvers.exploitability(game, policy).value == 0
    response = smfg.solvers.best_response(game, policy.table)
    np.testing.assert_allclose(response.mean_field[0], [0.1 / 0.8, 1 - 0.1 / 0.8], atol=1e-12)
    assert response.exploitability > 1


def test_three_equilibria_of_the_bars():
    """Best responses take the left bar, where ties are broken so; Newton's method alone the mixture of both."""
    game = smfg.games.make("two_beach_bars")
    mixed = solve(game, responses=0)
    assert mixed.result is smfg.solvers.RESULTS.converged
    np.testing.assert_allclose(mixed.policy.mean_field, [0, 0.0125, 0.475, 0.025, 0.475, 0.0125, 0], atol=1e-9)
    left = solve(game).policy
    right = smfg.policies.StationaryPolicy(left.table[::-1, ::-1], left.mean_field[::-1])
    assert smfg.solvers.exploitability(game, right).value <= 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("name", MEAN_FIELDS)
def test_verified(name):
    report = smfg.verification.verify(smfg.games.make(name), num_points=1)
    assert report.passed, [result for result in report.results if not result.passed]


def test_suite_is_listed():
    assert set(MEAN_FIELDS) == {name for name in smfg.games.GAMES if smfg.games.make(name).horizon is None}
