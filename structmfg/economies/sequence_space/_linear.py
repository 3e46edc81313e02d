"""The linear response of an economy in general equilibrium, from the Jacobians of its households.

With U the unknown paths and Z the exogenous ones, the residuals H(U, Z) = 0 give dU = -H_U^-1 H_Z dZ. The equations are
differentiated by JAX with each household replaced by its steady state plus its Jacobians times the change of its
inputs (Auclert, Bardoczy, Rognlie & Straub 2021, doi:10.3982/ECTA17434, section 4).
"""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from structmfg._checks import check_integer
from structmfg.economies.sequence_space._block import HouseholdSteadyState
from structmfg.economies.sequence_space._economy import SequenceEconomy, SequenceSteadyState, equations
from structmfg.economies.sequence_space._jacobian import household_jacobian
from structmfg.economies.sequence_space._paths import AnyArray, Paths, double_precision, on_host, traced

Jacobians = dict[str, dict[str, dict[str, Float[AnyArray, "horizon horizon"]]]]  # household, output, input


class LinearEconomy(eqx.Module):
    """An economy to first order around its steady state; it is linear in shocks, and differentiable.

    Attributes:
        exogenous, unknowns, reported: Names of the paths.
        solution: dU/dZ = -H_U^-1 H_Z (unknowns, T, exogenous, T).
        further: The derivative of the reported paths in the exogenous ones (reported, T, exogenous, T).
        system: H_U (unknowns, T, unknowns, T), the derivative of the residuals in the unknown paths.
    """

    exogenous: tuple[str, ...] = eqx.field(static=True)
    unknowns: tuple[str, ...] = eqx.field(static=True)
    reported: tuple[str, ...] = eqx.field(static=True)
    solution: Float[AnyArray, "unknowns horizon exogenous horizon"]
    further: Float[AnyArray, "reported horizon exogenous horizon"]
    system: Float[AnyArray, "unknowns horizon unknowns horizon"]

    @property
    def horizon(self) -> int:
        """T."""
        return self.solution.shape[1]

    def jacobian(self, output: str, shock: str) -> Float[AnyArray, "horizon horizon"]:
        """Return dY/dZ (T, T) in general equilibrium: row t is the output at t, column s a change known at 0 for s."""
        if shock not in self.exogenous:
            raise ValueError(f"shock must be one of {', '.join(self.exogenous)}, but is {shock!r}")
        outputs = (*self.unknowns, *self.reported)
        if output not in outputs:
            raise ValueError(f"output must be one of {', '.join(outputs)}, but is {output!r}")
        source = self.exogenous.index(shock)
        k = outputs.index(output)
        if k < len(self.unknowns):
            return self.solution[k, :, source]
        return self.further[k - len(self.unknowns), :, source]

    def response(self, shocks: Mapping[str, Any]) -> dict[str, Any]:
        """Return the change (T,) of every path, for changes (T,) of exogenous paths that become known at time 0."""
        for name, path in shocks.items():
            if name not in self.exogenous:
                raise ValueError(f"shocks must be to {', '.join(self.exogenous)}, but one is to {name!r}")
            if jnp.shape(path) != (self.horizon,):
                raise ValueError(f"a shock must have shape ({self.horizon},), but {name} has {jnp.shape(path)}")
        with double_precision(shocks, self):
            zero = jnp.zeros(self.horizon)
            given = jnp.stack([jnp.asarray(shocks.get(name, zero), float) for name in self.exogenous])
            unknown, further = (jnp.einsum("ktjs,js->kt", x, given) for x in (self.solution, self.further))
            names = (*self.exogenous, *self.unknowns, *self.reported)
            return on_host(dict(zip(names, (*given, *unknown, *further), strict=True)))


def household_jacobians(steady: SequenceSteadyState, horizon: int = 300) -> Jacobians:
    """Return the Jacobians [household][output][input] (T, T) of all households of an economy."""
    return {name: household_jacobian(one, horizon=horizon) for name, one in steady.households.items()}


