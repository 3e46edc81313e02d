"""Whole paths of small games against loops in plain NumPy: mean fields, rewards with their time index, values."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.kernels import crossed
from helpers.small_games import SMALL, acted

import structmfg as smfg
from structmfg.verification.oracles import MODELS, Common, rollout

PATHS = {  # of the games without markets, whose paths `rollout` in NumPy can follow
    "linear_quadratic": [[-1] * 7, [1] * 7],
    "beach_bar": [[(2, 1)] * 7, [(5, 1)] * 3 + [(5, 0)] * 4],
    "macro": [[0.0, 0.05, -0.1, 0.02, 0.2, 0.3]],
    "beach_bar_crowded": [[(3, 1)] * 3 + [(3, 0)] * 4],
    "carmona_fouque_sun": [[0, 1, 0, -1, 0], [0, -1, 0, -1, 0]],
    "crowd_modelling": [[0] * 5],
    "krusell_smith": [[0, 1, 1, 0, 1]],
    "left_right": [[0] * 2],
    "predator_prey": [[0] * 4],
    "epidemic": [[0, 1, 1, 0, 1, 1]],
    "trade_crowding": [[1, -1, -1, 1, 1, 1]],
    "bank_run": [[0, 1, 3, 2]],
    "botnet": [[0, 1, 1, 0, 1, 1]],
    "building_evacuation": [[0] * 5],
    "crowd_modelling_2d": [[0] * 5],
    "electricity_storage": [[1, 0, 1, 0, 0, 1]],
    "equilibrium_price": [[0] * 4],
    "garnet": [[0] * 4],
    "routing": [[0, 0, 1, 1, 1, 2, 2, 2, 2]],
    "susceptible_infected": [[0] * 6],
}
CASES = [(name, i) for name, paths in PATHS.items() for i in range(len(paths))]
# In single precision, next wealth near the top of the grid carries rounding of 1e-6 that its short intervals amplify.
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}
POSITIVE = ("final_time", "tracking", "volatility", "spread", "granularity", "reach")
# Games whose rounding breaks the shift with walls: ties of the noise, of the move, and both.
UNEVEN = [
    {"correlation": 0.0, "volatility": 0.5},
    {"correlation": 0.6, "volatility": 1.5, "push": 3.5},
    {"correlation": 0.0, "volatility": 2.5, "push": 1.0},
    {"correlation": 1.0, "volatility": 0.3, "push": 1.1},
    {"correlation": 0.5, "volatility": 1.0, "push": 5.0},
]


def noise_of(game, path):
    """A path z_0..z_T as the game's arrays."""
    return jax.tree.map(lambda *z: jnp.stack(z), *(jax.tree.map(jnp.asarray, game.as_noise(z)) for z in path))


def random_table(game, seed=0):
    raw = np.random.default_rng(seed).random((game.horizon, game.num_states, game.num_actions)) ** 3
    if "allowed" in game.declared:
        raw *= np.asarray(game.allowed(game.initial(jax.random.key(0))))
    return raw / raw.sum(-1, keepdims=True)


@functools.cache
def along_path(game, form, x64):
    """Trajectory, rewards and values of a table along a path, compiled once; `x64` keeps the precisions apart."""

    @jax.jit
    def along(table, noise):
        trajectory = smfg.solvers.rollout(game, smfg.policies.TabularPolicy(table), noise, form=form)
        aggregates = trajectory.aggregates
        now, then = (
            jax.tree.map(lambda x: x[:-1], aggregates),
            jax.tree.map(lambda x: x[1:], aggregates.before_acting()),
        )
        values = smfg.solvers.policy_values(game, aggregates, trajectory.policy, form=form)
        return aggregates.mean_field, trajectory.observations, jax.vmap(game.reward)(now, then), values

    return along


