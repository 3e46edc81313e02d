"""`HouseholdBlock`: a heterogeneous household that faces paths of inputs, and its steady state.

At time t, given what it expects of t + 1, a household chooses by one backward step

    v_t, choice_t = backward(v_{t+1}, x_t),

where x_t are aggregate inputs such as prices. The choice has a transition operator A_t, with which the mean field moves
by mu_{t+1} = A_t^T mu_t, and outcomes y_t(s), whose means Y_t = mu_t . y_t are the outputs. This is the
"heterogeneous-agent block" of Auclert, Bardoczy, Rognlie & Straub (2021), doi:10.3982/ECTA17434.
"""

import abc
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from structmfg._checks import check_between, check_integer, check_positive
from structmfg._results import RESULTS
from structmfg.economies.sequence_space._paths import AnyArray, on_host, traced
from structmfg.linear import LINEAR_RESULTS, LinearSolution, stationary
from structmfg.operators import ExplicitOperator, TransitionOperator

Inputs = dict[str, Any]  # the value of every input at one time
Value: TypeAlias = Any  # a tree of floating-point arrays
Choice: TypeAlias = Any  # likewise

_ROW_TOLERANCE = 1e-8
_MASS_TOLERANCE = 1e-6  # error of the mean field in L1, as far as it can be proven


class HouseholdBlock(eqx.Module):
    """A household in sequence space; see the module. Subclasses write the methods, in JAX.

    Attributes:
        inputs: Names of the aggregate inputs x_t, each a number at each time.
        outputs: Names of the outputs, the keys of `outcomes`.
    """

    if TYPE_CHECKING:  # read-only, so that a subclass may also derive them by properties

        @property
        def inputs(self) -> tuple[str, ...]: ...

        @property
        def outputs(self) -> tuple[str, ...]: ...
    else:
        inputs: eqx.AbstractVar[tuple[str, ...]]
        outputs: eqx.AbstractVar[tuple[str, ...]]

    @abc.abstractmethod
    def backward(self, later: Value, inputs: Inputs) -> tuple[Value, Choice]:
        """Return v_t and the choice at t, given `later`, v_{t+1}, and the inputs at t."""

    @abc.abstractmethod
    def operator(self, choice: Choice, inputs: Inputs) -> TransitionOperator:
        """Return A_t, from the states at t to those at t + 1."""

    @abc.abstractmethod
    def outcomes(self, choice: Choice, inputs: Inputs) -> dict[str, Float[AnyArray, " states"]]:
        """Return y_t (S,) of every output."""

    @abc.abstractmethod
    def first_value(self, inputs: Inputs, near: Value | None = None) -> Value:
        """Return the v from which steps backward with constant inputs lead to the steady state.

        `near` is v of another steady state that is thought to be close, if one is known.
        """

    def check_inputs(self, inputs: dict[str, float]) -> None:
        """Raise `ValueError` if with these constant inputs there is no steady state."""


class HouseholdSteadyState(eqx.Module):
    """A household under constant inputs, in float64.

    Attributes:
        block: The household.
        inputs: The inputs.
        value: v.
        choice: The choice.
        mean_field: mu (S,), stationary under the choice.
        outputs: The means of the outcomes.
        result: A member of `RESULTS`.
        stats: `value_residual`, the largest relative change of v in one step more; `steps`;
            `stationarity_residual`, ||A^T mu - mu||_1; `mean_field_bound`, proven on ||mu - mu*||_1, or infinite.
    """

    block: HouseholdBlock
    inputs: dict[str, float]
    value: Value
    choice: Choice
    mean_field: Float[AnyArray, " states"]
    outputs: dict[str, float]
    result: RESULTS = eqx.field(static=True)
    stats: dict[str, float]

    @property
    def succeeded(self) -> bool:
        """Whether v has settled within the tolerance and the error of mu is proven to be small."""
        return self.result.succeeded


class _Iteration(NamedTuple):
    value: Value
    change: Float[AnyArray, ""]
    steps: Int[Array, ""]


