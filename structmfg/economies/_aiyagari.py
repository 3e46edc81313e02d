"""`Aiyagari`: households' assets are the capital of firms, Y = Z K^alpha L^(1 - alpha) (Aiyagari 1994).

Firms pay the marginal products: r + delta = alpha Y / K and w = (1 - alpha) Y / L. Labour L is mean income at wage 1.
Aiyagari (1994), doi:10.2307/2118417.
"""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from structmfg._checks import check_between, check_positive, plain_fields
from structmfg.economies._economy import Household, Income, SavingEconomy


class _EconomyWithFirms(SavingEconomy):
    """What `Aiyagari` and `AiyagariCalibration` share: production, and the wage that it pays."""

    if TYPE_CHECKING:

        @property
        def capital_share(self) -> float: ...

    def _check_parameters(self) -> None:
        check_positive("capital_share", self.capital_share)
        check_positive("1 - capital_share", 1 - self.capital_share)
        self.check_households()

    def _quantities(self, interest: float, capital: float, output: float) -> dict[str, float]:
        wage = (1 - self.capital_share) * output / self.income.mean
        return {"interest": interest, "wage": wage, "capital": capital, "output": output}


@dataclasses.dataclass(frozen=True)
class Aiyagari(_EconomyWithFirms):
    """The unknown is the interest rate r a period, at which households hold the capital K that firms use.

    The defaults are one of Aiyagari's cases. A period is a year; log income has persistence 0.6 and deviation 0.2.
    """

    discount: float = 0.96
    risk_aversion: float = 3.0
    capital_share: float = 0.36
    depreciation: float = 0.08
    productivity: float = 1.0
    borrowing_limit: float = 0.0
    income: Income = Income.rouwenhorst(7, 0.6, 0.2)  # noqa: RUF009 (immutable)
    num_assets: int = 300
    max_assets: float = 200.0
    pivot: float = 0.25

    unknown: ClassVar[str] = "interest rate"

    def __post_init__(self) -> None:
        plain_fields(self)
        check_between("discount", self.discount, 0, 1, open_low=True)
        check_between("depreciation", self.depreciation, 0, 1, open_low=True)
        check_positive("productivity", self.productivity)
        self._check_parameters()

    @override
    def bracket(self) -> tuple[float, float]:
        """From an interest rate of -0.9 times depreciation to the one at which saving has no bound."""
        return -0.9 * self.depreciation, self.highest_interest(self.discount)

    @override
    def household(self, x: float) -> Household:
        return self.household_at(interest=x, wage=self.quantities(x)["wage"], discount=self.discount)

    @override
    def supply(self, x: float) -> float:
        """The capital that firms use at interest rate x."""
        check_positive("interest + depreciation", x + self.depreciation)
        ratio = (self.capital_share * self.productivity / (x + self.depreciation)) ** (1 / (1 - self.capital_share))
        return ratio * self.income.mean

    @override
    def quantities(self, x: float) -> dict[str, float]:
        capital = self.supply(x)
        output = self.productivity * capital**self.capital_share * self.income.mean ** (1 - self.capital_share)
        return self._quantities(x, capital, output)


@dataclasses.dataclass(frozen=True)
class AiyagariCalibration(_EconomyWithFirms):
    """The unknown is the discount factor beta, at which an Aiyagari economy has this interest rate and output.

    Capital and productivity follow from the targets: K = alpha Y / (r + delta), Z = Y / (K^alpha L^(1 - alpha)).
    """

    interest: float = 0.01
    output: float = 1.0
    risk_aversion: float = 1.0
    capital_share: float = 0.11
    depreciation: float = 0.025
    borrowing_limit: float = 0.0
    income: Income = Income.rouwenhorst(7, 0.966, 0.5)  # noqa: RUF009 (immutable)
    num_assets: int = 500
    max_assets: float = 200.0
    pivot: float = 0.25

    unknown: ClassVar[str] = "discount"

    def __post_init__(self) -> None:
        plain_fields(self)
        check_between("depreciation", self.depreciation, 0, 1)
        check_positive("interest + depreciation", self.interest + self.depreciation)
        check_positive("output", self.output)
        self._check_parameters()

    @override
    def bracket(self) -> tuple[float, float]:
        """From a discount at which consumption, without risk, would at least halve in a period to unbounded saving."""
        highest = 1 / (1 + self.interest)
        return highest / 2 ** max(1.0, self.risk_aversion), highest - 1e-9

    @override
    def household(self, x: float) -> Household:
        return self.household_at(interest=self.interest, wage=self.quantities(x)["wage"], discount=x)

    @override
    def supply(self, x: float) -> float:
        return self.capital_share * self.output / (self.interest + self.depreciation)

    @override
    def quantities(self, x: float) -> dict[str, float]:
        capital = self.supply(x)
        productivity = self.output / (capital**self.capital_share * self.income.mean ** (1 - self.capital_share))
        return {**self._quantities(self.interest, capital, self.output), "productivity": productivity}

    def economy(self, discount: float) -> Aiyagari:
        """The Aiyagari economy with this discount factor; with the one that clears the market, it meets the targets."""
        shared = {field.name for field in dataclasses.fields(Aiyagari)} & {f.name for f in dataclasses.fields(self)}
        productivity = self.quantities(discount)["productivity"]
        return Aiyagari(discount=discount, productivity=productivity, **{name: getattr(self, name) for name in shared})
