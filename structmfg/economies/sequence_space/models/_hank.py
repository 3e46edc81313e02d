"""`OneAssetHANK`: households who save and work, sticky prices, and a central bank that sets the interest rate.

A heterogeneous-agent New Keynesian economy with one asset, government debt: section 5 of Auclert, Bardoczy, Rognlie &
Straub (2021), doi:10.3982/ECTA17434, after McKay, Nakamura & Steinsson (2016), doi:10.1257/aer.20150063.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from typing_extensions import override

from structmfg._checks import check_between, check_positive, concrete
from structmfg.economies._economy import Income, check_assets
from structmfg.economies.sequence_space._block import HouseholdBlock
from structmfg.economies.sequence_space._economy import (
    Equations,
    HouseholdFunction,
    SequenceEconomy,
    SequenceSteadyState,
    steady_state,
)
from structmfg.economies.sequence_space._paths import Paths
from structmfg.economies.sequence_space.models._working import WorkingBlock
from structmfg.operators import GeometricGrid

_MEAN_TOLERANCE = 1e-8  # of skill, which must be 1
_PATIENCE = 0.987  # discount factor times 1 + r, where the search for a steady state starts


class OneAssetHANK(SequenceEconomy):
    """An economy with a Phillips curve, a Taylor rule and government debt; see the module.

    With output Y, wage w, inflation pi, productivity Z, markup m and s = m / (m - 1):

    - firms use labour Y / Z, and changing prices costs them s / (2 kappa) log(1 + pi)^2 Y;
    - Phillips curve: log(1 + pi_t) = kappa (w_t / Z_t - 1 / m_t) + Y_{t+1} / Y_t log(1 + pi_{t+1}) / (1 + r_{t+1});
    - Taylor rule: the nominal rate from t to t + 1 is r*_t + phi pi_t, so 1 + r_{t+1} = (1 + r*_t + phi pi_t) /
      (1 + pi_{t+1}); a surprise in pi_0 changes what debt pays at time 0;
    - the government owes B_t and buys G_t; it taxes (1 + r_t) B_{t-1} + G_t - B_t. Households get dividends and pay
      taxes in proportion to their skill, whose mean is 1.

    The markets of debt and of labour clear. The market of goods then clears by Walras' law: the reported
    `goods_market` says by how much it does not, and is no equation.

    Attributes:
        household: Who saves and works.
        slope: kappa, of the Phillips curve.
        response: phi, of the interest rate to inflation.
    """

    household: WorkingBlock
    slope: float = 0.1
    response: float = 1.5

    exogenous: ClassVar[tuple[str, ...]] = (
        "productivity", "monetary", "markup", "debt", "spending", "discount", "disutility",
    )  # fmt: skip
    unknowns: ClassVar[tuple[str, ...]] = ("wage", "output", "inflation")

    def __check_init__(self) -> None:
        skills, chain = concrete(self.household.skills), concrete(self.household.chain)
        if skills is not None and chain is not None:
            mean = Income(tuple(skills), tuple(map(tuple, chain))).mean
            if abs(mean - 1) > _MEAN_TOLERANCE:
                raise ValueError(f"skills must have mean 1 under the stationary distribution, but have {mean:.10g}")

    @property
    @override
    def households(self) -> dict[str, HouseholdBlock]:
        return {"household": self.household}

    @override
    def residuals(self, paths: Paths, households: Mapping[str, HouseholdFunction]) -> Equations:
        wage, output, inflation = paths["wage"], paths["output"], paths["inflation"]
        productivity, markup, debt, spending = (paths[k] for k in ("productivity", "markup", "debt", "spending"))
        growth = jnp.log(1 + inflation)
        promised, ahead = self._nominal(paths.lag("monetary"), paths.lag("inflation")), paths.lead("inflation")
        interest = promised / (1 + inflation) - 1
        returns = self._nominal(paths["monetary"], inflation) / (1 + ahead)  # 1 + r_{t+1}
        adjustment = markup / (markup - 1) / (2 * self.slope) * growth**2 * output
        labour = output / productivity
        dividend = output - wage * labour - adjustment
        tax = (1 + interest) * paths.lag("debt") + spending - debt
        found = households["household"](
            interest=interest, wage=wage, transfer=dividend - tax, discount=paths["discount"],
            disutility=paths["disutility"],
        )  # fmt: skip
        later = paths.lead("output") / output * jnp.log(1 + ahead) / returns
        equations = {
            "asset_market": found["savings"] - debt,
            "labour_market": found["labour"] - labour,
            "phillips_curve": self.slope * (wage / productivity - 1 / markup) + later - growth,
        }
        reported = {
            "consumption": found["consumption"],
            "labour": labour,
            "interest": interest,
            "nominal_interest": self._nominal(paths["monetary"], inflation) - 1,
            "dividend": dividend,
            "tax": tax,
            "goods_market": output - found["consumption"] - spending - adjustment,
        }
        return equations, reported

    def _nominal(self, monetary: Any, inflation: Any) -> Any:
        """1 + the nominal interest rate for the next period."""
        return 1 + monetary + self.response * inflation


def one_asset_hank(
    *,
    slope: float = 0.1,
    response: float = 1.5,
    interest: float = 0.005,
    debt: float = 5.6,
    spending: float = 0.0,
    markup: float = 1.2,
    productivity: float = 1.0,
    risk_aversion: float = 2.0,
    frisch: float = 0.5,
    income: Income | None = None,
    num_assets: int = 500,
    max_assets: float = 150.0,
    pivot: float = 0.25,
    tolerance: float = 1e-8,
) -> SequenceSteadyState:
    """Return the steady state of `OneAssetHANK` without inflation, at which output is productivity times labour of 1.

    The discount factor and the disutility of labour are found at which households hold the debt, and work for 1. The
    defaults are the calibration of Auclert, Bardoczy, Rognlie & Straub (2021); a period is a quarter.

    Args:
        slope: kappa, of the Phillips curve.
        response: phi, of the interest rate to inflation.
        interest: The interest rate in the steady state, r* of the Taylor rule.
        debt: B, of the government.
        spending: G, of the government.
        markup: Price over marginal cost.
        productivity: Z.
        risk_aversion: sigma, the inverse of the elasticity of intertemporal substitution.
        frisch: The Frisch elasticity of labour supply.
        income: The chain of skills, which are scaled to a mean of 1; by default seven states, the logarithm with
            persistence 0.966 and standard deviation 0.5.
        num_assets: The number of points of the asset grid.
        max_assets: The last point.
        pivot: See `operators.GeometricGrid`.
        tolerance: The largest residual; see `steady_state`.

    Raises:
        ValueError: If a parameter is out of range.
        RuntimeError: If no steady state is found.
    """
    check_positive("slope", slope)
    check_between("response", response, 0, np.inf)
    check_positive("markup - 1", markup - 1)
    check_positive("productivity", productivity)
    check_positive("debt", debt)
    check_assets(num_assets, max_assets, 0.0, pivot)
    chain = Income.rouwenhorst(7, 0.966, 0.5) if income is None else income
    skills = np.asarray(chain.levels) / chain.mean
    grid = GeometricGrid(num_assets, 0.0, max_assets, pivot)
    household = WorkingBlock(grid, 0.0, skills, np.asarray(chain.transition), risk_aversion, frisch)
    values = {
        "productivity": productivity, "monetary": interest, "markup": markup, "debt": debt, "spending": spending,
        "discount": _PATIENCE / (1 + interest), "disutility": productivity ** (1 - risk_aversion) / markup,
        "wage": productivity / markup, "output": productivity, "inflation": 0.0,
    }  # fmt: skip
    economy = OneAssetHANK(household, slope, response)
    return steady_state(economy, values, unknown=("discount", "disutility"), tolerance=tolerance)
