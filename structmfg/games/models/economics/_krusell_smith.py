"""`krusell_smith`: households save in capital, firms' productivity and employment move together (Krusell & Smith 1998).

Krusell & Smith (1998, doi:10.1086/250034). `KrusellSmithCalibration` is what this game has in common with
`economies.KrusellSmith`, where choices are continuous and households forecast.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from typing_extensions import override

from structmfg._checks import check_between, check_integer, check_positive, check_rows, plain, plain_fields
from structmfg.games._aggregate import Agents, AggregateState
from structmfg.games._noise_chain import NoiseChain
from structmfg.games._sampling import draw_categorical
from structmfg.games._validate import check_game
from structmfg.games.models.economics._saving import SavingGame
from structmfg.operators import GeometricGrid, KroneckerOperator, LotteryKernel, TransitionKernel

Phase = int | Int[Array, ""]
Pair = tuple[float, float]

_INITIAL_SHAPE = 4.0  # of the gamma distribution of assets at the start


@dataclasses.dataclass(frozen=True, eq=False)
class KrusellSmithCalibration:
    """Firms and employment. Phases z are 0, bad, and 1, good; pairs of parameters are in this order.

    A period is a quarter. See `economies.KrusellSmith` for the parameters.
    """

    discount: float = 0.99
    risk_aversion: float = 1.0
    capital_share: float = 0.36
    depreciation: float = 0.025
    productivity: Pair = (0.99, 1.01)
    unemployment: Pair = (0.10, 0.04)
    unemployment_duration: Pair = (2.5, 1.5)
    unemployed_on_change: Pair = (1.25, 0.75)
    phase_duration: float = 8.0
    hours: float = 0.3271
    benefit: float = 0.0

    def check_pair(self, name: str) -> None:
        """Raise `ValueError` unless a field is a pair of numbers, and make it one of Python's."""
        if not isinstance(pair := getattr(self, name), tuple | list | np.ndarray) or len(pair) != 2:
            raise ValueError(f"{name} must be a tuple of two numbers, but is {pair!r}")
        object.__setattr__(self, name, tuple(map(plain, pair)))

    def check_calibration(self) -> None:
        """Raise `ValueError` unless the parameters make sense."""
        check_positive("discount", self.discount)
        check_positive("1 - discount", 1 - self.discount)
        check_between("depreciation", self.depreciation, 0, 1, open_low=True)
        for name in ("risk_aversion", "capital_share", "hours"):
            check_positive(name, getattr(self, name))
        check_positive("1 - capital_share", 1 - self.capital_share)
        check_between("phase_duration", self.phase_duration, 1, np.inf)
        for name in ("productivity", "unemployment", "unemployment_duration", "unemployed_on_change"):
            self.check_pair(name)
        for z in (0, 1):
            check_positive(f"productivity[{z}]", self.productivity[z])
            check_between(f"unemployment[{z}]", self.unemployment[z], 0, 1)
            check_positive(f"1 - unemployment[{z}]", 1 - self.unemployment[z])
            check_between(f"unemployment_duration[{z}]", self.unemployment_duration[z], 1, np.inf)
        check_between("benefit", self.benefit, 0, np.inf)  # before it is compared with incomes, which follow from it
        check_between("benefit", self.benefit, 0, float(np.min(self.incomes()[:, 1])))
        check_rows("transition probabilities of employment", self.employment())

    def phases(self) -> Float[np.ndarray, "2 2"]:
        """The transition probabilities of the phase, [z, z']."""
        change = 1 / self.phase_duration
        return np.array([[1 - change, change], [change, 1 - change]])

    def employment(self) -> Float[np.ndarray, "2 2 2 2"]:
        """The transition probabilities of employment between phases z and z', [z, z', e, e']."""
        staying = 1 - 1 / np.array(self.unemployment_duration)
        out_of_work = np.where(np.eye(2), 1.0, self.unemployed_on_change) * staying  # [z, z'], of the unemployed
        before, after = np.array(self.unemployment)[:, None], np.array(self.unemployment)
        losing_work = (after - before * out_of_work) / (1 - before)
        return np.stack([np.stack([p, 1 - p], -1) for p in (out_of_work, losing_work)], -2)

    @property
    def steady_capital(self) -> float:
        """Capital where beta (1 + r) = 1, at mean productivity and labour."""
        cost = 1 / self.discount - 1 + self.depreciation
        ratio = (self.capital_share * np.mean(self.productivity) / cost) ** (1 / (1 - self.capital_share))
        return float(ratio * np.mean(self.labour()))

    def labour(self) -> Float[np.ndarray, "2"]:
        """Mean hours in each phase."""
        return self.hours * (1 - np.array(self.unemployment))

    def incomes(self) -> Float[np.ndarray, "2 2"]:
        """Labour income y_e, in wages, [z, e]; its mean is labour."""
        out_of_work = np.array(self.unemployment)
        taxed = self.hours - self.benefit * out_of_work / (1 - out_of_work)
        return np.stack([np.full(2, self.benefit), taxed], -1)

    def output(self, capital: Float[Array, "*shape"], phase: Phase) -> Float[Array, "*shape"]:
        """Output Y at capital K in a phase."""
        labour = jnp.asarray(self.labour())[phase]
        return jnp.asarray(self.productivity)[phase] * capital**self.capital_share * labour ** (1 - self.capital_share)

    def prices(
        self, capital: Float[Array, "*shape"], phase: Phase
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """The interest rate r, net of depreciation, and the wage w."""
        output = self.output(capital, phase)
        interest = self.capital_share * output / capital - self.depreciation
        return interest, (1 - self.capital_share) * output / jnp.asarray(self.labour())[phase]


@dataclasses.dataclass(frozen=True)
class KrusellSmithGame(SavingGame):
    """Households save in capital, and productivity and employment move together.

    State (assets a, work u), index = asset_index * 3 + u. z is the phase, 0 bad and 1 good, from either with
    probability 1/2. A household has (1 + r) a + w y_e, with prices r and w at mean assets K as in
    `KrusellSmithCalibration`, and consumes a share of it, the action; utility is the logarithm. The shares are
    geometric from `min_share` to 1. The rest is a', by lottery on the grid.

    In this economy employment e' is drawn once z' is known, but the kernel of a game knows z alone. If z were the pair
    (z, z'), the kernel could see z', but so could every best response that is said not to anticipate the noise. Instead
    u says in which phases of its period a household has work: 0 in none, 1 in the good one alone, 2 in both. The kernel
    draws u' given z and e; when z' comes, e' follows from both, with the probabilities of the economy. A household
    that knows u' beyond e' gains nothing, as later moves depend on e' alone. Each u' is possible because the bad phase
    never has the lower probability of being out of work; parameters for which it has are refused.

    On the last step the reward has the expected value after it as well, discounted: that of consuming for ever mean
    labour income at `steady_capital` and the interest 1 / discount - 1 on assets.

    At the start assets have a gamma distribution of shape 4 and mean `initial_capital` times `steady_capital`.
    Observation: (r, w), from which the public can infer K and z.

    Attributes:
        num_assets: Points of the grid of assets.
        num_actions: Shares that can be consumed.
        horizon: Steps, quarters.
        discount: Weight of the next utility relative to this one.
        max_assets: Largest assets.
        min_share: Least share consumed.
        initial_capital: Mean assets at the start, as a share of `steady_capital`.
        capital_share: Exponent of capital in production.
        depreciation: Share of capital lost in a period.
        phase_duration: Mean length of a phase.
        hours: Hours of an employed household.
        benefit: What the unemployed receive, in wages; here 15 % of hours, where the paper has none, because log
            utility is not finite for a household without assets.
    """

    num_assets: int = 100
    num_actions: int = 40
    horizon: int = 128
    discount: float = 0.99
    max_assets: float = 200.0
    min_share: float = 0.01
    initial_capital: float = 1.0
    capital_share: float = 0.36
    depreciation: float = 0.025
    phase_duration: float = 8.0
    hours: float = 0.3271
    benefit: float = 0.05

    def __post_init__(self) -> None:
        plain_fields(self)
        check_integer("num_assets", self.num_assets, at_least=2)
        check_game(self)
        check_between("min_share", self.min_share, 0, 1, open_low=True)
        check_positive("initial_capital", self.initial_capital)
        self.calibration.check_calibration()
        check_positive("benefit", self.benefit)
        self.asset_grid, self.work_chain()  # their construction checks the bounds

    @property
    def calibration(self) -> KrusellSmithCalibration:
        """The parameters in common with `economies.KrusellSmith`."""
        names = ("discount", "capital_share", "depreciation", "phase_duration", "hours", "benefit")
        given: dict[str, Any] = {name: getattr(self, name) for name in names}
        return KrusellSmithCalibration(**given)

    @property
    @override
    def num_states(self) -> int:
        """S = num_assets * 3."""
        return self.num_assets * 3

    @staticmethod
    def employed() -> Int[np.ndarray, "2 3"]:
        """Whether a household has work, [z, u]."""
        return np.array([[0, 0, 1], [0, 1, 1]])

    def work_chain(self) -> Float[np.ndarray, "2 3 3"]:
        """The transition probabilities of u given the phase, [z, u, u']."""
        out_of_work = self.calibration.employment()[..., 0]  # [z, z', e]
        bad, good = (np.take_along_axis(out_of_work[:, later], self.employed(), axis=1) for later in (0, 1))
        check_rows("transition probabilities of u", chain := np.stack([good, bad - good, 1 - bad], axis=-1))
        return chain

    @override
    def shares(self) -> Float[Array, " actions"]:
        """The share of cash on hand that each action consumes."""
        return jnp.asarray(np.geomspace(self.min_share, 1.0, self.num_actions), float)

    def prices(self, aggregate: AggregateState) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The interest rate r, net of depreciation, and the wage w."""
        capital = self.aggregates(aggregate.mean_field)[0] + 1e-6
        return self.calibration.prices(capital, aggregate.noise)

    def cash_on_hand(self, aggregate: AggregateState) -> Float[Array, " states"]:
        """Cash on hand (S,), (1 + r) a + w y_e."""
        interest, wage = self.prices(aggregate)
        incomes = np.take_along_axis(self.calibration.incomes(), self.employed(), axis=1)  # [z, u]
        earned = wage * jnp.asarray(incomes, float)[aggregate.noise]
        return ((1 + interest) * self.asset_grid.points()[:, None] + earned).ravel()

    @override
    def kernel(self, aggregate: AggregateState) -> TransitionKernel:
        """Savings go to the asset grid by lottery; then u moves by the chain of the phase."""
        index, weight = self.asset_grid.lottery(self.cash_on_hand(aggregate)[:, None] * (1 - self.shares()))
        work = KroneckerOperator(self.num_states, jnp.asarray(self.work_chain(), float)[aggregate.noise])
        return LotteryKernel(self.num_assets, index, weight) >> work

    @override
    def move_agents(self, aggregate: AggregateState, states: Agents, actions: Agents, key: PRNGKeyArray) -> Agents:
        """Savings go to a neighbouring grid point, up or down at random such that their mean is kept."""
        place, luck = jax.random.split(key)
        saved = self.cash_on_hand(aggregate)[states] * (1 - self.shares()[actions])
        chances = jnp.asarray(self.work_chain(), float)[aggregate.noise]
        return self.draw_assets(saved, place) * 3 + draw_categorical(luck, chances[states % 3])

    def terminal_values(self) -> Float[Array, " states"]:
        """The value (S,) of consuming mean labour income and the interest on assets for ever."""
        calibration = self.calibration
        rate = 1 / self.discount - 1
        ratio = (self.capital_share * np.mean(calibration.productivity) / (rate + self.depreciation)) ** (
            1 / (1 - self.capital_share)
        )
        wage = (1 - self.capital_share) * np.mean(calibration.productivity) * ratio**self.capital_share
        values = jnp.log(wage * np.mean(calibration.labour()) + rate * self.asset_grid.points())
        return jnp.repeat(values / (1 - self.discount), 3)

    @override
    def reward(self, aggregate: AggregateState, following: AggregateState) -> Float[Array, "states actions"]:
        utility = jnp.log(self.cash_on_hand(aggregate)[:, None] * self.shares())
        after = self.discount * self.kernel(aggregate).expect(self.terminal_values())
        return utility + jnp.where(self.is_last(aggregate), after, 0)

    @override
    def observe(self, aggregate: AggregateState) -> Float[Array, "2"]:
        return jnp.stack(self.prices(aggregate))

    @override
    def normalise(self, observation: Float[Array, "*batch 2"]) -> Float[Array, "*batch 2"]:
        """The logarithms of r + depreciation and w, less those of the bad phase at `steady_capital`, times ten."""
        cost = jnp.array([self.depreciation, 0.0])
        steady = jnp.stack(self.calibration.prices(jnp.asarray(self.calibration.steady_capital), 0)) + cost
        return 10 * jnp.log((observation + cost) / steady)

    @override
    def aggregates(self, mean_field: Float[Array, " states"]) -> Float[Array, "1"]:
        """Mean assets."""
        return jnp.matmul(mean_field, jnp.repeat(self.asset_grid.points(), 3), precision="highest")[None]

    @override
    def noise_chain(self) -> NoiseChain:
        return NoiseChain(np.arange(2), np.full(2, 0.5), self.calibration.phases())

    @override
    def initial_noise(self, uniform: Float[Array, ""]) -> Int[Array, ""]:
        return self.noise_chain().first(uniform)

    @override
    def next_noise(self, noise: Int[Array, ""], uniform: Float[Array, ""], time: Int[Array, ""]) -> Int[Array, ""]:
        return self.noise_chain().following(noise, uniform)

    @override
    def initial_mean_field(self, noise: Int[Array, ""]) -> Float[Array, " states"]:
        """The same in both phases, as u is: the shares out of work are those of the bad and the good phase."""
        mean = self.initial_capital * self.calibration.steady_capital
        bad, good = self.calibration.unemployment
        return jnp.asarray(
            np.outer(self.gamma_assets(mean, _INITIAL_SHAPE), [good, bad - good, 1 - bad]).ravel(), float
        )

    @override
    def quantities(self, aggregate: AggregateState) -> dict[str, Array]:
        interest, wage = self.prices(aggregate)
        return {"mean assets": self.aggregates(aggregate.mean_field)[0], "interest rate": interest, "wage": wage}

    @override
    def state_axes(self) -> list[tuple[str, GeometricGrid | np.ndarray]]:
        return [("assets", self.asset_grid), ("phases with work", np.arange(3.0))]

    @override
    def noise_label(self, noise: Any) -> str:
        return f"{float(np.mean(np.asarray(noise))):.0%} of the quarters good"

    @override
    def captions(self) -> dict[str, str]:
        return {
            "mean_field": "Look at how assets gather around their mean, and at the few households without any.",
            "policy": "Look at how little of their cash on hand rich households consume.",
            "quantities": "Look at how capital follows the phases slowly, and prices at once.",
        }
