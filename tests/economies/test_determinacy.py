"""Whether responses are the only bounded ones, against closed forms of economies without households."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from structmfg.economies.sequence_space import (
    MovingAverage,
    SequenceEconomy,
    autoregressive,
    impulse_response,
    linearise,
    log_likelihood,
    steady_state,
    transition_path,
    winding_number,
)


class Forward(SequenceEconomy):
    """x_t = weight x_{t+1} + z_t, and k_t = root k_{t-1} + x_t."""

    weight: float
    root: float = 0.5

    exogenous: ClassVar = ("z",)
    unknowns: ClassVar = ("x", "k")
    households: ClassVar = {}

    def residuals(self, paths, households):
        first = paths["x"] - self.weight * paths.lead("x") - paths["z"]
        second = paths["k"] - self.root * paths.lag("k") - paths["x"]
        return {"first": first, "second": second}


@pytest.mark.parametrize(
    ("weight", "root", "winding"), [(0.9, 0.5, 0), (1.25, 0.5, -1), (0.9, 1.25, 1), (-0.7, -0.6, 0)]
)
def test_winding_number_counts_bounded_solutions(weight, root, winding):
    economy = Forward(weight, root)
    steady = steady_state(economy, {"z": 0.0, "x": 0.0, "k": 0.0})
    assert winding_number(linearise(economy, steady, horizon=200)) == winding
    found = impulse_response(economy, steady, {"z": autoregressive(1.0, 0.6, 200)}, throw=False)
    assert found.result.name == ("completed" if winding == 0 else "indeterminate")
    if winding == 0:
        x = 0.6 ** np.arange(200) / (1 - weight * 0.6)
        k = np.array([sum(root ** (t - s) * x[s] for s in range(t + 1)) for t in range(200)])
        np.testing.assert_allclose(found.paths["x"], x, atol=1e-8)
        np.testing.assert_allclose(found.paths["k"], k, atol=1e-7)


def test_linear_responses_have_derivatives_in_the_parameters():
    """x_t = sum_s weight^s z_{t+s}, so the response to 0.6^t changes by 0.6 / (1 - 0.6 weight)^2 in weight."""
    steady = steady_state(Forward(0.9), {"z": 0.0, "x": 0.0, "k": 0.0})

    def first(weight):
        system = linearise(dataclasses.replace(steady.economy, weight=weight), steady, horizon=200)
        return system.response({"z": autoregressive(1.0, 0.6, 200)})["x"][0]

    with jax.enable_x64(True):
        slope = jax.grad(first)(jnp.asarray(0.9))
    assert float(slope) == pytest.approx(0.6 / (1 - 0.54) ** 2, rel=1e-9)


def test_likelihood_has_its_gradient_in_parameters_of_equations_and_shocks():
    steady = steady_state(Forward(0.9), {"z": 0.0, "x": 0.0, "k": 0.0})
    data = {"k": np.random.default_rng(1).normal(size=12)}

    def density(weight, root, persistence):
        economy = dataclasses.replace(steady.economy, weight=weight, root=root)
        shocks = {"z": autoregressive(0.7, persistence, 60)}
        average = MovingAverage.of_economy(linearise(economy, steady, horizon=60), shocks, ["k"])
        return log_likelihood(average, data)

    at = (0.6, 0.4, 0.5)
    with jax.enable_x64(True):
        found = jax.jit(jax.grad(density, argnums=(0, 1, 2)))(*map(jnp.asarray, at))
    for k, slope in enumerate(found):
        ends = [density(*(x + (step if i == k else 0) for i, x in enumerate(at))) for step in (1e-5, -1e-5)]
        assert float(slope) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6)
    with pytest.raises(ValueError, match="needs double precision there too"):
        jax.grad(density)(jnp.asarray(0.6), 0.4, 0.5)


class Two(Forward):
    """x_t = 2 x_{t+1} + z_t and k_t = 2 k_{t-1}: many bounded paths of x, none of k, so that the numbers cancel."""

    def residuals(self, paths, households):
        return {"a": paths["x"] - 2 * paths.lead("x") - paths["z"], "b": paths["k"] - 2 * paths.lag("k")}


class Same(Forward):
    """One equation twice."""

    def residuals(self, paths, households):
        total = paths["x"] + paths["k"] - paths["z"]
        return {"a": total, "b": 3 * total}


@pytest.mark.parametrize("kind", [Two, Same])
def test_winding_number_zero_is_not_enough(kind):
    economy = kind(0.0)
    steady = steady_state(economy, {"z": 0, "x": 0, "k": 0})  # whole numbers will do
    shock = autoregressive(1.0, 0.8, 60)
    assert impulse_response(economy, steady, {"z": shock}, throw=False).result.name == "indeterminate"
    assert transition_path(economy, steady, {"z": shock}, throw=False).result.name == "indeterminate"


def test_a_steady_state_serves_other_parameters_at_which_the_equations_hold():
    changed = dataclasses.replace(Forward(0.9), weight=0.5)  # the equations hold at zero whatever the weight
    at_zero = steady_state(Forward(0.9), {"z": 0.0, "x": 0.0, "k": 0.0})
    found = impulse_response(changed, at_zero, {"z": autoregressive(1.0, 0.6, 100)})
    assert found.paths["x"][0] == pytest.approx(1 / (1 - 0.5 * 0.6))