def check_along_path(name, parameters, path, form, precision):
    game, tolerance = smfg.games.make(name, **parameters), TOLERANCE[precision]
    table = random_table(game)
    expected = rollout(MODELS[name](game), table, path)
    along = along_path(game, form, precision == "float64")
    mean_fields, observations, rewards, values = along(jnp.asarray(table, float), noise_of(game, path))
    for actual, desired in (
        (mean_fields, expected.mean_fields),
        (observations, expected.observations),
        (rewards, expected.rewards),
        (mean_fields[0] @ values[0], expected.total),
    ):
        np.testing.assert_allclose(actual, desired, rtol=tolerance, atol=tolerance * np.abs(desired).max())


@pytest.mark.parametrize(("form", "precision"), crossed(["matrix_free", "explicit"]), indirect=["precision"])
@pytest.mark.parametrize(("name", "index"), CASES)
def test_whole_path(name, index, form, precision):
    check_along_path(name, SMALL[name], PATHS[name][index], form, precision)


@pytest.mark.parametrize("changed", UNEVEN, ids=str)
def test_linear_quadratic_rounds_as_defined(changed, double):
    parameters = {**SMALL["linear_quadratic"], **changed}
    check_along_path("linear_quadratic", parameters, [-1] * 7, "matrix_free", "float64")


def test_both_structures_of_linear_quadratic_are_tested():
    games = [smfg.games.LinearQuadratic(**{**SMALL["linear_quadratic"], **changed}) for changed in UNEVEN]
    noises = {type(game._idiosyncratic()).__name__ for game in games}
    assert noises == {"LatticeNoise", "ControlledOperator"}


@pytest.mark.parametrize("name", PATHS)
def test_initial_state(name, double):
    game = smfg.games.make(name, **SMALL[name])
    aggregate = game.initial(jax.random.key(3))
    noise = [np.asarray(z).item() for z in jax.tree.leaves(aggregate.noise)]
    model = MODELS[name](game)
    start = model.start(noise if len(noise) > 1 else noise[0])
    np.testing.assert_allclose(aggregate.mean_field, start, atol=1e-15)
    assert int(aggregate.time) == 0
    z = PATHS[name][0][0]
    z = Common(z, model.public(z) if hasattr(model, "public") else None) if game.declared else z
    assert game.observation_size == len(model.observe(start, z, 0))


@pytest.mark.parametrize("name", PATHS)
def test_kernels_are_valid_at_every_time(name, double):
    game = smfg.games.make(name, **SMALL[name])
    kernel = eqx.filter_jit(lambda aggregate: game.kernel(acted(game, aggregate)))
    for time, z in list(enumerate(PATHS[name][0]))[::4]:
        kernel(game.aggregate(mean_field=MODELS[name](game).start(z), noise=z, time=time)).validate()


