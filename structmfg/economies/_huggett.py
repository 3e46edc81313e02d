"""`Huggett`: households trade a riskless bond, and the interest rate clears its market (Huggett 1993).

Huggett (1993), doi:10.1016/0165-1889(93)90024-M.
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
class Huggett(Economy):
    """The unknown is the interest rate r a period, at which households hold `bond_supply`.

    Incomes are endowments, in units of consumption. At a supply equal to the borrowing limit, every low enough rate
    would clear the market; it must be larger. See `Income` for the chain, and `Household` for the asset grid,
    borrowing_limit + geomspace(pivot, max_assets - borrowing_limit + pivot, num_assets) - pivot.
    """

    discount: float = 0.98
    risk_aversion: float = 2.0
    bond_supply: float = 5.6
    borrowing_limit: float = 0.0
    income: Income = Income.rouwenhorst(3, 0.966, 0.5)  # noqa: RUF009 (immutable)
    num_assets: int = 200
    max_assets: float = 50.0
    pivot: float = 0.25

    unknown: ClassVar[str] = "interest rate"

    def __post_init__(self) -> None:
        plain_fields(self)
        check_between("discount", self.discount, 0, 1, open_low=True)
        check_positive("risk_aversion", self.risk_aversion)
        check_assets(self.num_assets, self.max_assets, self.borrowing_limit, self.pivot)
        check_between("bond_supply", self.bond_supply, self.borrowing_limit, self.max_assets, open_low=True)

    def bracket(self) -> tuple[float, float]:
        """From -20 % a period to where saving has no bound."""
        return -0.2, most_interest(self.household, self.discount)

    def household(self, x: float) -> Household:
        """At interest rate x, with wage 1."""
        return make_household(
            self.income,
            num_assets=self.num_assets,
            max_assets=self.max_assets,
            borrowing_limit=self.borrowing_limit,
            pivot=self.pivot,
            interest=x,
            wage=1.0,
            discount=self.discount,
            risk_aversion=self.risk_aversion,
        )

    def supply(self, x: float) -> float:
        """`bond_supply`."""
        return float(self.bond_supply)
