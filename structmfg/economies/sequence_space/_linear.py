"""The linear response of an economy in general equilibrium, from the Jacobians of its households.

With U the unknown paths and Z the exogenous ones, the residuals H(U, Z) = 0 give dU = -H_U^-1 H_Z dZ. The equations are
differentiated by JAX with each household replaced by its steady state plus its Jacobians times the change of its
inputs (Auclert, Bardoczy, Rognlie & Straub 2021, doi:10.3982/ECTA17434, section 4).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from structmfg._checks import check_integer, check_name
from structmfg.economies.sequence_space._block import HouseholdSteadyState
from structmfg.economies.sequence_space._economy import SequenceEconomy, SequenceSteadyState, equations
from structmfg.economies.sequence_space._jacobian import household_jacobian
from structmfg.economies.sequence_space._paths import AnyArray, Paths, double_precision, on_host, traced

Jacobians = dict[str, dict[str, dict[str, Float[AnyArray, "horizon horizon"]]]]  # household, output, input


class LinearEconomy(eqx.Module):
    """An economy to first order around its steady state; it is linear in shocks, and differentiable.

    Attributes:
        exogenous: Names of the exogenous paths that may be shocked.
        unknowns: Names of the unknown paths.
        reported: Names of the further paths that the equations report.
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
    exogenous: Sequence[str] | None = None,
    jacobians: Jacobians | None = None,
) -> LinearEconomy:
    """Return the linear response of an economy around a steady state, in double precision.

    Its derivatives in the parameters of `economy` exist, where these move neither the steady state nor the households:
    Jacobians that are given are constants. Take them within `jax.enable_x64(True)`.

    Args:
        economy: The economy; `steady.economy`, or the same with other parameters of its equations.
        steady: The steady state.
        horizon: T.
        exogenous: Names of the exogenous paths that may be shocked; by default all of them. Each costs memory.
        jacobians: From `household_jacobians`, which they save where an economy is linearised often.

    Raises:
        ValueError: If Jacobians are given for another horizon, or a name is not exogenous.
    """
    check_integer("horizon", horizon, at_least=2)
    shocked = tuple(economy.exogenous if exogenous is None else exogenous)
    for name in shocked:
        check_name("exogenous path", name, economy.exogenous)
    with double_precision(economy, jacobians):
        known = household_jacobians(steady, horizon) if jacobians is None else jacobians
        for matrix in jax.tree.leaves(known):
            if matrix.shape != (horizon, horizon):
                raise ValueError(f"jacobians must have shape {(horizon, horizon)}, but one has {matrix.shape}")
        return on_host(_linearise(traced(economy), traced(steady), known, horizon, shocked))


@eqx.filter_jit
def _linearise(
    economy: SequenceEconomy,
    steady: SequenceSteadyState,
    jacobians: Jacobians,
    horizon: int,
    exogenous: tuple[str, ...],
) -> LinearEconomy:
    functions = {name: _linear_household(steady.households[name], jacobians[name]) for name in economy.households}
    at_rest = {name: jnp.full(horizon, value) for name, value in steady.aggregates.items()}
    unknowns = tuple(economy.unknowns)
    names = (*unknowns, *exogenous)

    def outcomes(moved: Array) -> tuple[dict[str, Array], dict[str, Array]]:
        paths = at_rest | dict(zip(names, moved, strict=True))
        return equations(economy, Paths(paths, steady.aggregates, steady.aggregates), functions)

    def by_one_path(which: Array) -> tuple[Array, Array]:
        """The derivatives (paths, T, T) of residuals and reported paths in one path; row t, column s."""

        def column(change: Array) -> tuple[Array, Array]:
            tangent = jnp.zeros((len(names), horizon)).at[which].set(change)
            both = jax.jvp(outcomes, (jnp.stack([at_rest[name] for name in names]),), (tangent,))[1]
            empty = jnp.zeros((0, horizon))
            residuals, reported = (jnp.stack([*paths.values()]) if paths else empty for paths in both)
            return residuals, reported

        return jax.vmap(column, out_axes=2)(jnp.eye(horizon))

    # One path after the other, as all of them at once would take memory for each intermediate path of the equations.
    residuals, reported = (jnp.moveaxis(x, 0, 2) for x in lax.map(by_one_path, jnp.arange(len(names))))
    cut, size = len(unknowns), len(unknowns) * horizon
    system, given = residuals[:, :, :cut], residuals[:, :, cut:]
    solution = -jnp.linalg.solve(system.reshape(size, size), given.reshape(size, -1)).reshape(given.shape)
    through = jnp.einsum("ktls,lsjr->ktjr", reported[:, :, :cut], solution, precision="highest")
    known = tuple(jax.eval_shape(outcomes, jax.ShapeDtypeStruct((len(names), horizon), float))[1])
    return LinearEconomy(exogenous, unknowns, known, solution, reported[:, :, cut:] + through, system)


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