def household_steady_state(
    block: HouseholdBlock,
    inputs: dict[str, float],
    *,
    near: Value | None = None,
    tolerance: float = 1e-12,
    max_steps: int = 50_000,
    throw: bool = True,
) -> HouseholdSteadyState:
    """Find the steady state of a household, in double precision.

    Args:
        block: The household.
        inputs: The constant value of each of its inputs.
        near: v of a steady state that is close, from which the search may start.
        tolerance: The largest change of v in one step, relative to the largest entry of each array in it.
        max_steps: The most steps backward.
        throw: Whether to raise `RuntimeError` if the result is neither `converged` nor `residual`.

    Returns:
        The steady state. `result` is `converged` where v changes by no more than the tolerance and the error of mu is
        proven to be at most 1e-6 in L1, `residual` where of mu only the residual is known; else `policy`,
        `distribution` or `nonfinite`. The change of v in one step is a residual of v, not its error.

    Raises:
        ValueError: If inputs are missing or unknown, not finite, or allow no steady state.
        RuntimeError: See `throw`.
    """
    check_between("tolerance", tolerance, 0, 1)
    check_positive("tolerance", tolerance)
    check_integer("max_steps", max_steps, at_least=1)
    check_inputs(block, inputs)
    block.check_inputs(inputs)
    with jax.enable_x64(True):
        start = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), block.first_value(inputs, near))
        numbers, values = traced((block, {name: float(inputs[name]) for name in block.inputs}))
        found = _settle(numbers, start, values, jnp.asarray(tolerance), jnp.asarray(max_steps))
        choice, transitions, outcomes = _at(numbers, found.value, values)
        if np.isfinite(float(found.change)):
            sums = np.asarray(transitions.mv(jnp.ones(transitions.num_states)))
            if not np.abs(sums - 1).max() <= _ROW_TOLERANCE:
                worst = sums[np.abs(sums - 1).argmax()]
                raise ValueError(f"rows of the operator of a household must sum to 1, but one sums to {worst:.8g}")
            if missing := sorted(set(block.outputs) - set(outcomes)):
                raise ValueError(f"outcomes must have all outputs, {', '.join(block.outputs)}, but lack {missing}")
            distribution = stationary(transitions, tolerance=_MASS_TOLERANCE)
        else:
            nonfinite: Any = LINEAR_RESULTS.nonfinite
            distribution = LinearSolution(jnp.full(transitions.num_states, jnp.nan), nonfinite, {})
        mass, stats = distribution.value, distribution.stats
        outputs = {name: float(mass @ outcome) for name, outcome in outcomes.items()}
    known = {
        "value_residual": float(found.change),
        "steps": int(found.steps),
        "stationarity_residual": float(stats.get("residual", np.nan)),
        "mean_field_bound": float(stats.get("bound", np.inf)),
    }
    result = _status(known, tolerance, distribution.result)
    if throw and result not in (RESULTS.converged, RESULTS.residual):
        raise RuntimeError(f"{result.value} inputs {inputs}: {known}")
    plain = {name: float(inputs[name]) for name in block.inputs}
    value, choice, mass = on_host((found.value, choice, mass))
    return HouseholdSteadyState(block, plain, value, choice, mass, outputs, result, known)


def check_inputs(block: HouseholdBlock, inputs: dict[str, Any]) -> None:
    """Raise `ValueError` unless there is a finite number for each input of the block, and nothing else."""
    check_names("inputs", inputs, block.inputs)
    for name, value in inputs.items():
        check_finite(name, value)


def check_finite(name: str, value: Any) -> float:
    """The value as a plain number, or `ValueError` if it is not a finite one."""
    if isinstance(value, str | bool) or np.shape(value) or np.iscomplexobj(value) or not np.isfinite(value):
        raise ValueError(f"{name} must be a finite number, but is {value!r}")
    return float(value)


def check_names(what: str, given: Any, allowed: Any) -> None:
    """Raise `ValueError` unless the names given are those allowed, all of them."""
    missing, unknown = sorted(set(allowed) - set(given)), sorted(set(given) - set(allowed))
    if missing or unknown:
        faults = [f"lack {missing}"] * bool(missing) + [f"have the unknown {unknown}"] * bool(unknown)
        raise ValueError(f"{what} must be given for {', '.join(sorted(allowed))}, but {' and '.join(faults)}")


@eqx.filter_jit
def _settle(block: HouseholdBlock, start: Value, inputs: Inputs, tolerance: Array, max_steps: Array) -> _Iteration:
    """Step backward until v no longer changes."""

    def step(here: _Iteration) -> _Iteration:
        value, _ = block.backward(here.value, inputs)
        changes = jax.tree.map(_relative_change, value, here.value)
        return _Iteration(value, jnp.max(jnp.stack(jax.tree.leaves(changes))), here.steps + 1)

    def goes_on(here: _Iteration) -> Array:
        return (here.change > tolerance) & (here.steps < max_steps)

    return lax.while_loop(goes_on, step, _Iteration(start, jnp.asarray(jnp.inf), jnp.asarray(0)))


def _relative_change(new: Array, old: Array) -> Array:
    """The largest change over the largest entry; a value that stays at zero has not changed."""
    change, size = jnp.max(jnp.abs(new - old)), jnp.max(jnp.abs(new))
    return jnp.where(change == 0, 0.0, change / size)


@eqx.filter_jit
def _at(block: HouseholdBlock, value: Value, inputs: Inputs) -> tuple[Choice, ExplicitOperator, dict[str, Array]]:
    _, choice = block.backward(value, inputs)
    return choice, block.operator(choice, inputs).explicit(), block.outcomes(choice, inputs)


def _status(known: dict[str, float], tolerance: float, mass: Any) -> RESULTS:
    if not np.isfinite(known["value_residual"]):
        return RESULTS.nonfinite
    if not known["value_residual"] <= tolerance:
        return RESULTS.policy
    if bool(mass == LINEAR_RESULTS.converged):
        return RESULTS.converged
    return RESULTS.residual if bool(mass == LINEAR_RESULTS.residual) else RESULTS.distribution
