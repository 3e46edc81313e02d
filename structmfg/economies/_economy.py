"""Economies of households that save against uninsurable income risk, without common noise.

A household of assets a and income y_e solves

    max E sum_t beta^t u(c_t),   c + a' = (1 + r) a + y_e,   a' >= b,   u(c) = c^(1 - sigma) / (1 - sigma)

(log c at sigma = 1), and e moves by a Markov chain Q. A policy a'(a, e) moves the mean field over states (a, e): a
two-point lottery on the asset grid, then the chain, `LotteryKernel >> KroneckerOperator`. A stationary equilibrium is a
number x, a price or a parameter, at which the assets of the stationary mean field equal their supply.

An economy has no clock, no common noise and no finite list of actions, so it is no `Game`.
"""

import abc
import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jaxtyping import Array, Float

from structmfg._checks import check_between, check_integer, check_positive, check_rows, plain
from structmfg.games import rouwenhorst
from structmfg.operators import ControlledOperator, GeometricGrid, Grid, KroneckerOperator, LotteryKernel


@dataclasses.dataclass(frozen=True)
class Income:
    """A Markov chain of labour income: `levels` (m,), above 0 and with wage 1; `transition` (m, m), rows sum to 1."""

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
        """Income exp(point), scaled to mean 1 under the stationary law."""
        levels = np.exp(points)
        raw = cls(tuple(levels.tolist()), tuple(tuple(row) for row in np.asarray(transition).tolist()))
        return dataclasses.replace(raw, levels=tuple((levels / raw.mean).tolist()))

    @classmethod
    def rouwenhorst(cls, num_levels: int, persistence: float, deviation: float) -> "Income":
        """Log income an AR(1) process of this autocorrelation and stationary standard deviation; mean income 1."""
        check_between("persistence", persistence, -1, 1)
        return cls.of_logs(*rouwenhorst(num_levels, persistence, deviation * math.sqrt(1 - persistence**2)))

    @property
    def stationary(self) -> Float[np.ndarray, " incomes"]:
        """The stationary law (m,)."""
        size = len(self.levels)
        system = np.vstack([np.eye(size) - np.asarray(self.transition).T, np.ones(size)])
        return np.linalg.lstsq(system, np.eye(size + 1)[-1], rcond=None)[0]

    @property
    def mean(self) -> float:
        """Mean income under the stationary law: the supply of labour."""
        return float(self.stationary @ self.levels)


class Household(eqx.Module):
    """The problem that households solve; see the module. State (a, e) has index asset_index * m + income_index.

    `grid`: of n assets less the borrowing limit b, from 0. `incomes` y (m,), wage included; `chain` Q (m, m).
    """

    grid: Grid
    borrowing_limit: float
    incomes: Float[Array | np.ndarray, " incomes"]
    chain: Float[Array | np.ndarray, "incomes incomes"]
    interest: float
    discount: float
    risk_aversion: float

    def validate(self) -> "Household":
        """The household itself. `ValueError` unless it can afford to consume, and does not save without bound."""
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
        """What the least income leaves to consume at the borrowing limit, if the debt is kept."""
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
        """The transition operator of the policy a'(a, e) = `savings` (n, m): a lottery, then the chain of income."""
        index, weight = self.grid.lottery(jnp.asarray(savings).reshape(-1, 1) - self.borrowing_limit)
        move = LotteryKernel(self.grid.num_points, index, weight)
        return (move >> KroneckerOperator(savings.size, jnp.asarray(self.chain))).under(jnp.ones(index.shape))


class Economy(abc.ABC):
    """What a stationary equilibrium is sought for: one unknown x, and a market that clears at it.

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
        """The assets per household that are there to be held at x, in units of consumption."""

    def quantities(self, x: float) -> dict[str, float]:
        """Named aggregates at x worth reporting: prices, output."""
        return {}


def make_household(
    income: Income,
    *,
    num_assets: int,
    max_assets: float,
    borrowing_limit: float,
    pivot: float,
    interest: float,
    wage: float,
    discount: float,
    risk_aversion: float,
) -> Household:
    """A household of labour income wage * income, on a grid of assets b + geomspace(p, max - b + p, n) - p."""
    grid = GeometricGrid(num_assets, 0.0, max_assets - borrowing_limit, pivot)
    incomes = wage * np.asarray(income.levels)
    chain = np.asarray(income.transition)
    return Household(grid, borrowing_limit, incomes, chain, interest, discount, risk_aversion)


def plain_fields(economy: Any) -> None:
    """Makes Python's of the numbers that a frozen dataclass was given: NumPy's and JAX's cannot be compiled in."""
    for field in dataclasses.fields(economy):
        object.__setattr__(economy, field.name, plain(getattr(economy, field.name)))


def check_assets(num_assets: int, max_assets: float, borrowing_limit: float, pivot: float) -> None:
    """Raise `ValueError` unless these parameters make an asset grid that begins at or below zero."""
    check_integer("num_assets", num_assets, at_least=3)
    check_positive("max_assets", max_assets)
    if not -math.inf < borrowing_limit <= 0:
        raise ValueError(f"borrowing_limit must be finite and at most 0, but is {borrowing_limit!r}")
    check_positive("pivot", pivot)


def most_interest(household: Callable[[float], Household], discount: float) -> float:
    """The end of the interest rates at which beta (1 + r) < 1, and the least income covers interest on any debt."""
    most = 1 / discount - 1 - 1e-9
    if most <= 0 or household(most).least_spare > 0:
        return most
    return scipy.optimize.brentq(lambda x: household(x).least_spare, 0.0, most) - 1e-9
