"""`Aiyagari`: households' assets are the capital of firms, Y = Z K^alpha L^(1 - alpha) (Aiyagari 1994).

Firms pay the marginal products: r + delta = alpha Y / K and w = (1 - alpha) Y / L. Labour L is mean income at wage 1.
Aiyagari (1994), doi:10.2307/2118417.
"""

import dataclasses
from typing import ClassVar

from structmfg._checks import check_between, check_positive
from structmfg.economies._economy import (
    Economy,
    Household,
    Income,
    check_assets,
    make_household,
    most_interest,
    plain_fields,
)


@dataclasses.dataclass(frozen=True)
class Aiyagari(Economy):
    """The unknown is the interest rate r a period, at which households hold the capital K that firms use.

    The defaults are one of Aiyagari's cases, a period being a year: log income of persistence 0.6 and deviation 0.2.
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
        _check_common(self)

    def bracket(self) -> tuple[float, float]:
        """From where capital costs a tenth of its depreciation to where saving has no bound."""
        return -0.9 * self.depreciation, most_interest(self.household, self.discount)

    def household(self, x: float) -> Household:
        """At interest rate x, and the wage that goes with it."""
        return _household(self, interest=x, wage=self.quantities(x)["wage"], discount=self.discount)

    def supply(self, x: float) -> float:
        """The capital that firms use at interest rate x."""
        check_positive("interest + depreciation", x + self.depreciation)
        ratio = (self.capital_share * self.productivity / (x + self.depreciation)) ** (1 / (1 - self.capital_share))
        return ratio * self.income.mean

    def quantities(self, x: float) -> dict[str, float]:
        """Interest rate, wage, capital, output."""
        capital, labour = self.supply(x), self.income.mean
        output = self.productivity * capital**self.capital_share * labour ** (1 - self.capital_share)
        return {"interest": x, "wage": (1 - self.capital_share) * output / labour, "capital": capital, "output": output}


@dataclasses.dataclass(frozen=True)
class AiyagariCalibration(Economy):
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
        _check_common(self)

    def bracket(self) -> tuple[float, float]:
        """From where consumption would halve in a period, without risk, or sooner, to where saving has no bound."""
        most = 1 / (1 + self.interest)
        return most / 2 ** max(1.0, self.risk_aversion), most - 1e-9

    def household(self, x: float) -> Household:
        """With discount factor x, at the prices of the targets."""
        return _household(self, interest=self.interest, wage=self.quantities(x)["wage"], discount=x)

    def supply(self, x: float) -> float:
        """The capital that firms use."""
        return self.capital_share * self.output / (self.interest + self.depreciation)

    def quantities(self, x: float) -> dict[str, float]:
        """Interest rate, wage, capital, output, productivity."""
        capital, labour = self.supply(x), self.income.mean
        return {
            "interest": self.interest,
            "wage": (1 - self.capital_share) * self.output / labour,
            "capital": capital,
            "output": self.output,
            "productivity": self.output / (capital**self.capital_share * labour ** (1 - self.capital_share)),
        }

    def economy(self, discount: float) -> Aiyagari:
        """The economy with this discount factor, whose equilibrium, if it is the one found, meets the targets."""
        shared = {field.name for field in dataclasses.fields(Aiyagari)} & {f.name for f in dataclasses.fields(self)}
        productivity = self.quantities(discount)["productivity"]
        return Aiyagari(discount=discount, productivity=productivity, **{name: getattr(self, name) for name in shared})


def _check_common(economy: Aiyagari | AiyagariCalibration) -> None:
    check_positive("risk_aversion", economy.risk_aversion)
    check_positive("capital_share", economy.capital_share)
    check_positive("1 - capital_share", 1 - economy.capital_share)
    check_assets(economy.num_assets, economy.max_assets, economy.borrowing_limit, economy.pivot)


def _household(economy: Aiyagari | AiyagariCalibration, *, interest: float, wage: float, discount: float) -> Household:
    return make_household(
        economy.income,
        num_assets=economy.num_assets,
        max_assets=economy.max_assets,
        borrowing_limit=economy.borrowing_limit,
        pivot=economy.pivot,
        interest=interest,
        wage=wage,
        discount=discount,
        risk_aversion=economy.risk_aversion,
    )
