"""Sequence space: Jacobians against dense derivatives and plain NumPy, responses, transition paths, determinacy."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from structmfg.economies import Aiyagari, Huggett, Income, stationary_equilibrium
from structmfg.economies.sequence_space import (
    LogitBlock,
    SavingBlock,
    SequenceEconomy,
    autoregressive,
    follow,
    game_steady_state,
    household_steady_state,
    impulse_response,
    in_sequence_space,
    jacobian,
    linearise,
    steady_state,
    transition_path,
)
from structmfg.games.stationary import LasryLionsChain, SISEpidemic
from structmfg.operators import DenseKernel

HORIZON = 12
PRICES = {"interest": 0.01, "wage": 0.9, "transfer": 0.05, "discount": 0.95}


@pytest.fixture(scope="module")
def economy():
    return Aiyagari(num_assets=60, income=Income.rouwenhorst(3, 0.6, 0.3))


@pytest.fixture(scope="module")
def equilibrium(economy):
    return stationary_equilibrium(economy)


@pytest.fixture(scope="module")
def saver():
    """A household at rest that is neither at kinks nor without debt."""
    income = Income.rouwenhorst(3, 0.9, 0.4)
    household = Aiyagari(num_assets=40, max_assets=60.0, borrowing_limit=-1.0, income=income).household(0.01)
    return household_steady_state(SavingBlock.of(household, wage=1.3), PRICES)


class Commuter(LogitBlock):
    """Three places on a ring; to stay or to move on at a fare. Nobody may move on from the last one."""

    inputs: ClassVar = ("fare", "speed")
    outputs: ClassVar = ("moves", "at_home")

    def reward(self, inputs):
        stay, move = jnp.array([1.0, 0.3, 0.0]), jnp.array([0.2, 0.0, -jnp.inf])
        return jnp.stack([stay, move - inputs["fare"]], axis=1)

    def kernel(self, inputs):
        ring = jnp.roll(jnp.eye(3), 1, axis=1)
        arrives = inputs["speed"] * ring + (1 - inputs["speed"]) * jnp.eye(3)
        home = jnp.array([[0.5, 0.5, 0.0], [0.2, 0.8, 0.0], [0.6, 0.0, 0.4]])
        return DenseKernel(jnp.stack([home, arrives], axis=1), checks=False)

    def outcomes(self, choice, inputs):
        return {"moves": choice[:, 1] * inputs["speed"], "at_home": jnp.array([1.0, 0.0, 0.0])}


@pytest.fixture(scope="module")
def commuter():
    return household_steady_state(Commuter(scale=0.3, discount=0.9), {"fare": 0.1, "speed": 0.7})


@pytest.mark.parametrize("kind", ["saver", "commuter"])
def test_jacobian_is_the_derivative_of_the_whole_path(kind, request):
    """Fake news against the dense derivative of the household along paths of all inputs."""
    steady = request.getfixturevalue(kind)
    found = jacobian(steady.block, steady, horizon=HORIZON)
    with jax.enable_x64(True):
        rest = {name: jnp.full(HORIZON, value) for name, value in steady.inputs.items()}
        dense = jax.jacfwd(lambda paths: follow(steady, steady, paths).outputs)(rest)
    for output, by_input in dense.items():
        for name, matrix in by_input.items():
            scale = np.abs(matrix).max()
            np.testing.assert_allclose(
                found[output][name], matrix, rtol=0, atol=1e-10 * scale, err_msg=f"{output} {name}"
            )


def plain_path(steady, paths):
    """Savings and consumption along a path, by NumPy alone: np.interp, and mass sent to two points by hand."""
    block = steady.block
    assets, chain, sigma = np.asarray(block.assets), np.asarray(block.chain), block.risk_aversion
    n, m, horizon = len(assets), len(chain), len(paths["interest"])
    cash = [(1 + r) * assets[:, None] + w * np.asarray(block.levels) + t
            for r, w, t in zip(paths["interest"], paths["wage"], paths["transfer"], strict=True)]  # fmt: skip
    marginal = np.asarray(steady.value) ** -sigma  # (1 + r) u'(c)
    policies = [None] * horizon
    for t in reversed(range(horizon)):
        before = (paths["discount"][t] * marginal @ chain.T) ** (-1 / sigma)
        savings = np.stack([np.interp(cash[t][:, e], before[:, e] + assets, assets) for e in range(m)], 1)
        policies[t] = savings
        marginal = (1 + paths["interest"][t]) * (cash[t] - savings) ** -sigma
    mass, saved, consumed = np.asarray(steady.mean_field).reshape(n, m), [], []
    for t in range(horizon):
        saved.append(np.vdot(mass, policies[t]))
        consumed.append(np.vdot(mass, cash[t] - policies[t]))
        moved = np.zeros((n, m))
        for e in range(m):
            low = np.clip(np.searchsorted(assets, policies[t][:, e], side="right") - 1, 0, n - 2)
            weight = (policies[t][:, e] - assets[low]) / (assets[low + 1] - assets[low])
            np.add.at(moved[:, e], low, mass[:, e] * (1 - weight))
            np.add.at(moved[:, e], low + 1, mass[:, e] * weight)
        mass = moved @ chain
    return np.array(saved), np.array(consumed), mass


def test_path_of_a_household_agrees_with_plain_numpy(saver):
    rng = np.random.default_rng(0)
    paths = {name: value * (1 + 0.1 * rng.normal(size=HORIZON)) for name, value in PRICES.items()}
    paths["discount"] = 0.95 + 0.01 * rng.normal(size=HORIZON)
    with jax.enable_x64(True):
        saved, consumed, mass = plain_path(saver, paths)
        found = follow(saver, saver, {name: jnp.asarray(path) for name, path in paths.items()})
    np.testing.assert_allclose(found.outputs["savings"], saved, rtol=1e-11)
    np.testing.assert_allclose(found.outputs["consumption"], consumed, rtol=1e-11)
    np.testing.assert_allclose(found.mean_field.reshape(mass.shape), mass, atol=1e-13)


def test_a_household_under_constant_inputs_stays_where_it_is(saver):
    with jax.enable_x64(True):
        found = follow(saver, saver, {name: jnp.full(3, value) for name, value in PRICES.items()})
    np.testing.assert_allclose(found.mean_field, saver.mean_field, atol=1e-13)
    for name, value in saver.outputs.items():
        np.testing.assert_allclose(found.outputs[name], value, rtol=1e-12)
    assert saver.succeeded


def test_sequence_space_takes_over_a_stationary_equilibrium(economy, equilibrium):
    found = jacobian(economy, equilibrium, inputs=["interest"], outputs=["consumption"], horizon=4)
    block = SavingBlock.of(equilibrium.household, equilibrium.aggregates["wage"])
    inputs = {"interest": equilibrium.unknown, "wage": equilibrium.aggregates["wage"], "transfer": 0.0}
    steady = household_steady_state(block, inputs | {"discount": economy.discount})
    np.testing.assert_allclose(steady.mean_field, equilibrium.mean_field, atol=1e-9)
    np.testing.assert_allclose(steady.outputs["savings"], equilibrium.aggregates["capital"], rtol=1e-7)
    again = jacobian(block, steady, inputs=["interest"], outputs=["consumption"], horizon=4)
    np.testing.assert_allclose(found["consumption"]["interest"], again["consumption"]["interest"], rtol=1e-6)


def test_response_to_a_small_shock_is_linear_and_markets_clear(economy, equilibrium):
    """The nonlinear path comes to the linear one as the shock shrinks, and the goods market clears unasked."""
    errors = []
    for size in (1e-2, 1e-3):
        shock = {"productivity": autoregressive(size, 0.8, 150)}
        linear = impulse_response(economy, equilibrium, shock)
        exact = impulse_response(economy, equilibrium, shock, linear=False)
        assert linear.succeeded
        assert exact.succeeded
        assert exact.stats["residual"][-1] <= 1e-8
        assert len(exact.stats["residual"]) <= 7
        changes = [
            np.abs(exact.paths[k] - path).max() / np.abs(path).max() for k, path in linear.paths.items() if path.any()
        ]
        errors.append(max(changes))
        levels = exact.transition.paths
        spent = levels["consumption"] + levels["investment"]
        np.testing.assert_allclose(levels["output"], spent, rtol=1e-7)
        assert linear.paths["capital"][0] > 0
        assert linear.paths["interest"][0] > 0
    assert errors[1] < 0.15 * errors[0] < 0.01


def test_newton_falls_quadratically_and_a_permanent_change_ends_elsewhere(economy, equilibrium):
    before = in_sequence_space(economy, equilibrium)
    richer = {**before.aggregates, "productivity": 1.01}
    after = steady_state(before.economy, richer, unknown=["capital"])
    path = {"productivity": np.full(200, 1.01)}
    found = transition_path(before.economy, before, path, final=after, method="newton")
    assert found.result.name == "converged"
    residual = found.stats["residual"]
    assert residual[2] < 10 * residual[1] ** 2 / residual[0] ** 2 * residual[0]
    assert residual[-1] < 1e-8
    assert found.paths["capital"][0] < found.paths["capital"][-1]
    np.testing.assert_allclose(found.paths["capital"][-1], after.aggregates["capital"], rtol=1e-3)
    with pytest.raises(ValueError, match=r"must return to 1, but ends at 1.01"):
        transition_path(before.economy, before, path)
    short = {"productivity": 1 + autoregressive(0.01, 0.8, 30)}
    assert transition_path(before.economy, before, short, throw=False).result.name == "horizon"


def test_columns_of_the_equilibrium_jacobian_are_responses_to_news(economy, equilibrium):
    steady = in_sequence_space(economy, equilibrium)
    system = linearise(steady.economy, steady, horizon=40)
    news = np.zeros(40)
    news[3] = 1.0
    found = system.response({"productivity": news})
    for name in ("capital", "output"):
        np.testing.assert_allclose(found[name], system.jacobian(name, "productivity")[:, 3], atol=1e-13)
    assert found["output"][0] == pytest.approx(0, abs=1e-12)  # capital is there before the news
    assert np.argmax(found["output"]) == 3


def test_a_large_debt_leaves_no_bounded_path():
    """Huggett's bond: at his supply no path returns, which is told; with debtors on the whole, one does."""
    shock = {"income": autoregressive(0.01, 0.8, 600)}
    small = {"num_assets": 60, "income": Income.rouwenhorst(3, 0.966, 0.5)}
    large = Huggett(**small)
    brief = {"income": shock["income"][:100]}
    assert impulse_response(large, stationary_equilibrium(large), brief, throw=False).stats["winding_number"] is None
    found = impulse_response(large, stationary_equilibrium(large), shock, throw=False)
    assert found.result.name == "indeterminate"
    assert found.stats["winding_number"] == 1
    debtors = Huggett(bond_supply=-1.0, borrowing_limit=-2.0, **small)
    found = impulse_response(debtors, stationary_equilibrium(debtors), shock)
    assert found.result.name == "completed"
    assert found.paths["interest"][1] < 0


