"""The lattice game of Carmona, Fouque and Sun (2015, arXiv 1308.2172) against its closed form in continuous time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

import structmfg as smfg
from structmfg.benchmarks.exact._closed_form import closed_form
from structmfg.games import AggregateState, CarmonaFouqueSun

ROWS = {  # a, q, eps, c, T: eta at 0
    (1.0, 1.0, 10.0, 0.0, 1.0): 1.6040266132326526,
    (10.0, 1.0, 10.0, 1.0, 1.0): 0.40175425106419,
    (0.0, 0.01, 0.5, 1.0, 10.0): 0.697106961138199,
}


def game_of(row, **parameters):
    names = ("mean_reversion", "incentive", "tracking", "terminal_weight", "final_time")
    return CarmonaFouqueSun(**dict(zip(names, row, strict=True)), **parameters)


@pytest.mark.parametrize(("row", "expected"), ROWS.items(), ids=str)
def test_eta(row, expected):
    """The published value at 0, c at T, and the Riccati equation between."""
    a, q, eps, c, final_time = row
    game, times = game_of(row), np.linspace(0, final_time, 2001)
    eta = game.eta(times)
    assert eta[0] == pytest.approx(expected, rel=1e-13)
    assert eta[-1] == pytest.approx(c, abs=1e-15)
    slope = (eta[2:] - eta[:-2]) / (times[2] - times[0])
    expected_slope = 2 * (a + q) * eta + eta**2 - (eps - q**2)
    np.testing.assert_allclose(slope, expected_slope[1:-1], atol=1e-3)


INTEGRALS = (1.3538982770, 0.4276508328, 7.1651348650)  # of eta, to a unit in the last digit


@pytest.mark.parametrize(("row", "expected"), list(zip(ROWS, INTEGRALS, strict=True)), ids=str)
def test_integral_of_eta(row, expected):
    assert quad(game_of(row).eta, 0, row[-1])[0] == pytest.approx(expected, abs=1.5e-10)


def equilibrium(game, noise):
    """Means (T+1,) that follow the shifts alone, the best response to them (T, S, A), ties shared, and its value."""
    centre = game.num_states // 2 + game.shock_cells * jnp.pad(jnp.cumsum(noise[:-1]), (1, 0))
    aggregates = AggregateState(jax.nn.one_hot(centre, game.num_states), noise, jnp.arange(game.horizon + 1))

    def step(values, inputs):
        now, then = inputs
        q = game.reward(now, then) + game.kernel(now).expect(values)
        best = q >= q.max(-1, keepdims=True) - 1e-12
        return q.max(-1), best / best.sum(-1, keepdims=True)

    now, then = jax.tree.map(lambda x: x[:-1], aggregates), jax.tree.map(lambda x: x[1:], aggregates)
    values, policy = jax.lax.scan(step, jnp.zeros(game.num_states), (now, then), reverse=True)
    return jnp.asarray(game.positions)[centre], policy, game.initial_mean_field(noise[0]) @ values


def along(game, policy, noise):
    """Means, variances around them (T+1,), mean fields and the return of a policy."""
    trajectory = smfg.solvers.rollout(game, smfg.policies.TabularPolicy(policy), noise)
    aggregates = trajectory.aggregates
    values = smfg.solvers.policy_values(game, aggregates, trajectory.policy)
    quantities = jax.vmap(game.quantities)(aggregates)
    return *quantities.values(), aggregates.mean_field, aggregates.mean_field[0] @ values[0]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_means_that_follow_the_shifts_are_an_equilibrium(row, double):
    """The mean field of the best response has these means, so that its exploitability is zero, on every noise path."""
    game = game_of(row, num_steps=int(8 * max(1, row[-1] / 4)), num_shocks=1)
    for noise in game.scenarios().noise:
        means, policy, value = jax.jit(equilibrium, static_argnums=0)(game, noise)
        reached, _, _, total = jax.jit(along, static_argnums=0)(game, policy, noise)
        np.testing.assert_allclose(reached, means, atol=1e-9)
        np.testing.assert_allclose(total, value, rtol=1e-9)


def around_the_mean(game, noise):
    """Controls (T, S) and mean fields (T+1, S) of the equilibrium, over the cells counted from the mean."""
    means, policy, _ = jax.jit(equilibrium, static_argnums=0)(game, noise)
    _, variances, mean_field, _ = jax.jit(along, static_argnums=0)(game, policy, noise)
    offsets = np.round(np.asarray(means) / game.spacing).astype(int)
    controls = np.asarray(policy) @ game.actions * game.spacing / game.time_step
    distance = np.asarray(means)[:-1, None] - game.positions
    controls -= game.mean_reversion * distance
    rolled = [[np.roll(row, -by) for row, by in zip(x, offsets, strict=False)] for x in (controls, mean_field)]
    return np.array(rolled[0]), np.array(rolled[1]), np.asarray(variances)


def test_control_and_law_around_the_mean_do_not_depend_on_the_common_noise(double):
    """To the last bit, as positions are dyadic."""
    game = CarmonaFouqueSun()
    controls, mean_fields, _ = zip(*(around_the_mean(game, noise) for noise in game.scenarios().noise), strict=True)
    for other, mean_field in zip(controls[1:], mean_fields[1:], strict=True):
        np.testing.assert_array_equal(mean_field, mean_fields[0])
        populated = mean_field[:-1] > 0
        np.testing.assert_array_equal(other[populated], controls[0][populated])


def errors(num_steps):
    """Root mean square error of the control at t = 0, and the largest one of Var(X - m), against the closed form."""
    game = CarmonaFouqueSun(num_steps=num_steps)
    controls, mean_fields, variances = around_the_mean(game, game.scenarios().noise[0])
    exact = (game.incentive + game.eta(0.0)) * -game.positions
    finer = 200
    times = (np.arange(num_steps * finer) + 0.5) * game.time_step / finer
    variance, own = [variances[0]], game.volatility**2 * (1 - game.correlation**2)
    for drift in game.mean_reversion + game.incentive + game.eta(times):
        variance.append(variance[-1] + (own - 2 * drift * variance[-1]) * game.time_step / finer)
    return np.sqrt(mean_fields[0] @ (controls[0] - exact) ** 2), np.abs(variances - variance[::finer]).max()


def test_first_order_convergence(double):
    """Half the time step, half the error, in control and law; measured: .296, .134, .065 and .0508, .0231, .0113."""
    found = np.array([errors(num_steps) for num_steps in (8, 16, 32)])
    ratios = found[:-1] / found[1:]
    assert (ratios > 1.9).all()
    assert (found[-1] < [0.07, 0.012]).all()


@pytest.mark.slow
def test_the_exact_solver_converges_to_the_closed_form():
    """At first order, and to a control that depends on x - m alone, as far as its tolerance lets it."""
    found = closed_form((8, 16))
    for row in found["rows"]:
        assert row["result"] == "converged"
        assert row["dependence"] < 1e-4
        expected = errors(row["num_steps"])  # with the mean fields of the equilibrium known beforehand
        np.testing.assert_allclose([row["rms_start"], row["variance"]], expected, rtol=0.02)
    for name in ("rms_start", "rms_middle", "variance"):
        assert found["orders"][name] > 0.8
