"""Economies of households that save against income risk they cannot insure, without common noise.

A household of assets a and income y_e solves

    max E sum_t beta^t u(c_t),   c + a' = (1 + r) a + y_e,   a' >= b,   u(c) = c^(1 - sigma) / (1 - sigma)

(log c at sigma = 1), where e follows a Markov chain Q. Under a policy a'(a, e) the mean field over states (a, e) moves
by a two-point lottery on the asset grid and then by the chain, `LotteryKernel >> KroneckerOperator`. A stationary
equilibrium is a number x, a price or a parameter, at which the assets of the stationary mean field equal their supply.

An economy has neither time, nor common noise, nor a finite list of actions, so it is no `Game`.
"""

import abc
import dataclasses
import math
from typing import TYPE_CHECKING

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from structmfg._checks import check_between, check_integer, check_positive, check_rows, plain
from structmfg.games import rouwenhorst
from structmfg.operators import ControlledOperator, GeometricGrid, Grid, KroneckerOperator, LotteryKernel


@dataclasses.dataclass(frozen=True)
class Income:
    """A Markov chain of labour income.

    Attributes:
        levels: Income (m,) in each state at wage 1, above 0.
        transition: The probability (m, m) of each next state (second axis) given the state (first axis).
    """

    levels: tuple[float, ...]
    transition: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", tuple(map(plain, self.levels)))
        object.__setattr__(self, "transition", tuple(tuple(map(plain, row)) for row in self.transition))
        for level in self.levels:
            check_positive("every level of income", level)
        widths = [len(row) for row in self.transition]
        size = len(self.levels)
        if widths != [size] * size or not size:
            raise ValueError(f"{size} levels of income need {size} rows of {size} transitions, but rows have {widths}")
        check_rows("transition probabilities of income", np.asarray(self.transition))
        if np.linalg.matrix_rank(np.eye(size) - self.transition) < size - 1:
            raise ValueError("income must have one stationary distribution, but its chain has several closed classes")

    @classmethod
    def of_logs(cls, points: np.ndarray, transition: np.ndarray) -> "Income":
        """The chain whose income is exp(point), scaled such that its stationary mean is 1."""
        levels = np.exp(points)
        raw = cls(tuple(levels.tolist()), tuple(tuple(row) for row in np.asarray(transition).tolist()))
        return dataclasses.replace(raw, levels=tuple((levels / raw.mean).tolist()))

    @classmethod
    def rouwenhorst(cls, num_levels: int, persistence: float, deviation: float) -> "Income":
        """The chain that discretises log income as an AR(1) process by Rouwenhorst's method; its mean income is 1.

        Args:
            num_levels: m.
            persistence: The autocorrelation of log income.
            deviation: The stationary standard deviation of log income.
        """
        check_between("persistence", persistence, -1, 1)
        return cls.of_logs(*rouwenhorst(num_levels, persistence, deviation * math.sqrt(1 - persistence**2)))

    @property
    def stationary(self) -> Float[np.ndarray, " incomes"]:
        """The stationary distribution (m,)."""
        size = len(self.levels)
        system = np.vstack([np.eye(size) - np.asarray(self.transition).T, np.ones(size)])
        return np.linalg.lstsq(system, np.eye(size + 1)[-1], rcond=None)[0]

    @property
    def mean(self) -> float:
        """Mean income under the stationary distribution, which is the supply of labour."""
        return float(self.stationary @ self.levels)


class Household(eqx.Module):
    """The problem that a household solves; see the module.

    The state (a, e) has index asset_index * m + income_index.

    Attributes:
        grid: The grid of n assets less the borrowing limit, which begins at 0.
        borrowing_limit: b.
        incomes: Labour income y (m,) in each state, wage included.
        chain: Q (m, m), the transition probabilities of income.
        interest: r, a period.
        discount: beta.
        risk_aversion: sigma.
    """

    grid: Grid
    borrowing_limit: float
    incomes: Float[Array | np.ndarray, " incomes"]
    chain: Float[Array | np.ndarray, "incomes incomes"]
    interest: float
    discount: float
    risk_aversion: float

    def validate(self) -> "Household":
        """The household itself.

        Raises:
            ValueError: If it cannot afford to consume at the borrowing limit, or would save without bound.
        """
        check_positive("discount", self.discount)
        check_positive("1 + interest", 1 + self.interest)
        check_positive("risk_aversion", self.risk_aversion)
        size = len(self.incomes)
        if np.shape(self.incomes) != (size,) or np.shape(self.chain) != (size, size):
            given = f"{np.shape(self.incomes)} and {np.shape(self.chain)}"
            raise ValueError(f"incomes and chain must have shapes (m,) and (m, m), but have {given}")
        check_rows("transition probabilities of income", self.chain)
        if not self.least_spare > 0:
            raise ValueError(
                f"at the borrowing limit {self.borrowing_limit:g}, the least income {np.min(self.incomes):g} must "
                f"exceed the interest due, but at interest rate {self.interest:g} there is {self.least_spare:g} left"
            )
        if self.discount * (1 + self.interest) >= 1:
            raise ValueError(
                f"discount * (1 + interest) must be below 1, or assets grow without bound and there is no stationary "
                f"distribution, but it is {self.discount * (1 + self.interest):.10g} at discount {self.discount:.10g} "
                f"and interest rate {self.interest:.10g}"
            )
        return self

    @property
    def least_spare(self) -> float:
        """What a household of the least income can consume at the borrowing limit if it keeps its debt."""
        return self.interest * self.borrowing_limit + float(np.min(self.incomes))

    @property
    def assets(self) -> Float[Array, " assets"]:
        """The asset grid (n,), from the borrowing limit."""
        return self.borrowing_limit + self.grid.points()

    @property
    def cash(self) -> Float[Array, "assets incomes"]:
        """Cash on hand (1 + r) a + y_e, (n, m)."""
        return (1 + self.interest) * self.assets[:, None] + self.incomes

    def operator(self, savings: Float[Array | np.ndarray, "assets incomes"]) -> ControlledOperator:
        """The transition operator of the policy a'(a, e) = `savings` (n, m)."""
        return saving_operator(self.grid, jnp.asarray(savings) - self.borrowing_limit, self.chain)