def test_game_in_sequence_space():
    """Its steady state repeats itself under the game's own step, and its path is that of the game."""
    game = LasryLionsChain()
    steady = game_steady_state(game, scale=1.0, parameters=("crowd_aversion",))
    mass = np.array([steady.aggregates[f"mass_{i}"] for i in range(7)])
    np.testing.assert_allclose(mass, steady.households["agents"].mean_field, atol=1e-7)
    np.testing.assert_allclose(mass, mass[::-1], atol=1e-8)
    shock = {"crowd_aversion": autoregressive(0.4, 0.8, 50)}
    found = impulse_response(steady.economy, steady, shock, linear=False)
    policies = found.transition.households["agents"].choices
    at = mass
    for t in range(4):
        aggregates = [found.transition.paths[f"mass_{i}"][t] for i in range(7)]
        np.testing.assert_allclose(at, aggregates, atol=1e-7)
        pushed = np.zeros(7)
        for state in range(7):
            for action, step in enumerate((-1, 0, 1)):
                for noise, chance in ((-1, 0.025), (0, 0.95), (1, 0.025)):
                    to = min(max(state + step + noise, 0), 6)
                    pushed[to] += at[state] * policies[t][state, action] * chance
        at = pushed
    assert found.paths["mass_3"][1] < 0 < found.paths["mass_1"][1]  # the crowd spreads