def test_figures_have_axes_and_labels():
    labels = set()
    for name in PATHS:
        game = smfg.games.make(name, **SMALL[name])
        noise = noise_of(game, PATHS[name][-1])
        labels.add(game.noise_label(noise))
        for (axis, coordinate), size in ((game.state_axis(), game.num_states), (game.action_axis(), game.num_actions)):
            assert axis
            assert coordinate.shape == (size,)
            assert (jnp.diff(coordinate) >= 0).all()
        quantities = game.quantities(game.initial(jax.random.key(0)))
        assert all(value.shape == () for value in quantities.values())
    assert labels == {"z = +1", "bar at 5, closes", "bar at 3, closes", "shifts --", "no common noise", ""} | {
        "high contagion in 4 of 6 periods",
        "signal up in 4 of 6 steps",
        "60% of the quarters good",
        "return 1.8, good news 2 times of 4",
        "high effort in 4 of 6 steps",
        "high supply in 3 of 6 steps",
        "incident for 3 steps",
    }


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("beach_bra", {}, "did you mean beach_bar"),
        ("chess", {}, "allowed: bank_run, beach_bar, beach_bar_crowded, botnet"),
        ("macro", {"num_welth": 3}, "did you mean num_wealth"),
        ("linear_quadratic", {"num_states": 1}, "num_states must be a whole number of at least 2, but is 1"),
        ("linear_quadratic", {"num_states": 9.5}, "num_states must be a whole number"),
        ("linear_quadratic", {"num_states": 15.0}, r"but is 15.0 \(a float\)"),
        ("macro", {"discount": "0.9"}, r"discount must lie in \(0, 1\], but is '0.9'"),
        ("macro", {"risk_aversion": None}, "finite and above 0, but is None"),
        ("macro", {"risk_aversion": np.datetime64(1, "ns")}, "finite and above 0, but is np.datetime64"),
        ("macro", {"discount": np.array(1, "datetime64[ns]")}, r"discount must lie in \(0, 1\], but is array"),
        ("linear_quadratic", {"max_action": 0}, "max_action must be a whole number of at least 1"),
        ("linear_quadratic", {"correlation": 1.5}, r"correlation must lie in \[0, 1\], but is 1.5"),
        ("linear_quadratic", {"volatility": float("nan")}, "volatility must lie in"),
        ("linear_quadratic", {"push": -1.0}, "push must lie in"),
        ("beach_bar", {"num_states": 4}, "num_states must be a whole number of at least 5, but is 4"),
        ("linear_quadratic", {"horizon": 0}, "horizon must be a whole number of at least 1"),
        ("beach_bar", {"horizon": 1}, "horizon must be a whole number of at least 2"),
        ("beach_bar", {"max_action": -1}, "max_action must be a whole number of at least 1"),
        ("macro", {"num_wealth": 1}, "num_wealth must be"),
        ("macro", {"num_income": 1}, "num_income must be"),
        ("macro", {"num_actions": 0}, "num_actions must be"),
        ("macro", {"income_move": 0.6}, r"income_move must lie in \[0, 0.5\]"),
        ("macro", {"max_wealth": 0.0}, "lower < upper"),
        ("macro", {"min_income": 3.0}, "lower < upper"),
        ("macro", {"risk_aversion": 0.0}, "risk_aversion must be finite and above 0"),
        ("macro", {"deviation": -0.1}, "deviation must lie in"),
        ("macro", {"noise_states": 1}, "noise_states must be 0, for continuous noise, or at least 2, but is 1"),
        ("macro", {"noise_states": -2}, "noise_states must be a whole number of at least 0"),
        ("macro", {"noise_states": 3, "deviation": 0.0}, "deviation must be finite and above 0"),
        ("macro", {"noise_states": 3, "persistence": 1.0}, r"persistence must lie in \["),
        ("macro", {"discretisation": "tauchn"}, "did you mean tauchen"),
        ("beach_bar_crowded", {"crowd_aversion": -1.0}, "crowd_aversion must lie in"),
        ("beach_bar_crowded", {"horizon": 1}, "horizon must be a whole number of at least 2"),
        ("crowd_modelling", {"num_states": 1}, "num_states must be a whole number of at least 2"),
        ("left_right", {"horizon": 2}, "unknown parameter of left_right 'horizon'"),
        ("carmona_fouque_sun", {"num_steps": 0}, "num_steps must be a whole number of at least 1"),
        ("carmona_fouque_sun", {"num_shocks": 17}, r"num_shocks must lie in \[0, 14\]"),
        ("carmona_fouque_sun", {"num_shocks": 5, "num_steps": 4}, r"num_shocks must lie in \[0, 4\]"),
        ("carmona_fouque_sun", {"correlation": 1.5}, "correlation must lie in"),
        ("carmona_fouque_sun", {"mean_reversion": 2e154}, r"mean_reversion must lie in \[0, 1e\+100\]"),
        ("carmona_fouque_sun", {"incentive": 4.0}, r"incentive must lie in \[0, 3.16228\], but is 4"),
        *[("carmona_fouque_sun", {name: 0.0}, f"{name} must be finite and above 0") for name in POSITIVE],
        *[
            (name, {"discount": d}, r"discount must lie in \(0, 1\]")
            for name in sorted({*SMALL} - {"carmona_fouque_sun", "left_right"})
            for d in (0.0, 1.01, -0.5)
        ],
    ],
)
def test_bad_parameters(name, parameters, message, unchecked):
    with pytest.raises(ValueError, match=message):
        smfg.games.make(name, **parameters)


