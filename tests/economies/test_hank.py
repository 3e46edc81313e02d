"""Households who work, the one-asset New Keynesian economy, and two permanent types of households."""

import dataclasses

import jax
import numpy as np
import pytest
import scipy.optimize

from structmfg.economies import AiyagariCalibration, Income
from structmfg.economies.sequence_space import (
    CapitalEconomy,
    OneAssetHANK,
    PermanentTypes,
    SavingBlock,
    WorkingBlock,
    autoregressive,
    follow,
    household_steady_state,
    impulse_response,
    jacobian,
    linearise,
    one_asset_hank,
    permanent_types,
    steady_state,
    winding_number,
)
from structmfg.economies.sequence_space.models._working import static_consumption
from structmfg.operators import GeometricGrid

SIGMA, FRISCH = 2.0, 0.5
INCOME = Income.rouwenhorst(3, 0.966, 0.5)
INPUTS = {"interest": 0.005, "wage": 0.8, "transfer": 0.14, "discount": 0.98, "disutility": 0.8}
DEBT = 1.0  # little of it, so that responses die away within a short horizon
HORIZON = 40
LONG = 120  # enough to count bounded paths


@pytest.fixture(scope="module")
def hank():
    return one_asset_hank(income=INCOME, num_assets=40, max_assets=30.0, debt=DEBT)


@pytest.fixture(scope="module")
def linear(hank):
    return linearise(hank.economy, hank, horizon=HORIZON)


@pytest.fixture(scope="module")
def response(linear):
    """The linear response to all shocks at once, as changes of paths, with a leading 0 for the period before."""
    persistences = dict(zip(linear.exogenous, (0.9, 0.6, 0.5, 0.7, 0.4, 0.3, 0.8), strict=True))
    return linear.response({name: autoregressive(0.01, rho, HORIZON) for name, rho in persistences.items()})


def working(num_assets=25, limit=-0.5, frisch=FRISCH):
    grid = GeometricGrid(num_assets, 0.0, 20.0)
    return WorkingBlock(grid, limit, np.array(INCOME.levels), np.array(INCOME.transition), SIGMA, frisch)


@pytest.mark.parametrize("frisch", [FRISCH, 2.0])
def test_a_step_backward_is_optimal(frisch):
    """Against the endogenous grid method in NumPy, with a bracketing root finder where an end of the grid binds."""
    block, given = working(frisch=frisch), {**INPUTS, "transfer": -0.1, "interest": 0.02}
    with jax.enable_x64(True):
        later = 1.5 + 0.05 * np.asarray(block.assets)[:, None] + 0.2 * np.asarray(block.skills)
        found = jax.jit(lambda v, x: block.backward(v, x))(later, given)
        value, (savings, consumption, hours) = jax.tree.map(np.asarray, found)
        assets = np.asarray(block.assets)
    returns, wage = 1 + given["interest"], given["wage"] * block.skills
    lumps, phi = given["transfer"] * block.skills, given["disutility"]
    marginal = given["discount"] * later**-SIGMA @ np.asarray(block.chain).T
    before = marginal ** (-1 / SIGMA)
    worked = (wage * marginal / phi) ** frisch
    wealth = returns * assets
    limited = 0
    for e in range(3):
        grid = before[:, e] - wage[e] * worked[:, e] - lumps[e] + assets
        for i, x in enumerate(wealth):
            if grid[0] <= x <= grid[-1]:
                expected = [np.interp(x, grid, y) for y in (assets, before[:, e], worked[:, e])]
            else:
                end = assets[0] if x < grid[0] else assets[-1]

                def spare(c, e=e, left=x + lumps[e] - end):
                    return c - wage[e] * (wage[e] * c**-SIGMA / phi) ** frisch - left

                c = scipy.optimize.brentq(spare, 1e-8, 1e3, xtol=1e-15)
                expected = [end, c, (wage[e] * c**-SIGMA / phi) ** frisch]
                limited += 1
            np.testing.assert_allclose([savings[i, e], consumption[i, e], hours[i, e]], expected, rtol=1e-9, atol=1e-11)
    assert 5 < limited < 70  # both cases are there
    np.testing.assert_allclose(value, returns ** (-1 / SIGMA) * consumption, rtol=1e-12)
    spent = consumption + savings - (wealth[:, None] + wage * hours + lumps)
    np.testing.assert_allclose(spent, 0, atol=1e-12)