def test_moves_that_depend_on_the_mean_field_see_that_of_their_own_period():
    """In an epidemic, the share of infected at t decides who is infected at t."""
    game = SISEpidemic(resolution=None)
    steady = game_steady_state(game, scale=1.0, parameters=("contagion",), initial=np.array([0.9, 0.1]))
    found = impulse_response(steady.economy, steady, {"contagion": autoregressive(0.1, 0.5, 60)}, linear=False)
    paths, policies = found.transition.paths, found.transition.households["agents"].choices
    for t in range(4):
        contact = policies[t][0] @ np.linspace(0, 1, 5)
        risk = paths["contagion"][t] * contact * paths["mass_1"][t]
        ill = 0.9 * paths["mass_1"][t] + risk * paths["mass_0"][t]
        assert paths["mass_1"][t + 1] == pytest.approx(ill, rel=1e-7)
    assert steady.aggregates["mass_1"] > 0.01


@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_told(economy, equilibrium, saver, commuter):
    shock = autoregressive(0.01, 0.8, 20)
    steady = in_sequence_space(economy, equilibrium)
    cases = [
        (lambda: impulse_response(economy, None, {"productivity": shock}), "steady_state must be the result of"),
        (lambda: impulse_response(economy, equilibrium, {"wage": shock}), "shocks must be to productivity, discount"),
        (lambda: impulse_response(economy, equilibrium, {}), "at least one of productivity"),
        (lambda: impulse_response(economy, equilibrium, {"productivity": shock * np.nan}), "must be finite"),
        (lambda: jacobian(saver.block, saver, inputs=["price"]), "input must be one of interest, wage"),
        (lambda: jacobian(saver.block, saver, outputs=["price"]), "output must be one of savings, consumption"),
        (lambda: jacobian(economy, equilibrium, household="other"), "household must be one of household"),
        (lambda: autoregressive(0.01, 1.0), "persistence must be below 1"),
        (lambda: household_steady_state(saver.block, {"interest": 0.01}), "lack"),
        (lambda: household_steady_state(saver.block, {**PRICES, "discount": 1.0}), "must be below 1"),
        (lambda: steady_state(steady.economy, {"capital": 5.0}), "lack"),
        (lambda: steady_state(steady.economy, steady.aggregates, unknown=["wage"]), "must name paths"),
        (lambda: transition_path(steady.economy, steady, {"capital": shock}), "paths must be of productivity"),
        (lambda: transition_path(steady.economy, steady, {}), "is empty"),
        (lambda: game_steady_state(LasryLionsChain(horizon=5), scale=1.0), "must go on for ever"),
        (lambda: game_steady_state(LasryLionsChain(), scale=1.0, parameters=("num_states",)), "must name fields"),
    ]
    for call, text in cases:
        with pytest.raises(ValueError, match=text):
            call()
    with pytest.raises(RuntimeError, match="did not clear"):
        steady_state(steady.economy, {**steady.aggregates, "capital": 1.1 * steady.aggregates["capital"]})


