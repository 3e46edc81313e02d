"""Games that other libraries have as well, against figures of these libraries, and games with an answer by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import structmfg as smfg
from structmfg.solvers import evaluate_paths, exploitability

# What MFGLib 0.3 returns, in double precision, for exploitability_score(environment, policy) of the uniform policy, the
# environment being Environment.NAME() with its defaults.
MFGLIB = {
    "building_evacuation": 0.32126509367461153,
    "equilibrium_price": 22.215185693237814,
    "susceptible_infected": 5.466873913228518,
}
# What OpenSpiel 2.0.2 returns for the uniform policy: policy_value.PolicyValue of it, and nash_conv.NashConv.
OPEN_SPIEL = {
    "routing, line": (-2.0, 0.0),
    "routing, braess": (-3.5, 0.5),
    "four rooms": (144.22392764514893 - np.log(169), 167.6604464714278),  # it starts with the reward of 169 full cells
}
SETTINGS = {
    "routing, line": smfg.games.Routing(network="line", time_step=1.0, horizon=5, rounding="down"),
    "routing, braess": smfg.games.Routing(time_step=0.05, horizon=100, rounding="down"),
    "four rooms": smfg.games.CrowdModelling2d(layout="four_rooms", horizon=40, attraction=0.0),
}


def uniform_return(game):
    return float(evaluate_paths(game, smfg.policies.uniform(game), game.scenarios().noise).returns[0])


@pytest.mark.parametrize("name", MFGLIB)
def test_mfglib(name, double):
    game = smfg.games.make(name)
    found = exploitability(game, smfg.policies.uniform(game), kind="clairvoyant")
    np.testing.assert_allclose(found.value, MFGLIB[name], rtol=1e-11)


@pytest.mark.parametrize("name", OPEN_SPIEL)
def test_open_spiel(name, double):
    game, (value, gain) = SETTINGS[name], OPEN_SPIEL[name]
    np.testing.assert_allclose(uniform_return(game), value, rtol=1e-11)
    found = exploitability(game, smfg.policies.uniform(game), kind="clairvoyant")
    np.testing.assert_allclose(found.value, gain, rtol=1e-11, atol=1e-12)


def test_open_grid_by_hand(double):
    """The crowd stays uniform, in the mean one unit from the centre each way; four of five actions are steps."""
    game = smfg.games.CrowdModelling2d()
    np.testing.assert_allclose(uniform_return(game), 10 * (1 + np.log(100)) - 9 * 0.8 / 10, rtol=1e-12)


def test_undefended_botnet_comes_to_rest(double):
    """The share of infected goes to the root of (v q + beta x) (1 - x) = r x, whatever the step."""
    for time_step, horizon in ((0.25, 400), (0.1, 1000)):
        game = smfg.games.Botnet(effort=(0.6, 0.6), start=(0.0, 0.0, 0.1, 0.9), time_step=time_step, horizon=horizon)
        keep = smfg.policies.TabularPolicy(jnp.tile(jnp.array([1.0, 0.0]), (horizon, 4, 1)))
        path = smfg.evaluation.rollout(game, keep, game.scenarios().noise[0]).aggregates.mean_field
        root = (-0.28 + np.sqrt(0.28**2 + 4 * 0.3 * 0.18)) / 0.6
        np.testing.assert_allclose(path[-1], [0, 0, root, 1 - root], atol=1e-9)
    assert abs(root - 0.4377) < 1e-4


def bank_table(game, withdraw):
    """Patient depositors withdraw with probability `withdraw[t]`."""
    table = np.tile(np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), (game.horizon, 1, 1))
    table[:, 0, 1] = withdraw
    table[:, 0, 0] = 1 - np.asarray(withdraw)
    return smfg.policies.TabularPolicy(jnp.asarray(table))


def test_bank_has_two_equilibria(double):
    """With a known return, nobody in need: all wait and get R; all withdraw at once and get 1. Diamond & Dybvig."""
    game = smfg.games.BankRun(returns=(1.8, 1.8), need=0.0, horizon=3)
    for withdraw, paid in (([0, 0, 0], 1.8), ([1, 1, 1], 1.0)):
        policy = bank_table(game, withdraw)
        paths = game.scenarios()
        returns = evaluate_paths(game, policy, paths.noise).returns
        np.testing.assert_allclose(returns, paid, rtol=1e-12)
        found = exploitability(game, policy, kind="non_anticipative").value
        np.testing.assert_allclose(found, 0, atol=1e-12)


def test_bank_tips_where_theory_says(double):
    """If a share w withdraws at once, waiting is better than withdrawing for w < (R - c) / (c (R - 1)) only."""
    tips = (1.8 - 1.1) / (1.1 * 0.8)
    for share in (tips - 0.05, tips + 0.05):
        game = smfg.games.BankRun(returns=(1.8, 1.8), need=0.0, horizon=2)
        policy = bank_table(game, [share, 0])
        found = evaluate_paths(game, policy, game.scenarios().noise[:1])
        waiting, withdrawing = 1.8 * (1 - 1.1 * share) / (1 - share), 1.1
        np.testing.assert_allclose(found.returns[0], (1 - share) * waiting + share * withdrawing, rtol=1e-12)
        assert (waiting > withdrawing) == (share < tips)
        gain = exploitability(game, policy, kind="non_anticipative").value
        best_late = max(waiting, game.promise if 1 - 1.1 * share > 0 else 0)
        np.testing.assert_allclose(gain, max(best_late, withdrawing) - found.returns[0], rtol=1e-9)


def test_batteries_lower_the_peak(double):
    """What batteries sell lowers the price, and what they buy raises it."""
    game = smfg.games.ElectricityStorage()
    sold, idle, bought = (float(game.price(2, jnp.asarray(0), n)) for n in (0.5, 0.0, -0.5))
    np.testing.assert_allclose(idle, (1.3 / 0.8) ** 2, rtol=1e-12)
    np.testing.assert_allclose([sold, bought], [(1.3 / 0.9) ** 2, (1.3 / 0.7) ** 2], rtol=1e-12)


def test_garnet_follows_its_seed():
    one, same, other = (smfg.games.Garnet(num_states=20, seed=seed) for seed in (1, 1, 2))
    at = one.initial(jax.random.key(0))
    rewards = [game.reward(at, at) for game in (one, same, other)]
    np.testing.assert_array_equal(rewards[0], rewards[1])
    assert not np.allclose(rewards[0], rewards[2])
    assert one == same != other


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("crowd_modelling_2d", {"layout": "five_rooms"}, "did you mean four_rooms"),
        ("crowd_modelling_2d", {"layout": ("...", "..")}, "two or more rows of text of one length"),
        ("crowd_modelling_2d", {"layout": ("##", "##")}, "must have a cell that is no wall"),
        ("crowd_modelling_2d", {"noise": 1.5}, r"noise must lie in \[0, 1\]"),
        ("building_evacuation", {"floors": 0}, "floors must be a whole number of at least 1"),
        ("building_evacuation", {"floors": 1, "length": 1, "width": 1}, "floors, length and width must not all be 1"),
        ("susceptible_infected", {"contagion": -0.1}, "contagion must lie in"),
        ("equilibrium_price", {"outside_supply": 0.0}, "outside_supply must be finite and above 0"),
        ("garnet", {"branching": 0}, "branching must be a whole number of at least 1"),
        ("garnet", {"seed": -1}, "seed must be a whole number of at least 0"),
        ("botnet", {"effort": 0.5}, "effort must hold two numbers"),
        ("botnet", {"start": (0.5, 0.5, 0.5, 0.0)}, "start must hold four shares that sum to one"),
        ("botnet", {"time_step": 1.0}, "time_step must be at most 0.625"),
        ("electricity_storage", {"supply": (1.0, 0.8)}, "supply must hold two numbers, the low and the high one"),
        ("electricity_storage", {"capacity": 0.9}, "supply must exceed the capacity of the batteries, 0.9"),
        ("electricity_storage", {"elasticity": 1e-5}, "elasticity must be at least 0.0187, so that prices"),
        ("electricity_storage", {"elasticity": 0.02, "swing": 0.9}, "elasticity must be at least"),
        ("bank_run", {"returns": (1.0,)}, "returns must hold two numbers"),
        ("bank_run", {"promise": 0.9}, "promise must lie in"),
    ],
)
def test_parameters_out_of_range(name, parameters, message):
    with pytest.raises(ValueError, match=message):
        smfg.games.make(name, **parameters)
