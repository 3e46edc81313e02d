"""`KrusellSmith`: households save in capital, firms' productivity and employment move together (Krusell & Smith 1998).

Krusell & Smith (1998), doi:10.1086/250034, the benchmark economy. A household of assets a, employed (e = 1) or not,
solves

    max E sum_t beta^t u(c_t),   c + a' = (1 + r) a + w y_e,   a' >= 0,   u(c) = c^(1 - sigma) / (1 - sigma)

(log c at sigma = 1), at r + delta = alpha Y / K, w = (1 - alpha) Y / L, with Y = z K^alpha L^(1 - alpha), K mean assets
and L mean hours. The employed work h hours: y_1 = h and y_0 = 0, but for benefits. Productivity z is high or low, and
with it unemployment: e moves by a chain that depends on z now and a period later, such that the share of the unemployed
depends on z alone.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from structmfg._checks import check_integer, check_positive, plain_fields
from structmfg.economies._economy import check_assets
from structmfg.games import KrusellSmithCalibration
from structmfg.operators import ArbitraryGrid, ControlledOperator, GeometricGrid, KroneckerOperator, LotteryKernel

Phase = int | Int[Array, ""]
Pair = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class KrusellSmith(KrusellSmithCalibration):
    """Phases z are 0, bad, and 1, good; pairs of parameters are in this order. A period is a quarter.

    State (a, e), e = 0 unemployed, e = 1 employed, has index asset_index * 2 + e. The mean length of a phase is
    `phase_duration`, that of unemployment while the phase stays `unemployment_duration`. Where the phase changes to z',
    the unemployed stay so with `unemployed_on_change`[z'] times the probability of phases that stay z'; what the
    employed do follows, as the unemployed must be `unemployment`[z'] afterwards. So e' is drawn once z' is known, and a
    step of the mean field needs both phases (see `operator`). The kernel of a `Game` knows z, not z':
    `games.KrusellSmithGame` says how the same economy is one.

    `hours` of an employed household, 0.3271 as in the paper, set the unit of capital: at beta (1 + r) = 1 the ratio K/L
    is 38, and mean L is 0.304, so K is about 11.6. The unemployed receive `benefit` wages, which a tax on the wages of
    the employed pays: none in the paper. Den Haan, Judd & Juillard (2010, doi:10.1016/j.jedc.2009.07.001) take 1 / 0.9
    hours and a benefit of 0.15.

    Grids: assets from 0, geometric (see `GeometricGrid`); capital, on which households forecast, `num_capital` points
    within `capital_range` times `steady_capital`.
    """

    num_assets: int = 200
    max_assets: float = 200.0
    pivot: float = 0.25
    num_capital: int = 12
    capital_range: Pair = (0.85, 1.15)

    def __post_init__(self) -> None:
        plain_fields(self)
        self.check_calibration()
        self.check_pair("capital_range")
        check_assets(self.num_assets, self.max_assets, 0.0, self.pivot)
        check_integer("num_capital", self.num_capital, at_least=2)
        check_positive("capital_range[0]", self.capital_range[0])
        check_positive("capital_range[1] - capital_range[0]", self.capital_range[1] - self.capital_range[0])

    @property
    def grid(self) -> GeometricGrid:
        """The grid of assets."""
        return GeometricGrid(self.num_assets, 0.0, self.max_assets, self.pivot)

    @property
    def capital_grid(self) -> ArbitraryGrid:
        """The grid of mean assets, on which households forecast."""
        low, high = self.capital_range
        return ArbitraryGrid(self.steady_capital * jnp.linspace(low, high, self.num_capital))

    def cash(self, capital: Float[Array, ""], phase: Phase) -> Float[Array, "assets 2"]:
        """Cash on hand (1 + r) a + w y_e, [a, e]."""
        interest, wage = self.prices(capital, phase)
        return (1 + interest) * self.grid.points()[:, None] + wage * jnp.asarray(self.incomes())[phase]

    def operator(self, savings: Float[Array, "assets 2"], phase: Phase, following: Phase) -> ControlledOperator:
        """The transition operator of the policy a'(a, e) from one phase to the next: lottery, then employment."""
        index, weight = self.grid.lottery(savings.reshape(-1, 1))
        employment = KroneckerOperator(savings.size, jnp.asarray(self.employment())[phase, following])
        return (LotteryKernel(self.num_assets, index, weight) >> employment).under(jnp.ones(index.shape))

    def initial_mean_field(self, phase: Phase) -> Float[Array, " states"]:
        """The mean field (S,) with all assets at `steady_capital`, and the unemployment of the phase."""
        index, weight = self.grid.lottery(jnp.asarray(self.steady_capital))
        assets = jnp.zeros(self.num_assets).at[index].add(1 - weight).at[index + 1].add(weight)
        unemployed = jnp.asarray(self.unemployment)[phase]
        return (assets[:, None] * jnp.stack([unemployed, 1 - unemployed])).ravel()
