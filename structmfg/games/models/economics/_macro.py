"""`macro`: savers with uninsurable income in an economy with productivity shocks (Wibault et al. 2026).

Prices are the marginal products of capital and labour at the mean field, as in Krusell & Smith (1998,
doi:10.1086/250034), without depreciation.
"""

import dataclasses
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from typing_extensions import override

from structmfg._checks import check_between, check_integer, check_name, check_positive, plain_fields
from structmfg.games._aggregate import Agents, AggregateState
from structmfg.games._base import Game
from structmfg.games._noise_chain import NoiseChain, rouwenhorst, tauchen
from structmfg.games._sampling import normal_quadrature
from structmfg.games._validate import check_game
from structmfg.operators import GeometricGrid, KroneckerOperator, LotteryKernel, TransitionKernel

Discretisation = Literal["rouwenhorst", "tauchen"]

_MOST_NOISE_STATES = 256
_LEAST_CONSUMPTION = 1e-10  # keeps utility finite where wealth and wage are both zero


@dataclasses.dataclass(frozen=True)
class Macro(Game):
    """Savers with uninsurable income in an economy with productivity shocks.

    State (wealth, income), index = wealth_index * num_income + income_index; z = log productivity.

    z_0 = 0, z' = persistence * z + deviation * N(0, 1). Interest r = e^z alpha (L / (K + 1e-6))^(1 - alpha), wage
    w = e^z (1 - alpha) (K / (L + 1e-6))^alpha at mean wealth K and mean income L. Cash on hand is
    c = (1 + r) wealth + w income; the action is the share of it consumed, at the midpoints of num_actions equal bins.
    The rest is next wealth, by lottery on the grid. The income index moves by -1, 0, +1 with probability
    `income_move`, 1 - 2 income_move, `income_move`.
    Reward: CRRA utility of consumption, on the last step that of all cash on hand. Observation: (r, w).

    With `noise_states` of 2 or more, z is instead the finite chain that `discretisation` makes of this process, started
    in its middle state; where their number is even, in one of the two middle states, with probability 1/2 each.

    Attributes:
        num_wealth: Points of the grid of wealth.
        num_income: Levels of income.
        num_actions: Shares of cash on hand that can be consumed.
        horizon: Steps.
        discount: Weight of the next utility relative to this one.
        max_wealth: Largest wealth, in units of the good.
        min_income: Lowest income, in units of labour.
        max_income: Highest income, in units of labour.
        income_move: Probability of the next higher income, and of the next lower one.
        risk_aversion: Relative risk aversion of the utility.
        capital_share: Exponent of capital in production.
        persistence: Autocorrelation of log productivity.
        deviation: Standard deviation of its innovations.
        noise_states: States of the chain of productivity; 0 for continuous noise.
        discretisation: Method that makes the chain.
    """

    num_wealth: int = 200
    num_income: int = 5
    num_actions: int = 20
    horizon: int = 128
    discount: float = 0.95
    max_wealth: float = 99.0
    min_income: float = 0.1
    max_income: float = 2.0
    income_move: float = 0.1
    risk_aversion: float = 2.0
    capital_share: float = 0.36
    persistence: float = 0.9
    deviation: float = 0.03
    noise_states: int = 0
    discretisation: Discretisation = "rouwenhorst"

    def __post_init__(self) -> None:
        plain_fields(self)
        check_integer("num_wealth", self.num_wealth, at_least=2)
        check_integer("num_income", self.num_income, at_least=2)
        check_game(self)
        check_between("income_move", self.income_move, 0, 0.5)
        check_positive("risk_aversion", self.risk_aversion)
        check_between("capital_share", self.capital_share, 0, 1)
        check_between("persistence", self.persistence, 0, 1)
        check_between("deviation", self.deviation, 0, np.inf)
        check_name("discretisation", self.discretisation, get_args(Discretisation))
        if check_integer("noise_states", self.noise_states, at_least=0, at_most=_MOST_NOISE_STATES) == 1:
            raise ValueError("noise_states must be 0, for continuous noise, or at least 2, but is 1")
        self.noise_chain()  # its construction checks the process
        self.wealth_grid, self.income_grid  # noqa: B018 (their construction checks the bounds)

    @property
    @override
    def num_states(self) -> int:
        """S = num_wealth * num_income."""
        return self.num_wealth * self.num_income

    @property
    def wealth_grid(self) -> GeometricGrid:
        """The grid of wealth, from 0 to max_wealth."""
        return GeometricGrid(self.num_wealth, 0.0, self.max_wealth)

    @property
    def income_grid(self) -> GeometricGrid:
        """The grid of income, from min_income to max_income."""
        return GeometricGrid(self.num_income, self.min_income, self.max_income)

    def _states(self) -> tuple[Float[Array, " states"], Float[Array, " states"]]:
        """Wealth and income of every state."""
        wealth, income = self.wealth_grid.points(), self.income_grid.points()
        return jnp.repeat(wealth, self.num_income), jnp.tile(income, self.num_wealth)

    def income_chain(self) -> np.ndarray:
        """The Markov matrix (m, m) of the income index; moves off the grid stay at its ends."""
        up = np.eye(self.num_income, k=1) + np.eye(self.num_income, k=-1)
        moves = self.income_move * up
        return moves + np.diag(1 - moves.sum(1))

    def prices(self, aggregate: AggregateState) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The interest rate r and the wage w; see the class."""
        wealth, income = self._states()
        mean_field = aggregate.mean_field
        capital = jnp.matmul(mean_field, wealth, precision="highest")
        labour = jnp.matmul(mean_field, income, precision="highest")
        productivity, alpha = jnp.exp(aggregate.noise), self.capital_share
        interest = productivity * alpha * (labour / (capital + 1e-6)) ** (1 - alpha)
        wage = productivity * (1 - alpha) * (capital / (labour + 1e-6)) ** alpha
        return interest, wage

    def cash_on_hand(self, aggregate: AggregateState) -> Float[Array, " states"]:
        """Cash on hand (S,) in every state, (1 + r) wealth + w income."""
        interest, wage = self.prices(aggregate)
        wealth, income = self._states()
        return (1 + interest) * wealth + wage * income

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        """Savings go to the wealth grid by lottery; then income moves by its chain."""
        savings = self.cash_on_hand(aggregate)[:, None] * (1 - self.action_positions())
        index, weight = self.wealth_grid.lottery(savings)
        income = KroneckerOperator(self.num_states, jnp.asarray(self.income_chain()))
        return LotteryKernel(self.num_wealth, index, weight) >> income

    @override
    def move_agents(self, aggregate: AggregateState, states: Agents, actions: Agents, key: PRNGKeyArray) -> Agents:
        """Savings go to a neighbouring grid point, up or down at random such that their mean is kept."""
        grid, income_grid = self.wealth_grid.points(), self.income_grid.points()
        wealth, income = states // self.num_income, states % self.num_income
        interest, wage = self.prices(aggregate)
        cash = (1 + interest) * grid[wealth] + wage * income_grid[income]
        savings = jnp.clip(cash * (1 - self.action_positions()[actions]), grid[0], grid[-1])
        below = jnp.clip(jnp.searchsorted(grid, savings, side="right") - 1, 0, self.num_wealth - 2)
        uniform, chance = jax.random.uniform(key, (2, *states.shape))
        rounded_up = uniform * (grid[below + 1] - grid[below]) < savings - grid[below]
        step = (chance < self.income_move).astype(int) - (chance >= 1 - self.income_move)
        return (below + rounded_up) * self.num_income + jnp.clip(income + step, 0, self.num_income - 1)

    def utility(self, consumption: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Utility of constant relative risk aversion, x^(1 - sigma) / (1 - sigma); log x at sigma = 1."""
        consumption = jnp.maximum(consumption, _LEAST_CONSUMPTION)
        if self.risk_aversion == 1:
            return jnp.log(consumption)
        return consumption ** (1 - self.risk_aversion) / (1 - self.risk_aversion)

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        cash = self.cash_on_hand(aggregate)[:, None]
        return self.utility(cash * jnp.where(self.is_last(aggregate), 1.0, self.action_positions()))

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, " observation"]:
        return jnp.stack(self.prices(aggregate))

    @override
    def aggregates(self, mean_field: Float[Array, " states"]) -> Float[Array, "2"]:
        return jnp.matmul(mean_field, jnp.stack(self._states(), axis=1), precision="highest")

    @override
    def noise_chain(self) -> NoiseChain | None:
        if not self.noise_states:
            return None
        discretise = {"rouwenhorst": rouwenhorst, "tauchen": tauchen}[self.discretisation]
        points, transition = discretise(self.noise_states, self.persistence, self.deviation)
        middle = np.isin(np.arange(self.noise_states), [(self.noise_states - 1) // 2, self.noise_states // 2])
        return NoiseChain(points, middle / middle.sum(), transition)

    @override
    def initial_noise(self, uniform: Float[Array, ""]) -> Float[Array, ""]:
        chain = self.noise_chain()
        return jnp.zeros_like(uniform) if chain is None else chain.first(uniform)

    @override
    def next_noise(self, noise: Float[Array, ""], uniform: Float[Array, ""], time: Int[Array, ""]) -> Float[Array, ""]:
        """An AR(1) step with Gaussian innovation, or a step of the chain."""
        chain = self.noise_chain()
        if chain is not None:
            return chain.following(noise, uniform)
        return self.persistence * noise + self.deviation * jax.scipy.special.ndtri(uniform)

    @override
    def innovation_quadrature(self) -> tuple[np.ndarray, np.ndarray]:
        return normal_quadrature()

    @override
    def state_features(self) -> Float[Array, "states features"]:
        index = jnp.arange(self.num_states)
        wealth, income = index // self.num_income, index % self.num_income
        return jnp.stack([2 * wealth / (self.num_wealth - 1) - 1, 2 * income / (self.num_income - 1) - 1], axis=-1)

    @override
    def quantities(self, aggregate: AggregateState) -> dict[str, Array]:
        interest, wage = self.prices(aggregate)
        wealth, _ = self._states()
        return {"mean wealth": aggregate.mean_field @ wealth, "interest rate": interest, "wage": wage}

    @override
    def action_axis(self) -> tuple[str, np.ndarray]:
        return "mean share of cash on hand consumed", np.asarray(self.action_positions())

    @override
    def state_axis(self) -> tuple[str, Float[Array, " states"]]:
        return "wealth", self._states()[0]

    @override
    def state_axes(self) -> list[tuple[str, GeometricGrid]]:
        return [("wealth", self.wealth_grid), ("income", self.income_grid)]

    @override
    def captions(self) -> dict[str, str]:
        return {
            "mean_field": "Look at how far wealth spreads, and at whether it is spent before the end.",
            "policy": "Look at how the share consumed changes with wealth, with income, and as the end comes near.",
            "quantities": "Look at how prices follow productivity and wealth: scarce capital earns more interest.",
        }
