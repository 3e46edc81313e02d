"""The economies of `structmfg.economies` in sequence space: `CapitalEconomy` (Aiyagari), `BondEconomy` (Huggett)."""

from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from typing_extensions import override

from structmfg.economies._aiyagari import Aiyagari, AiyagariCalibration
from structmfg.economies._economy import Economy
from structmfg.economies._huggett import Huggett
from structmfg.economies._stationary_equilibrium import StationaryEquilibrium
from structmfg.economies.sequence_space._block import HouseholdBlock
from structmfg.economies.sequence_space._economy import (
    Equations,
    HouseholdFunction,
    SequenceEconomy,
    SequenceSteadyState,
    steady_state,
)
from structmfg.economies.sequence_space._paths import Paths
from structmfg.economies.sequence_space._saving import SavingBlock


class CapitalEconomy(SequenceEconomy):
    """Households' assets are the capital of firms: the economy of Krusell and Smith (1998), to first order in Z.

    Y_t = Z_t K_{t-1}^alpha L^(1 - alpha), r_t + delta = alpha Y_t / K_{t-1}, w_t = (1 - alpha) Y_t / L. Paths:
    productivity Z and discount are given, capital K_t, at the end of the period, is unknown.

    Attributes:
        household: Who saves.
        capital_share: alpha.
        depreciation: delta.
        labour: L.
    """

    household: SavingBlock
    capital_share: float
    depreciation: float
    labour: float = 1.0

    exogenous: ClassVar[tuple[str, ...]] = ("productivity", "discount")
    unknowns: ClassVar[tuple[str, ...]] = ("capital",)

    @property
    @override
    def households(self) -> dict[str, HouseholdBlock]:
        return {"household": self.household}

    @override
    def residuals(self, paths: Paths, households: Mapping[str, HouseholdFunction]) -> Equations:
        used, capital = paths.lag("capital"), paths["capital"]
        output = paths["productivity"] * used**self.capital_share * self.labour ** (1 - self.capital_share)
        interest = self.capital_share * output / used - self.depreciation
        wage = (1 - self.capital_share) * output / self.labour
        found = households["household"](interest=interest, wage=wage, transfer=0.0, discount=paths["discount"])
        reported = {
            "output": output,
            "consumption": found["consumption"],
            "investment": capital - (1 - self.depreciation) * used,
            "interest": interest,
            "wage": wage,
        }
        return {"asset_market": found["savings"] - capital}, reported


class BondEconomy(SequenceEconomy):
    """Households trade a bond (Huggett 1993). Its interest rate for period t clears the market of period t - 1.

    Paths: bond supply B_t, income (the wage that scales endowments) and discount are given; interest r_t is unknown,
    and r_0 was agreed before the shock. A transfer T_t = outside + B_t - (1 + r_t) B_{t-1} to every household keeps the
    budget of the issuer: without it, a higher interest rate would make households richer for ever, and no path would
    return. Where the supply is large against income, even so no path may return (see `winding_number`): a higher rate
    moves income from poor households, who pay for it, to rich ones, who save it, and asks for a still higher rate.

    Attributes:
        household: Who saves.
        outside: What the issuer gets from outside each period; in the stationary equilibrium it pays the interest.
    """

    household: SavingBlock
    outside: float

    exogenous: ClassVar[tuple[str, ...]] = ("bond_supply", "income", "discount")
    unknowns: ClassVar[tuple[str, ...]] = ("interest",)

    @property
    @override
    def households(self) -> dict[str, HouseholdBlock]:
        return {"household": self.household}

    @override
    def residuals(self, paths: Paths, households: Mapping[str, HouseholdFunction]) -> Equations:
        interest, supply = paths["interest"], paths["bond_supply"]
        transfer = self.outside + supply - (1 + interest) * paths.lag("bond_supply")
        found = households["household"](
            interest=interest, wage=paths["income"], transfer=transfer, discount=paths["discount"]
        )
        agreed = interest[:1] - paths.lag("interest")[:1]
        market = jnp.concatenate([agreed, (found["savings"] - supply)[:-1]])
        return {"bond_market": market}, {"consumption": found["consumption"], "transfer": transfer}


def in_sequence_space(economy: Economy, equilibrium: StationaryEquilibrium) -> SequenceSteadyState:
    """Return the steady state in sequence space that a stationary equilibrium is; its `economy` is the economy there.

    Args:
        economy: A `Huggett`, `Aiyagari` or `AiyagariCalibration`.
        equilibrium: From `stationary_equilibrium(economy)`.

    Raises:
        ValueError: If the economy is of another kind, which needs a `SequenceEconomy` of its own, or the equilibrium is
            that of another economy.
    """
    household = equilibrium.household
    expected = economy.household(equilibrium.unknown)
    for name in ("interest", "discount", "risk_aversion", "borrowing_limit", "incomes", "chain"):
        given, own = np.asarray(getattr(household, name), float), np.asarray(getattr(expected, name), float)
        if given.shape != own.shape or not np.allclose(given, own, rtol=1e-9, atol=1e-12):
            raise ValueError(f"the equilibrium must be that of this economy, but its households have another {name}")
    if isinstance(economy, AiyagariCalibration):
        economy = economy.economy(equilibrium.unknown)
    if isinstance(economy, Aiyagari):
        at = economy.quantities(household.interest)
        block = SavingBlock.of(household, at["wage"])
        capital = CapitalEconomy(block, economy.capital_share, economy.depreciation, economy.income.mean)
        values = {"productivity": economy.productivity, "discount": household.discount, "capital": at["capital"]}
        return steady_state(capital, values, tolerance=1e-7)
    if isinstance(economy, Huggett):
        values = {"bond_supply": economy.bond_supply, "income": 1.0, "discount": economy.discount}
        values["interest"] = equilibrium.unknown
        bonds = BondEconomy(SavingBlock.of(household), equilibrium.unknown * economy.bond_supply)
        return steady_state(bonds, values, tolerance=1e-7)
    raise ValueError(
        f"economy must be Huggett, Aiyagari or AiyagariCalibration, but is {type(economy).__name__}; others need a "
        "SequenceEconomy"
    )
