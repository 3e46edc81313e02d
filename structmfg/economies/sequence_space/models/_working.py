"""`WorkingBlock`: a household who saves in one asset and chooses how long to work, along paths of prices."""

from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float
from typing_extensions import override

from structmfg._checks import check_positive
from structmfg.economies._economy import Household, saving_operator
from structmfg.economies._endogenous_grid import consumption_at, consumption_before_chain
from structmfg.economies.sequence_space._block import HouseholdBlock, Inputs
from structmfg.economies.sequence_space._paths import AnyArray
from structmfg.economies.sequence_space._saving import last_at_most
from structmfg.operators import ControlledOperator, Grid

Matrix = Float[AnyArray, "assets incomes"]

_LAST_CHANGE = 1e-8  # of a step of Newton's method, relative: the error after the next is about its square
_MAX_STEPS = 50


class Work(NamedTuple):
    """What a household chooses in each state, (n, m) each: savings a', consumption c and hours."""

    savings: Matrix
    consumption: Matrix
    hours: Matrix


class WorkingBlock(HouseholdBlock):
    """A household who saves in one asset and works, by the endogenous grid method.

    With assets a and skill e it solves, along paths of r, w, T, beta and phi,

        max E sum_t (beta_0 ... beta_{t-1}) (c_t^(1 - sigma) / (1 - sigma) - phi_t h_t^(1 + 1/nu) / (1 + 1/nu)),
        c_t + a_{t+1} = (1 + r_t) a_t + e w_t h_t + e T_t,   a_{t+1} >= b.

    h are hours, and e h is labour. v_t = (1 + r_t)^(-1/sigma) c_t, as in `SavingBlock`. Consumption and hours are
    interpolated between the points of the endogenous grid, at which e w c^-sigma = phi h^(1/nu); where an end of the
    asset grid binds, this equation is solved with the budget. The state (a, e) has index asset_index * m + skill_index.

    Attributes:
        grid: The grid of n assets less the borrowing limit, which begins at 0.
        borrowing_limit: b.
        skills: e (m,).
        chain: Q (m, m), the transition probabilities of skill.
        risk_aversion: sigma, the inverse of the elasticity of intertemporal substitution.
        frisch: nu, the Frisch elasticity of labour supply.
    """

    grid: Grid
    borrowing_limit: float
    skills: Float[AnyArray, " incomes"]
    chain: Float[AnyArray, "incomes incomes"]
    risk_aversion: float
    frisch: float

    inputs: ClassVar[tuple[str, ...]] = ("interest", "wage", "transfer", "discount", "disutility")
    outputs: ClassVar[tuple[str, ...]] = ("savings", "consumption", "labour")

    def __check_init__(self) -> None:
        check_positive("risk_aversion", self.risk_aversion)
        check_positive("frisch", self.frisch)

    @property
    def assets(self) -> Float[AnyArray, " assets"]:
        """The asset grid (n,), from the borrowing limit."""
        return self.borrowing_limit + self.grid.points()

    def _hours(self, consumption: Float[AnyArray, "*assets incomes"], inputs: Inputs) -> Any:
        """The hours at which an hour more is worth its disutility."""
        reward = inputs["wage"] * jnp.asarray(self.skills) / inputs["disutility"]
        return reward**self.frisch * consumption ** (-self.risk_aversion * self.frisch)

    def _static(self, spending: Float[AnyArray, "assets *incomes"], inputs: Inputs) -> Matrix:
        """Consumption where c - e w h - e T, which must come out of assets, is given."""
        skills = jnp.asarray(self.skills)
        most = skills * inputs["wage"] * self._hours(jnp.ones_like(skills), inputs)
        return static_consumption(most, spending + skills * inputs["transfer"], self.risk_aversion * self.frisch)

    @override
    def backward(self, later: Matrix, inputs: Inputs) -> tuple[Matrix, Work]:
        assets, skills, sigma = self.assets, jnp.asarray(self.skills), self.risk_aversion
        wage, transfer = inputs["wage"] * skills, inputs["transfer"] * skills
        before = consumption_before_chain(later, jnp.asarray(self.chain), inputs["discount"], sigma)
        spent = before - wage * self._hours(before, inputs) - transfer  # out of (1 + r) a, beside a'
        wealth = jnp.broadcast_to((1 + inputs["interest"]) * assets[:, None], before.shape)
        position = last_at_most(spent + assets[:, None], wealth)
        found = consumption_at(wealth, spent, assets, position)
        columns = jnp.arange(len(skills))
        lower, upper = before[found.interval, columns], before[found.interval + 1, columns]
        binds = (position < 0) | (position > len(assets) - 2)
        static = self._static(found.consumption, inputs)
        consumption = jnp.where(binds, static, lower + found.weight * (upper - lower))
        hours = (consumption - found.consumption - transfer) / wage
        value = (1 + inputs["interest"]) ** (-1 / sigma) * consumption
        return value, Work(wealth - found.consumption, consumption, hours)

    @override
    def operator(self, choice: Work, inputs: Inputs) -> ControlledOperator:
        return saving_operator(self.grid, choice.savings - self.borrowing_limit, self.chain)

    @override
    def outcomes(self, choice: Work, inputs: Inputs) -> dict[str, Float[AnyArray, " states"]]:
        labour = jnp.asarray(self.skills) * choice.hours
        named = {"savings": choice.savings, "consumption": choice.consumption, "labour": labour}
        return {name: outcome.reshape(-1) for name, outcome in named.items()}

    @override
    def first_value(self, inputs: Inputs, near: Matrix | None = None) -> Matrix:
        """From `near`, or from a household that keeps its assets."""
        if near is not None:
            return near
        consumption = self._static(inputs["interest"] * self.assets[:, None], inputs)
        return (1 + inputs["interest"]) ** (-1 / self.risk_aversion) * consumption

    @override
    def check_inputs(self, inputs: dict[str, float]) -> None:
        check_positive("wage", inputs["wage"])
        check_positive("disutility", inputs["disutility"])
        incomes = inputs["wage"] * np.asarray(self.skills)  # without debt, so that only income and prices are checked
        Household(
            self.grid, 0.0, incomes, self.chain, inputs["interest"], inputs["discount"], self.risk_aversion
        ).validate()


def static_consumption(scale: Any, spending: Any, power: Any) -> Any:
    """Solve c - scale c^-power = spending for c > 0, by Newton's method; the derivative is that of the solution.

    The left side increases and is concave, so that Newton's method rises to the solution from any point below it. In
    x = c / k, k = scale^(1 / (1 + power)), the equation is x - x^-power = spending / k. Only the last step is
    differentiated, with the point before it held fixed: at the solution, this is the implicit function theorem.
    """
    unit = scale ** (1 / (1 + power))
    target = spending / unit
    known, fixed = lax.stop_gradient(target), lax.stop_gradient(power)
    start = jnp.where(known >= 0, jnp.maximum(known, 1), (1 + jnp.maximum(-known, 0)) ** (-1 / fixed))

    def step(x: Any, target: Any, power: Any) -> Any:
        inverse = x**-power
        return x - (x - inverse - target) / (1 + power * inverse / x)

    def once(here: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        x = step(here[0], known, fixed)
        return x, jnp.max(jnp.abs(x / here[0] - 1)), here[2] + 1

    def goes_on(here: tuple[Any, Any, Any]) -> Any:
        return (here[1] > _LAST_CHANGE) & (here[2] < _MAX_STEPS)

    before, _, _ = lax.while_loop(goes_on, once, (start, jnp.asarray(1.0, start.dtype), 0))
    return unit * step(before, target, power)