def test_aggregates_are_all_that_agents_see_of_each_other(double):
    """Mean fields with the same aggregates give the same rewards and moves."""
    rng = np.random.default_rng(0)
    for name in PATHS:
        game = smfg.games.make(name, **SMALL[name])
        z, next_z = PATHS[name][0][0], PATHS[name][0][1]
        one, other = MODELS[name](game).start(z), rng.dirichlet(np.ones(game.num_states))
        weights = np.vstack([np.asarray(jax.vmap(game.aggregates)(jnp.eye(game.num_states))).T, np.ones_like(one)])
        step = other - one  # without what changes an aggregate, or the total
        step -= np.linalg.pinv(weights) @ (weights @ step)
        other = one + 1e-3 * np.where(np.abs(step) < 1e-12, 0, step)
        np.testing.assert_allclose(*(game.aggregates(jnp.asarray(mu)) for mu in (other, one)), atol=1e-14)

        @jax.jit
        def rewards_and_moves(mu, one=one, game=game, z=z, next_z=next_z):
            now = game.aggregate(mean_field=mu, noise=z, time=game.horizon - 1)
            actions = acted(game, game.aggregate(mean_field=one, noise=z, time=game.horizon - 1)).actions
            now = dataclasses.replace(now, actions=actions)
            then = game.aggregate(mean_field=mu, noise=next_z, time=game.horizon)
            return game.reward(now, then), game.kernel(now).expect(jnp.arange(game.num_states) ** 2.0)

        found = [rewards_and_moves(jnp.asarray(mu)) for mu in (one, other)]
        for actual, desired in zip(*found, strict=True):
            np.testing.assert_allclose(actual, desired, rtol=1e-12, atol=1e-12)


def test_crowd_modelling_has_its_exact_values(double):
    """The return and the best responses of the uniform policy, computed independently."""
    game = smfg.games.make("crowd_modelling")
    uniform = smfg.policies.uniform(game)
    returns = smfg.solvers.evaluate_paths(game, uniform, game.scenarios().noise).returns
    np.testing.assert_allclose(returns, [27.42585092994044], rtol=0, atol=1e-9)
    for kind in ("clairvoyant", "non_anticipative"):
        found = smfg.solvers.exploitability(game, uniform, kind=kind)
        assert found == (pytest.approx(30.21253334623878 - 27.42585092994044, abs=1e-9), 0)


@pytest.mark.parametrize(("left", "expected"), [(1.0, 1.0), (0.0, 2.0), (2 / 3, 0.0)])
def test_left_right_has_its_exact_values(left, expected, double):
    game = smfg.games.make("left_right")
    found = smfg.solvers.exploitability(game, np.tile([left, 1 - left], (3, 1)), kind="non_anticipative")
    assert found.value == pytest.approx(expected, abs=1e-9)


def test_mean_field_of_the_wrong_size():
    with pytest.raises(ValueError, match=r"mean_field must have shape \(11,\), but has shape \(10,\)"):
        smfg.games.make("linear_quadratic", num_states=11).aggregate(mean_field=jnp.ones(10) / 10, noise=1, time=0)


def test_economies_have_moved():
    """Their names in `games` warn, and lead to the same classes."""
    for name in ("Aiyagari", "AiyagariCalibration", "Economy", "Household", "Huggett", "Income", "KrusellSmith"):
        with pytest.warns(DeprecationWarning, match=f"structmfg.games.{name} has moved to structmfg.economies.{name}"):
            assert getattr(smfg.games, name) is getattr(smfg.economies, name)
    with pytest.raises(AttributeError, match="has no attribute 'Husgett'"):
        smfg.games.Husgett  # noqa: B018


@pytest.mark.parametrize("room", ["economies", "evaluation", "linear", "reports", "runs"])
def test_rooms_are_imported_when_they_are_used(room):
    assert getattr(smfg, room).__name__ == f"structmfg.{room}"
    assert room in dir(smfg)