def test_consumption_without_a_choice_of_assets_has_its_derivative():
    with jax.enable_x64(True):
        spending = np.concatenate([-np.logspace(4, -6, 60), [0.0], np.logspace(-6, 4, 60)])
        for power in (0.05, 0.5, 1.0, 8.0):
            c = np.asarray(jax.jit(static_consumption)(0.7, spending, power))
            error = (c - 0.7 * c**-power - spending) / (1 + power * 0.7 * c ** (-power - 1)) / c
            np.testing.assert_allclose(error, 0, atol=1e-13)
        gradient = jax.jit(jax.grad(static_consumption, argnums=(0, 1, 2)))(0.7, -0.4, 1.5)
        root = float(static_consumption(0.7, -0.4, 1.5))
    slope = 1 + 1.5 * 0.7 * root**-2.5
    expected = [root**-1.5 / slope, 1 / slope, -0.7 * root**-1.5 * np.log(root) / slope]
    np.testing.assert_allclose(gradient, expected, rtol=1e-12)


def test_steady_state_clears_markets_that_are_not_imposed(hank):
    household = hank.households["household"]
    assert hank.succeeded
    assert hank.residuals == pytest.approx(dict.fromkeys(hank.residuals, 0.0), abs=1e-8)
    assert hank.reported["goods_market"] == pytest.approx(0, abs=1e-9)
    assert household.outputs == pytest.approx({"savings": DEBT, "labour": 1.0, "consumption": 1.0}, abs=1e-8)
    assert hank.reported["dividend"] == pytest.approx(1 - 1 / 1.2)
    assert hank.reported["tax"] == pytest.approx(0.005 * DEBT)


def test_jacobian_is_the_derivative_of_the_path(hank):
    steady = hank.households["household"]
    found = jacobian(hank.economy, hank, horizon=HORIZON)
    with jax.enable_x64(True):
        at_rest = {name: np.full(HORIZON, value) for name, value in steady.inputs.items()}
        dense = jax.jit(jax.jacfwd(lambda paths: follow(steady, steady, paths).outputs))(at_rest)
    for output, by_input in found.items():
        for name, matrix in by_input.items():
            np.testing.assert_allclose(matrix, dense[output][name], atol=1e-9, rtol=1e-8)
    assert found["labour"]["wage"][3, 3] > 0
    assert found["labour"]["disutility"][3, 3] < 0
    assert found["savings"]["discount"][3, 3] > 0


def test_markets_clear_along_the_response_to_every_shock(response):
    assert np.abs(response["goods_market"]).max() < 1e-10
    assert np.abs(response["output"]).max() > 1e-3


def test_prices_and_policy_follow_their_equations(hank, response):
    """The linear equations in NumPy: who is paid when, and what is expected."""
    steady = hank.aggregates | hank.reported
    change = {name: np.concatenate([[0.0], path, [0.0]]) for name, path in response.items()}  # t = -1..T

    def at(name, shift=0):
        return change[name][1 + shift : HORIZON + 1 + shift]

    kappa, phi, markup, returns = 0.1, 1.5, 1.2, 1.005
    cost = at("wage") - at("productivity") / markup + at("markup") / markup**2
    later = at("inflation", 1)[:-1] / returns
    np.testing.assert_allclose(at("inflation")[:-1], kappa * cost[:-1] + later, atol=1e-12)
    promised = at("monetary", -1) + phi * at("inflation", -1)
    np.testing.assert_allclose(at("interest"), promised - returns * at("inflation"), atol=1e-12)
    tax = DEBT * at("interest") + returns * at("debt", -1) + at("spending") - at("debt")
    np.testing.assert_allclose(at("tax"), tax, atol=1e-12)
    labour = at("output") - at("productivity")
    dividend = at("output") - at("wage") - steady["wage"] * labour
    np.testing.assert_allclose(at("labour"), labour, atol=1e-12)
    np.testing.assert_allclose(at("dividend"), dividend, atol=1e-12)


def test_tighter_money_lowers_output_and_inflation(linear):
    found = linear.response({"monetary": autoregressive(0.0025, 0.6, HORIZON)})
    assert found["output"][0] < -1e-3
    assert found["inflation"][0] < -5e-4
    assert found["interest"][1] > 0
    assert (found["output"][:8] < 0).all()


@pytest.mark.parametrize(("phi", "number"), [(1.5, 0), (0.8, -1)])
def test_taylor_principle(hank, phi, number):
    economy = dataclasses.replace(hank.economy, response=phi)
    steady = dataclasses.replace(hank, economy=economy)
    assert winding_number(linearise(economy, steady, horizon=LONG, exogenous=[])) == number


def test_a_response_that_is_not_the_only_one_is_refused(hank):
    economy = dataclasses.replace(hank.economy, response=0.8)
    steady, shock = dataclasses.replace(hank, economy=economy), autoregressive(0.01, 0.5, LONG)
    found = impulse_response(economy, steady, {"monetary": shock}, throw=False)
    assert found.result.name == "indeterminate"
    with pytest.raises(RuntimeError, match="no bounded path"):
        impulse_response(economy, steady, {"monetary": shock})