def test_whoever_cannot_pay_has_no_path(economy, equilibrium):
    """Productivity below zero: wages and cash are negative, so nothing is a solution."""
    shock = {"productivity": autoregressive(-1.5, 0.8, 100)}
    assert impulse_response(economy, equilibrium, shock, linear=False, throw=False).result.name == "nonfinite"


def test_a_steady_state_of_another_economy_is_refused(economy, equilibrium):
    steady = in_sequence_space(economy, equilibrium)
    shock = {"productivity": autoregressive(0.01, 0.8, 60)}
    other = dataclasses.replace(steady.economy, depreciation=0.1)
    patient = dataclasses.replace(economy, discount=0.9)
    more = {**steady.aggregates, "capital": 1.05 * steady.aggregates["capital"]}
    unsolved = steady_state(steady.economy, more, throw=False)
    for call, text in [
        (lambda: impulse_response(other, steady, shock), "leaves .* of asset_market"),
        (lambda: impulse_response(patient, equilibrium, shock), "another discount"),
        (lambda: transition_path(steady.economy, unsolved, {"productivity": 1 + shock["productivity"]}), "a solution"),
    ]:
        with pytest.raises(ValueError, match=text):
            call()


class Misuse(SequenceEconomy):
    """A household whose function is used in a wrong way."""

    household: SavingBlock
    wrong: str

    exogenous: ClassVar = ("z",)
    unknowns: ClassVar = ("x",)

    @property
    def households(self):
        return {"saver": self.household}

    def residuals(self, paths, households):
        if self.wrong == "not called":
            return {"a": paths["x"]}
        call = households["server" if self.wrong == "household" else "saver"]
        found = call(**PRICES)
        if self.wrong == "twice":
            call(**PRICES)
        path = found["saving" if self.wrong == "output" else "savings"] - paths["x"]
        return {"a": path[1:] if self.wrong == "shape" else path}


def test_misuse_of_households_is_told(saver):
    texts = {"not called": "must call every household", "household": "household must be one of saver"}
    texts |= {
        "twice": "may be called once",
        "output": "output must be one of .*savings",
        "shape": "must have the shape",
    }
    for wrong, text in texts.items():
        with pytest.raises(ValueError, match=text):
            steady_state(Misuse(saver.block, wrong), {"z": 0.0, "x": 1.0}, throw=False)
    with pytest.raises(ValueError, match="scale must be"):
        Commuter(scale=-0.3, discount=0.9)
    with pytest.raises(ValueError, match="other than the discount"):
        game_steady_state(LasryLionsChain(), scale=1.0, parameters=("discount",))


class Spread(SequenceEconomy):
    """A second equation that holds whatever the spread, before one in which the household sees it."""

    household: SavingBlock
    spread: float = 0.0

    exogenous: ClassVar = ("z",)
    unknowns: ClassVar = ("x", "y")

    @property
    def households(self):
        return {"saver": self.household}

    def residuals(self, paths, households):
        found = households["saver"](**{**PRICES, "interest": PRICES["interest"] - self.spread})
        return {"trivial": paths["y"] - paths["z"], "savings": found["savings"] - paths["x"]}


def test_a_household_with_other_inputs_is_not_at_rest(saver):
    values = {"z": 0.0, "y": 0.0, "x": saver.outputs["savings"]}
    steady = steady_state(Spread(saver.block), values)
    with pytest.raises(ValueError, match="leaves nan of savings"):
        impulse_response(Spread(saver.block, 0.002), steady, {"z": autoregressive(0.01, 0.5, 40)})
