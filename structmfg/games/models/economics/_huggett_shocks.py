"""`huggett_shocks`: households trade a bond in fixed supply while productivity is uncertain.

The economy of Huggett (1993, doi:10.1016/0165-1889(93)90024-M) with aggregate shocks, in the calibration of Yang, Wang,
Schaab and Moll (2025, arXiv 2512.18892). The interest rate clears the bond market in every period.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from typing_extensions import override

from structmfg._checks import check_between, check_integer, check_positive, plain_fields
from structmfg.games._aggregate import Agents, AggregateState
from structmfg.games._noise_chain import NoiseChain
from structmfg.games._sampling import draw_categorical
from structmfg.games._validate import check_game
from structmfg.games.models.economics._saving import SavingGame
from structmfg.operators import GeometricGrid, KroneckerOperator, LotteryKernel, TransitionKernel

_PRODUCTIVITY = np.array([0.9139, 0.9560, 1.0, 1.0460, 1.0942])
_PRODUCTIVITY_CHAIN = np.array([
    [0.8478, 0.1522, 0, 0, 0],
    [0.0195, 0.8962, 0.0843, 0, 0],
    [0, 0.0427, 0.9147, 0.0427, 0],
    [0, 0, 0.0843, 0.8962, 0.0195],
    [0, 0, 0, 0.1522, 0.8478],
])  # fmt: skip
_INCOME = np.array([0.5488, 1.0, 1.8221])
_INCOME_CHAIN = np.array([[0.6460, 0.3539, 0.0001], [0.0304, 0.9392, 0.0304], [0.0001, 0.3539, 0.6460]])
_INITIAL_SHAPE = 1.3  # of the gamma distribution of assets at the start
_MARGIN = 1e-3  # by which the bracket is wider than the interest rates that any policy may lead to


def _stationary(chain: np.ndarray) -> np.ndarray:
    """The stationary distribution of a small chain."""
    size = len(chain)
    system = np.vstack([np.eye(size) - (chain / chain.sum(1, keepdims=True)).T, np.ones(size)])
    return np.linalg.lstsq(system, np.eye(size + 1)[-1], rcond=None)[0]


@dataclasses.dataclass(frozen=True)
class HuggettShocks(SavingGame):
    """Households trade a bond in fixed supply, and the interest rate clears its market in every period.

    State (assets a, income e), index = asset_index * 3 + income_index. z is productivity, a chain of five states, the
    first one from its stationary distribution. A household has a + z e, of which it consumes a share c, the action; the
    rest buys bonds, which pay 1 + r_t each in the next period:

        a' = (1 + r_t) (1 - c) (a + z e),   reward log(c (a + z e)).

    a' goes to the asset grid by lottery; e follows its chain, with stationary mean 1. The price is r_t, at which mean
    a' is `bond_supply`. Nobody pays the interest: as in Huggett's economy with bonds from outside, no tax is raised.
    Demand rises with r_t in every state and for every policy, so any policy table has a price that clears the market.

    The shares c are geometric from `min_share` to `max_share`. On the last step the reward has the expected value
    after it as well, discounted: that of consuming mean income and 1 - discount of all assets for ever. Without it
    households would sell all their bonds at the end.

    At the start assets have a gamma distribution of shape 1.3 and mean `bond_supply`, near the stationary one without
    shocks, and incomes their stationary distribution. Observation: (r_t, z_t), the two prices, as z is the wage.

    Attributes:
        num_assets: Points of the grid of assets.
        num_actions: Shares that can be consumed.
        horizon: Steps.
        discount: Weight of the next utility relative to this one.
        bond_supply: Bonds per household, in mean incomes.
        max_assets: Largest assets, in mean incomes.
        min_share: Least share consumed.
        max_share: Largest share consumed.
        shocks: Whether productivity varies; if not it is 1.
    """

    num_assets: int = 200
    num_actions: int = 40
    horizon: int = 128
    discount: float = 0.975
    bond_supply: float = 5.0
    max_assets: float = 149.75
    min_share: float = 0.02
    max_share: float = 0.98
    shocks: bool = True

    def __post_init__(self) -> None:
        plain_fields(self)
        check_integer("num_assets", self.num_assets, at_least=2)
        check_game(self)
        check_positive("1 - discount", 1 - self.discount)
        check_positive("bond_supply", self.bond_supply)
        check_between("min_share", self.min_share, 0, 1, open_low=True)
        check_between("max_share", self.max_share, self.min_share, 1, open_low=True)
        check_positive("1 - max_share", 1 - self.max_share)
        self.asset_grid  # noqa: B018 (its construction checks the bound)

    @property
    @override
    def num_states(self) -> int:
        """S = num_assets * 3."""
        return self.num_assets * len(_INCOME)

    @staticmethod
    def income_levels() -> Float[np.ndarray, "3"]:
        """The levels of income, in units of their stationary mean."""
        return _INCOME / (_stationary(_INCOME_CHAIN) @ _INCOME)

    @override
    def shares(self) -> Float[Array, " actions"]:
        """The share of a + z e that each action consumes."""
        return jnp.asarray(np.geomspace(self.min_share, self.max_share, self.num_actions), float)

    def cash_on_hand(self, aggregate: AggregateState) -> Float[Array, " states"]:
        """What a household has (S,), a + z e."""
        income = aggregate.noise * jnp.asarray(self.income_levels(), float)
        return (self.asset_grid.points()[:, None] + income).ravel()

    @staticmethod
    def interest(aggregate: AggregateState) -> Float[Array, ""]:
        """The interest rate r_t; 0 before the market has cleared."""
        return jnp.zeros(()) if aggregate.price is None else aggregate.price[0]

    @override
    def price_bracket(self, aggregate: AggregateState) -> tuple[Float[Array, "1"], Float[Array, "1"]]:
        """The interest rates at which households hold the supply if all consume the least, and the largest share."""
        cash = jnp.matmul(aggregate.mean_field, self.cash_on_hand(aggregate), precision="highest")
        saved = (1 - jnp.array([self.min_share, self.max_share])) * cash
        low, high = self.bond_supply / saved
        return low[None] * (1 - _MARGIN) - 1, high[None] * (1 + _MARGIN) - 1

    @override
    def excess_demand(
        self, aggregate: AggregateState, price: Float[Array, "1"], joint: Float[Array, "states actions"]
    ) -> Float[Array, "1"]:
        """Mean a' less the supply of bonds."""
        saved = self.cash_on_hand(aggregate)[:, None] * (1 - self.shares())
        return (1 + price) * jnp.sum(joint * saved) - self.bond_supply

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        """Bonds bought go to the asset grid by lottery; then income moves by its chain."""
        cash = self.cash_on_hand(aggregate)[:, None]
        index, weight = self.asset_grid.lottery((1 + self.interest(aggregate)) * (1 - self.shares()) * cash)
        income = KroneckerOperator(self.num_states, jnp.asarray(_INCOME_CHAIN, float))
        return LotteryKernel(self.num_assets, index, weight) >> income

    @override
    def move_agents(self, aggregate: AggregateState, states: Agents, actions: Agents, key: PRNGKeyArray) -> Agents:
        """Assets go to a neighbouring grid point, up or down at random such that their mean is kept."""
        grid, levels = self.asset_grid.points(), jnp.asarray(self.income_levels(), float)
        assets, income = states // 3, states % 3
        kept = (1 - self.shares()[actions]) * (grid[assets] + aggregate.noise * levels[income])
        place, luck = jax.random.split(key)
        following = draw_categorical(luck, jnp.asarray(_INCOME_CHAIN, float)[income])
        return self.draw_assets((1 + self.interest(aggregate)) * kept, place) * 3 + following

    def terminal_values(self) -> Float[Array, " states"]:
        """The value (S,) of consuming mean income and 1 - discount of all assets for ever."""
        values = jnp.log(1 + (1 - self.discount) * self.asset_grid.points()) / (1 - self.discount)
        return jnp.repeat(values, 3)

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        utility = jnp.log(self.cash_on_hand(aggregate)[:, None] * self.shares())
        after = self.discount * self.kernel(aggregate).expect(self.terminal_values())
        return utility + jnp.where(self.is_last(aggregate), after, 0)

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, "2"]:
        return jnp.stack([self.interest(aggregate), aggregate.noise])

    @override
    def normalise(self, observation: Float[Array, "*batch 2"]) -> Float[Array, "*batch 2"]:
        """Deviations from 1 / discount - 1, whose logarithm counts where they are large, and from productivity 1."""
        deviation = (observation[..., 0] - (1 / self.discount - 1)) / 0.01
        return jnp.stack([jnp.arcsinh(deviation), (observation[..., 1] - 1) / 0.05], axis=-1)

    @override
    def aggregates(self, mean_field: Float[Array, " states"]) -> Float[Array, "0"]:
        """None: the mean field matters through the price alone."""
        return jnp.zeros(0)

    @override
    def noise_chain(self) -> NoiseChain:
        if not self.shocks:
            return NoiseChain(np.ones(1), np.ones(1), np.ones((1, 1)))
        chain = _PRODUCTIVITY_CHAIN / _PRODUCTIVITY_CHAIN.sum(1, keepdims=True)
        return NoiseChain(_PRODUCTIVITY, _stationary(chain), chain)

    @override
    def initial_noise(self, uniform: Float[Array, ""]) -> Float[Array, ""]:
        return jnp.asarray(self.noise_chain().first(uniform), float)

    @override
    def next_noise(self, noise: Float[Array, ""], uniform: Float[Array, ""], time: Int[Array, ""]) -> Float[Array, ""]:
        return jnp.asarray(self.noise_chain().following(noise, uniform), float)

    @override
    def initial_mean_field(self, noise: Float[Array, ""]) -> Float[Array, " states"]:
        return jnp.asarray(
            np.outer(self.gamma_assets(self.bond_supply, _INITIAL_SHAPE), _stationary(_INCOME_CHAIN)).ravel(), float
        )

    @override
    def quantities(self, aggregate: AggregateState) -> dict[str, Array]:
        assets = aggregate.mean_field @ jnp.repeat(self.asset_grid.points(), 3)
        return {"interest rate": self.interest(aggregate), "productivity": aggregate.noise, "mean assets": assets}

    @override
    def state_axes(self) -> list[tuple[str, GeometricGrid | np.ndarray]]:
        return [("assets", self.asset_grid), ("income", self.income_levels())]

    @override
    def captions(self) -> dict[str, str]:
        return {
            "mean_field": "Look at the households without assets, and at how few hold many times the mean.",
            "policy": "Look at how the share consumed falls with assets, and rises with the interest rate.",
            "quantities": "Look at how the interest rate falls when productivity is high and households want to save.",
        }
