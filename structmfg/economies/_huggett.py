"""`Huggett`: households trade a riskless bond, and the interest rate clears its market (Huggett 1993).

Huggett (1993), doi:10.1016/0165-1889(93)90024-M.
"""

import dataclasses
from typing import ClassVar

from typing_extensions import override

from structmfg._checks import check_between, plain_fields
from structmfg.economies._economy import Household, Income, SavingEconomy


@dataclasses.dataclass(frozen=True)
class Huggett(SavingEconomy):
    """The unknown is the interest rate r a period, at which households hold `bond_supply`.

    Incomes are endowments, in units of consumption. `bond_supply` must exceed the borrowing limit: at a supply equal to
    it, every low enough rate would clear the market. See `Income` for the chain, and `SavingEconomy` for the grid.
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
        self.check_households()
        check_between("bond_supply", self.bond_supply, self.borrowing_limit, self.max_assets, open_low=True)

    @override
    def bracket(self) -> tuple[float, float]:
        """From -20 % a period to the interest rate at which saving has no bound."""
        return -0.2, self.highest_interest(self.discount)

    @override
    def household(self, x: float) -> Household:
        return self.household_at(interest=x, wage=1.0, discount=self.discount)

    @override
    def supply(self, x: float) -> float:
        return float(self.bond_supply)
