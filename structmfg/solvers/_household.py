"""Optimal saving by the endogenous grid method (Carroll 2006, doi:10.1016/j.econlet.2005.09.013).

Where the borrowing limit does not bind, the optimal policy obeys the Euler equation

    u'(c(a, e)) = beta (1 + r) sum_e' Q(e, e') u'(c(a', e')),   u'(c) = c^-sigma.

For each a' on the grid, consumption next period gives consumption now, in closed form, and so the cash on hand at which
a' is optimal; interpolation between these points gives a' at the cash that households have. Below the first of them the
limit binds; above the last one, a' stays at the end of the grid.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from structmfg._checks import check_integer, check_positive, check_shape
from structmfg.games import Household
from structmfg.solvers._linear import LINEAR_RESULTS


class SavingSolution(NamedTuple):
    """Optimal `savings` a'(a, e) and `consumption` (n, m), float64; `result`; `stats`: see `optimal_saving`."""

    savings: Float[np.ndarray, "assets incomes"]
    consumption: Float[np.ndarray, "assets incomes"]
    result: LINEAR_RESULTS
    stats: dict[str, Any]

    @property
    def succeeded(self) -> bool:
        """Whether the policy is the one that was asked for."""
        return bool(self.result == LINEAR_RESULTS.converged)


def optimal_saving(
    household: Household,
    *,
    tolerance: float = 1e-12,
    max_steps: int = 20_000,
    initial: Float[Array | np.ndarray, "assets incomes"] | None = None,
) -> SavingSolution:
    """The optimal policy on the household's grid, in double precision whatever JAX's default.

    Args:
        household: The problem; `discount * (1 + interest)` must be below 1.
        tolerance: Of the largest relative change of consumption in one step.
        max_steps: Of the method.
        initial: Consumption (n, m) to start from, above 0 and increasing in assets; default: half of the cash on hand
            above the borrowing limit.

    Returns:
        `stats`: `residual`, the largest relative change of consumption in one step more; `steps`; `euler_error`, the
        largest |1 - c~ / c|, with c~ what the Euler equation makes of the policy, interpolated between grid points,
        where neither end of the grid binds: the error of the grid, in units of consumption (Judd 1992,
        doi:10.1016/0022-0531(92)90061-L).
    """
    check_positive("tolerance", tolerance)
    check_integer("max_steps", max_steps, at_least=1)
    household.validate()
    with jax.enable_x64(True):
        start = _start(household) if initial is None else jnp.asarray(initial, float)
        check_shape("initial", start, (household.grid.num_points, len(household.incomes)))
        savings, consumption, *figures = _solve(household, start, tolerance, max_steps)
    residual, steps, euler_error = map(float, figures)
    stats = {"residual": residual, "steps": int(steps), "euler_error": euler_error}
    return SavingSolution(np.asarray(savings), np.asarray(consumption), _judged(residual, tolerance), stats)


def _judged(residual: float, tolerance: float) -> Any:
    if not np.isfinite(residual):
        return LINEAR_RESULTS.nonfinite
    return LINEAR_RESULTS.converged if residual <= tolerance else LINEAR_RESULTS.max_steps


@jax.jit
def _start(household: Household) -> Float[Array, "assets incomes"]:
    return (household.cash - household.borrowing_limit) / 2


@jax.jit
def _solve(
    household: Household,
    start: Float[Array, "assets incomes"],
    tolerance: float | Float[Array, ""],
    max_steps: int | Int[Array, ""],
) -> tuple[Array, ...]:
    """Savings, consumption, residual, steps, Euler equation error."""

    def body(state: tuple[Array, ...]) -> tuple[Array, ...]:
        consumption, _, steps = state
        _, following = _step(household, consumption)
        return following, jnp.max(jnp.abs(following / consumption - 1)), steps + 1

    def unfinished(state: tuple[Array, ...]) -> Bool[Array, ""]:
        _, change, steps = state
        return (change > tolerance) & (steps < max_steps)

    first: tuple[Array, ...] = (start, jnp.asarray(jnp.inf, start.dtype), jnp.asarray(0))
    consumption, _, steps = lax.while_loop(unfinished, body, first)
    savings, following = _step(household, consumption)
    residual = jnp.max(jnp.abs(following / consumption - 1))
    return savings, following, residual, steps, _euler_error(household, savings)


def _step(
    household: Household, consumption: Float[Array, "assets incomes"]
) -> tuple[Float[Array, "assets incomes"], Float[Array, "assets incomes"]]:
    """Savings and consumption now, from consumption next period at every grid point."""
    assets, cash = household.assets, household.cash
    expected = consumption**-household.risk_aversion @ jnp.asarray(household.chain).T
    now = _consumption_from(household, expected)
    savings = jax.vmap(lambda x, xp: jnp.interp(x, xp, assets), in_axes=1, out_axes=1)(cash, now + assets[:, None])
    return savings, cash - savings


def _consumption_from(household: Household, expected: Array) -> Array:
    """c with u'(c) = beta (1 + r) E u'(c')."""
    return (household.discount * (1 + household.interest) * expected) ** (-1 / household.risk_aversion)


def _euler_error(household: Household, savings: Float[Array, "assets incomes"]) -> Float[Array, ""]:
    assets, consumption = household.assets, household.cash - savings
    index, weight = household.grid.lottery(savings - household.borrowing_limit)
    low, high = consumption[index], consumption[index + 1]  # (n, m, m'): at a'(a, e), for every next income
    following = low + weight[..., None] * (high - low)
    expected = jnp.einsum("ij,nij->ni", household.chain, following**-household.risk_aversion)
    error = jnp.abs(1 - _consumption_from(household, expected) / consumption)
    return jnp.max(jnp.where((savings > assets[0]) & (savings < assets[-1]), error, 0))
