"""The linear response of capital beside the response in an equilibrium with common noise."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from structmfg.benchmarks.sequence_space import linearisation
from structmfg.economies import KrusellSmith
from structmfg.economies.sequence_space import without_aggregate_shocks

UNIFORM = {"unemployment": (0.07, 0.07), "unemployment_duration": (2.0, 2.0), "unemployed_on_change": (1.0, 1.0)}


def test_employment_that_follows_the_phase_is_refused():
    with pytest.raises(ValueError, match="employment must not depend on the phase"):
        without_aggregate_shocks(KrusellSmith(benefit=0.05))


def test_steady_state_without_aggregate_shocks_is_that_of_the_economy():
    economy = KrusellSmith(benefit=0.05, num_assets=60, **UNIFORM)
    steady = without_aggregate_shocks(economy)
    capital = steady.aggregates["capital"]
    assert steady.succeeded
    assert capital > economy.steady_capital  # households save against unemployment
    interest, wage = economy.prices(jnp.asarray(capital), 1)
    assert steady.reported["wage"] == pytest.approx(float(wage) / 1.01, rel=1e-5)  # at mean productivity
    assert steady.reported["interest"] + 0.025 == pytest.approx((float(interest) + 0.025) / 1.01, rel=1e-5)


@pytest.mark.slow
def test_responses_agree_for_small_shocks_and_part_for_large_ones(tmp_path):
    found = {}
    for size in (0.01, 0.15):
        found[size] = linearisation.response(size, num_assets=50, periods=3000, num_paths=32)
    small, large = (one.equilibrium[1:] / one.linear[1:] - 1 for one in found.values())
    assert np.abs(small).max() < 0.015
    assert np.abs(large[:5]).max() > 5 * np.abs(small[:5]).max()  # later, the small grid shows in both
    assert found[0.01].equilibrium[0] == found[0.01].linear[0] == 0
    assert (found[0.15].standard_error < 0.05).all()
    assert found[0.15].mean_capital > 1.02 * found[0.15].steady_capital
    linearisation.main(
        ["--sizes", "0.01", "--assets", "30", "--periods", "1000", "--paths", "4", "--out", str(tmp_path / "x")]
    )
    assert json.loads((tmp_path / "x" / "linearisation.json").read_text())["responses"]["0.01"]["linear"][0] == 0
    assert (tmp_path / "x" / "linearisation.png").exists()