def saving_operator(
    grid: Grid, savings: Float[Array, "assets incomes"], chain: Float[Array | np.ndarray, "incomes incomes"]
) -> ControlledOperator:
    """The transition operator of savings (n, m) above the borrowing limit: a lottery on the grid, then the chain."""
    index, weight = grid.lottery(savings.reshape(-1, 1))
    lottery = LotteryKernel(grid.num_points, index, weight)
    return (lottery >> KroneckerOperator(savings.size, jnp.asarray(chain))).under(jnp.ones(index.shape))


class Economy(abc.ABC):
    """An economy with one unknown x, and a market that clears at the right x: see `stationary_equilibrium`.

    Subclasses set `unknown`, the name of x, and write the abstract methods, on plain numbers.
    """

    if TYPE_CHECKING:  # read-only, so that a subclass may also derive it by a property

        @property
        def unknown(self) -> str: ...
    else:
        unknown: str

    @abc.abstractmethod
    def bracket(self) -> tuple[float, float]:
        """Two values of x between which the market clears."""

    @abc.abstractmethod
    def household(self, x: float) -> Household:
        """The problem of a household at x."""

    @abc.abstractmethod
    def supply(self, x: float) -> float:
        """The supply of assets per household at x, in units of consumption."""

    def quantities(self, x: float) -> dict[str, float]:
        """Named aggregates at x to be reported, such as prices and output."""
        return {}


class SavingEconomy(Economy):
    """An economy of households with a chain of labour income, who save on a geometric grid of assets.

    Subclasses are frozen dataclasses with the fields named here. The grid is b + geomspace(p, max - b + p, n) - p, with
    b the borrowing limit, p the pivot, and n the number of points.
    """

    risk_aversion: float
    borrowing_limit: float
    income: Income
    num_assets: int
    max_assets: float
    pivot: float

    def check_households(self) -> None:
        """Raise `ValueError` unless risk aversion and the grid of assets make sense."""
        check_positive("risk_aversion", self.risk_aversion)
        check_assets(self.num_assets, self.max_assets, self.borrowing_limit, self.pivot)

    def household_at(self, *, interest: float, wage: float, discount: float) -> Household:
        """A household at these prices; its labour income is the wage times that of the chain."""
        grid = GeometricGrid(self.num_assets, 0.0, self.max_assets - self.borrowing_limit, self.pivot)
        incomes, chain = wage * np.asarray(self.income.levels), np.asarray(self.income.transition)
        return Household(grid, self.borrowing_limit, incomes, chain, interest, discount, self.risk_aversion)

    def highest_interest(self, discount: float) -> float:
        """The end of the interest rates at which beta (1 + r) < 1 and the least income covers interest on any debt."""
        import scipy.optimize

        highest = 1 / discount - 1 - 1e-9
        if highest <= 0 or self.household(highest).least_spare > 0:
            return highest
        return scipy.optimize.brentq(lambda x: self.household(x).least_spare, 0.0, highest) - 1e-9


def check_assets(num_assets: int, max_assets: float, borrowing_limit: float, pivot: float) -> None:
    """Raise `ValueError` unless these parameters make an asset grid that begins at or below zero."""
    check_integer("num_assets", num_assets, at_least=3)
    check_positive("max_assets", max_assets)
    if not -math.inf < borrowing_limit <= 0:
        raise ValueError(f"borrowing_limit must be finite and at most 0, but is {borrowing_limit!r}")
    check_positive("pivot", pivot)