def linearise(
    economy: SequenceEconomy,
    steady: SequenceSteadyState,
    *,
    horizon: int = 300,
    jacobians: Jacobians | None = None,
) -> LinearEconomy:
    """Return the linear response of an economy around a steady state, in double precision.

    Its derivatives in the parameters of `economy` exist, where these move neither the steady state nor the households:
    Jacobians that are given are constants. Take them within `jax.enable_x64(True)`.

    Args:
        economy: The economy; `steady.economy`, or the same with other parameters of its equations.
        steady: The steady state.
        horizon: T.
        jacobians: From `household_jacobians`, which they save where an economy is linearised often.

    Raises:
        ValueError: If Jacobians are given for another horizon.
    """
    check_integer("horizon", horizon, at_least=2)
    with double_precision(economy, jacobians):
        known = household_jacobians(steady, horizon) if jacobians is None else jacobians
        for matrix in jax.tree.leaves(known):
            if matrix.shape != (horizon, horizon):
                raise ValueError(f"jacobians must have shape {(horizon, horizon)}, but one has {matrix.shape}")
        return on_host(_linearise(traced(economy), traced(steady), known, horizon))


@eqx.filter_jit
def _linearise(
    economy: SequenceEconomy, steady: SequenceSteadyState, jacobians: Jacobians, horizon: int
) -> LinearEconomy:
    functions = {name: _linear_household(steady.households[name], jacobians[name]) for name in economy.households}
    at_rest = {name: jnp.full(horizon, value) for name, value in steady.aggregates.items()}

    def stacked(unknown: Array, exogenous: Array) -> tuple[dict[str, Array], dict[str, Array]]:
        paths = dict(zip((*economy.unknowns, *economy.exogenous), (*unknown, *exogenous), strict=True))
        return equations(economy, Paths(paths, steady.aggregates, steady.aggregates), functions)

    points = [jnp.stack([at_rest[name] for name in names]) for names in (economy.unknowns, economy.exogenous)]
    residuals, reported = jax.jacfwd(stacked, argnums=(0, 1))(*points)
    names = tuple(reported)
    (h_u, h_z), (d_u, d_z) = (_stack(paths, points, horizon) for paths in (residuals, reported))
    size = h_u.shape[0] * horizon
    solution = -jnp.linalg.solve(h_u.reshape(size, size), h_z.reshape(size, -1)).reshape(h_z.shape)
    further = d_z + jnp.einsum("ktls,lsjr->ktjr", d_u, solution, precision="highest")
    return LinearEconomy(tuple(economy.exogenous), tuple(economy.unknowns), names, solution, further, h_u)


def _stack(paths: dict[str, Any], points: list[Array], horizon: int) -> tuple[Array, Array]:
    """The derivatives of all paths in the unknown and in the exogenous ones, (paths, T, k, T) each."""
    empty = tuple(jnp.zeros((0, horizon, *point.shape)) for point in points)
    both = list(paths.values())
    unknown, exogenous = (jnp.stack([one[k] for one in both]) if both else empty[k] for k in range(2))
    return unknown, exogenous


def _linear_household(steady: HouseholdSteadyState, jacobian: dict[str, dict[str, Array]]) -> Any:
    """The household to first order: from paths of inputs to paths of outputs."""

    def household(**inputs: Any) -> dict[str, Array]:
        outputs = {}
        for name, by_input in jacobian.items():
            changes = [by_input[key] @ _change(path, steady.inputs[key], by_input[key]) for key, path in inputs.items()]
            outputs[name] = jnp.asarray(steady.outputs[name] + sum(changes))
        return outputs

    return household


def _change(path: Any, at_rest: Any, matrix: Array) -> Array:
    return jnp.broadcast_to(path, matrix.shape[:1]) - at_rest
