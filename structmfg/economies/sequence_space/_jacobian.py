"""Sequence-space Jacobians of a household by the fake-news algorithm.

J[t, s] is the derivative of the output at time t in an input at time s, around a steady state. Auclert, Bardoczy,
Rognlie & Straub (2021, doi:10.3982/ECTA17434, section 3.2) get all of it from one sweep backward and one forward:

- Y_s = mu . dy_0 and D_s = dA_0^T mu, the effects today of a change of the input in s periods, by s steps backward;
- E_u = A^u y, the expectation vectors: what the household in each state is expected to choose u periods later;
- the fake-news matrix F[0, s] = Y_s, F[t, s] = E_{t-1} . D_s, and J[t, s] = F[t, s] + J[t - 1, s - 1].

Each is a product with the transition operator, or the derivative of one by JAX; there are no differences.
"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from structmfg._checks import check_integer
from structmfg.economies.sequence_space._block import HouseholdSteadyState
from structmfg.economies.sequence_space._paths import on_host, traced


def household_jacobian(
    steady: HouseholdSteadyState,
    *,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    horizon: int = 300,
) -> dict[str, dict[str, Any]]:
    """Return the Jacobians J[output][input] (T, T) of a household's mean outcomes, in double precision.

    Args:
        steady: The steady state around which it is taken.
        inputs: Names of inputs; by default all of them.
        outputs: Names of outputs; by default all of them.
        horizon: T.

    Raises:
        ValueError: If a name is no input or output of the household.
    """
    block = steady.block
    check_integer("horizon", horizon, at_least=2)
    chosen = tuple(block.inputs if inputs is None else inputs)
    wanted = tuple(block.outputs if outputs is None else outputs)
    for what, names, allowed in (("input", chosen, block.inputs), ("output", wanted, block.outputs)):
        for name in names:
            if name not in allowed:
                raise ValueError(f"{what} must be one of {', '.join(allowed)}, but is {name!r}")
    with jax.enable_x64(True):
        stacked = on_host(_jacobians(traced(steady), chosen, wanted, horizon))
    return {o: {i: stacked[k, j] for j, i in enumerate(chosen)} for k, o in enumerate(wanted)}


@eqx.filter_jit
def _jacobians(
    steady: HouseholdSteadyState, inputs: tuple[str, ...], outputs: tuple[str, ...], horizon: int
) -> Float[Array, "outputs inputs horizon horizon"]:
    today, mass_moved = _changes_today(steady, inputs, outputs, horizon)
    expected = _expectation_vectors(steady, outputs, horizon)
    later = jnp.einsum("tks,jis->kjti", expected[:-1], mass_moved, precision="highest")
    fake_news = jnp.concatenate([today[:, :, None, :], later], axis=2)
    return _accumulate(fake_news)


def _changes_today(
    steady: HouseholdSteadyState, inputs: tuple[str, ...], outputs: tuple[str, ...], horizon: int
) -> tuple[Float[Array, "outputs inputs horizon"], Float[Array, "inputs horizon states"]]:
    """Y_s and D_s: the change at time 0 of outputs and of the mass moved, if an input changes in s periods."""
    block, mass = steady.block, steady.mean_field
    values = steady.inputs
    _, backward = jax.linearize(block.backward, steady.value, values)

    def effects(choice: Any, inputs: Any) -> tuple[Array, Array]:
        outcomes = block.outcomes(choice, inputs)
        means = jnp.stack([mass @ outcomes[name] for name in outputs])
        return means, block.operator(choice, inputs).rmv(mass)

    _, change = jax.linearize(effects, steady.choice, values)
    none = jax.tree.map(jnp.zeros_like, values)
    nothing = jax.tree.map(jnp.zeros_like, steady.value)

    def of_one(now: Any) -> tuple[Array, Array]:
        value, choice = backward(nothing, now)
        first = change(choice, now)

        def step(later: Any, _: None) -> tuple[Any, tuple[Array, Array]]:
            value, choice = backward(later, none)
            return value, change(choice, none)

        _, others = lax.scan(step, value, None, length=horizon - 1)
        means, moved = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, others)
        return means.T, moved

    units = [{name: jnp.asarray(float(name == one)) for name in values} for one in inputs]
    means, moved = jax.vmap(of_one)(jax.tree.map(lambda *leaves: jnp.stack(leaves), *units))
    return jnp.swapaxes(means, 0, 1), moved


def _expectation_vectors(
    steady: HouseholdSteadyState, outputs: tuple[str, ...], horizon: int
) -> Float[Array, "horizon outputs states"]:
    """E_u less its mean, which moves of mass do not see, so that no digits are lost."""
    operator = steady.block.operator(steady.choice, steady.inputs)
    outcomes = steady.block.outcomes(steady.choice, steady.inputs)
    first = jnp.stack([outcomes[name] - steady.mean_field @ outcomes[name] for name in outputs])

    def step(vectors: Array, _: None) -> tuple[Array, Array]:
        return jax.vmap(operator.mv)(vectors), vectors

    return lax.scan(step, first, None, length=horizon)[1]


def _accumulate(fake_news: Float[Array, "outputs inputs horizon horizon"]) -> Array:
    """J[t, s] = F[t, s] + J[t - 1, s - 1]: sums along the diagonals."""

    def step(above: Array, row: Array) -> tuple[Array, Array]:
        here = row.at[..., 1:].add(above[..., :-1])
        return here, here

    rows = jnp.moveaxis(fake_news, 2, 0)
    return jnp.moveaxis(lax.scan(step, jnp.zeros_like(rows[0]), rows)[1], 0, 2)
