"""`SavingBlock`: the household of `structmfg.economies`, who saves in one asset, along paths of prices."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int
from typing_extensions import override

from structmfg._checks import check_positive
from structmfg.economies._economy import Household, saving_operator
from structmfg.economies._endogenous_grid import consumption_at, consumption_before_chain
from structmfg.economies.sequence_space._block import HouseholdBlock, Inputs
from structmfg.economies.sequence_space._paths import AnyArray
from structmfg.operators import ControlledOperator, Grid

Matrix = Float[AnyArray, "assets incomes"]


class SavingBlock(HouseholdBlock):
    """A household who saves in one asset, by the endogenous grid method.

    With assets a and income state e it solves, along paths of r, w, T and beta,

        max E sum_t (beta_0 ... beta_{t-1}) u(c_t),   c_t + a_{t+1} = (1 + r_t) a_t + w_t y(e) + T_t,   a_{t+1} >= b.

    v_t = (1 + r_t)^(-1/sigma) c_t, the consumption whose marginal utility is the
    marginal value of assets. The state (a, e) has index asset_index * m + income_index.

    Attributes:
        grid: The grid of n assets less the borrowing limit, which begins at 0.
        borrowing_limit: b.
        levels: y (m,), labour income in each state at wage 1.
        chain: Q (m, m), the transition probabilities of income.
        risk_aversion: sigma.
    """

    grid: Grid
    borrowing_limit: float
    levels: Float[AnyArray, " incomes"]
    chain: Float[AnyArray, "incomes incomes"]
    risk_aversion: float

    inputs: ClassVar[tuple[str, ...]] = ("interest", "wage", "transfer", "discount")
    outputs: ClassVar[tuple[str, ...]] = ("savings", "consumption")

    def __check_init__(self) -> None:
        check_positive("risk_aversion", self.risk_aversion)

    @classmethod
    def of(cls, household: Household, wage: float = 1.0) -> "SavingBlock":
        """The household whose labour income `household.incomes` is what it earns at this wage."""
        levels, chain = np.asarray(household.incomes, float) / wage, np.asarray(household.chain, float)
        return cls(household.grid, household.borrowing_limit, levels, chain, household.risk_aversion)

    def household(self, inputs: dict[str, float]) -> Household:
        """The problem of the household under constant inputs."""
        incomes = inputs["wage"] * np.asarray(self.levels) + inputs["transfer"]
        return Household(
            self.grid, self.borrowing_limit, incomes, self.chain, inputs["interest"], inputs["discount"],
            self.risk_aversion,
        )  # fmt: skip

    @property
    def assets(self) -> Float[Array, " assets"]:
        """The asset grid (n,), from the borrowing limit."""
        return self.borrowing_limit + self.grid.points()

    def _cash(self, inputs: Inputs) -> Matrix:
        incomes = inputs["wage"] * jnp.asarray(self.levels) + inputs["transfer"]
        return (1 + inputs["interest"]) * self.assets[:, None] + incomes

    @override
    def backward(self, later: Matrix, inputs: Inputs) -> tuple[Matrix, Matrix]:
        """The choice is savings a'(a, e) (n, m)."""
        assets, cash = self.assets, self._cash(inputs)
        chain, sigma = jnp.asarray(self.chain), self.risk_aversion
        before = consumption_before_chain(later, chain, inputs["discount"], sigma)
        position = last_at_most(before + assets[:, None], cash)
        consumption = consumption_at(cash, before, assets, position).consumption
        # Who cannot pay back what the limit allows has no choice: nan, so that no status calls such a path a solution.
        consumption = jnp.where((cash > assets[0]) & (1 + inputs["interest"] > 0), consumption, jnp.nan)
        return (1 + inputs["interest"]) ** (-1 / sigma) * consumption, cash - consumption

    @override
    def operator(self, choice: Matrix, inputs: Inputs) -> ControlledOperator:
        return saving_operator(self.grid, choice - self.borrowing_limit, self.chain)

    @override
    def outcomes(self, choice: Matrix, inputs: Inputs) -> dict[str, Float[Array, " states"]]:
        consumption = self._cash(inputs) - choice
        return {"savings": choice.reshape(-1), "consumption": consumption.reshape(-1)}

    @override
    def first_value(self, inputs: Inputs, near: Matrix | None = None) -> Matrix:
        """From the policy that `optimal_saving` finds by Newton's method, which one step reproduces to rounding."""
        from structmfg.economies._optimal_saving import optimal_saving

        household = self.household(inputs)
        return (1 + household.interest) ** (-1 / household.risk_aversion) * optimal_saving(household).consumption

    @override
    def check_inputs(self, inputs: dict[str, float]) -> None:
        self.household(inputs).validate()


def last_at_most(points: Matrix, values: Float[Array, "values incomes"]) -> Int[Array, "values incomes"]:
    """The index, in each column, of the last of the increasing `points` that is at most a value, or -1."""

    def search(at: Array, x: Array) -> Array:
        return jnp.searchsorted(at, x, side="right")

    return jax.vmap(search, in_axes=1, out_axes=1)(lax.stop_gradient(points), lax.stop_gradient(values)) - 1