SMALL = AiyagariCalibration(income=INCOME, num_assets=40, max_assets=100.0, interest=0.01)


def test_equal_types_are_one_type():
    block = SavingBlock.of(SMALL.household(0.98), SMALL.quantities(0.98)["wage"])
    one = CapitalEconomy(block, SMALL.capital_share, SMALL.depreciation)
    two = PermanentTypes(block, SMALL.capital_share, SMALL.depreciation, patient_share=0.3)
    start = {"productivity": SMALL.quantities(0)["productivity"], "discount": 0.98, "capital": 3.0}
    known = steady_state(one, start, unknown=["capital"])
    both = steady_state(two, known.aggregates | {"impatient_discount": 0.98})
    expected, found = (linearise(x.economy, x, horizon=20) for x in (known, both))
    np.testing.assert_allclose(
        found.jacobian("capital", "productivity"), expected.jacobian("capital", "productivity"), atol=1e-10
    )
    patient, rest = (found.jacobian("capital", name) for name in ("discount", "impatient_discount"))
    np.testing.assert_allclose(patient + rest, expected.jacobian("capital", "discount"), atol=1e-9)
    np.testing.assert_allclose(patient / 0.3, rest / 0.7, atol=1e-9)


def test_the_patient_hold_what_the_impatient_do_not():
    steady = permanent_types(SMALL, impatient_discount=0.975, patient_share=0.4)
    held = {name: household.outputs["savings"] for name, household in steady.households.items()}
    assert steady.succeeded
    assert steady.reported["interest"] == pytest.approx(0.01)
    assert steady.reported["output"] == pytest.approx(1.0)
    assert 0.4 * held["patient"] + 0.6 * held["impatient"] == pytest.approx(0.11 / 0.035, abs=1e-7)
    assert held["impatient"] < 0.11 / 0.035 < held["patient"]
    assert steady.aggregates["discount"] > 0.975
    with pytest.raises(ValueError, match="discount of the patient"):
        permanent_types(SMALL, impatient_discount=0.9895)


def test_faults_are_told():
    block = working()
    with pytest.raises(ValueError, match=r"skills must have mean 1 .* but have 2"):
        OneAssetHANK(dataclasses.replace(block, skills=2 * block.skills))
    for name, value in (("disutility", 0.0), ("wage", -1.0), ("discount", 0.999)):
        with pytest.raises(ValueError, match=name):
            household_steady_state(block, {**INPUTS, name: value})
    for name, value in (("markup", 1.0), ("slope", 0.0), ("response", -1.0), ("frisch", 0.0), ("debt", 0.0)):
        with pytest.raises(ValueError, match=name):
            one_asset_hank(**{name: value})
    with pytest.raises(ValueError, match="patient_share"):
        permanent_types(SMALL, patient_share=0.0)


@pytest.mark.slow
def test_figures_of_sequence_jacobian():
    """The numbers that the package sequence-jacobian 1.0.0 gives for the same calibration and grid, T = 300.

    Its derivatives are two-sided differences with a step of 1e-7.
    """
    steady = one_asset_hank()
    assert steady.aggregates["discount"] == pytest.approx(0.98224355, abs=1e-8)
    assert steady.aggregates["disutility"] == pytest.approx(0.78643343, abs=1e-8)
    shock = {"monetary": autoregressive(0.0025, 0.6)}
    linear = {
        "output": (-0.00188734, -0.00114037, -0.00068145), "inflation": (-0.00168029, -0.00104287, -0.00065425),
        "wage": (-0.00642609, -0.00391867, -0.00237547), "interest": (0.00168869, 0.00102765, 0.00059323),
    }  # fmt: skip
    found = impulse_response(steady.economy, steady, shock)
    assert found.succeeded
    for name, values in linear.items():
        np.testing.assert_allclose(found.paths[name][:3], values, atol=6e-9)
    nonlinear = {
        "output": (-0.00181577, -0.00111942, -0.00067285), "inflation": (-0.00166439, -0.00103942, -0.00065315),
        "consumption": (-0.00189887, -0.00115183, -0.00068565), "interest": (0.0016755, 0.00104913, 0.00059767),
    }  # fmt: skip
    found = impulse_response(steady.economy, steady, shock, linear=False)
    assert found.succeeded
    assert found.stats["steps"] <= 6
    for name, values in nonlinear.items():
        np.testing.assert_allclose(found.paths[name][:3], values, atol=2e-8)
