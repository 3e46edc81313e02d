"""Jacobians and impulse responses of any economy that has households: what users call."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from structmfg._checks import check_integer, check_reals
from structmfg._results import RESULTS
from structmfg.economies._economy import Economy
from structmfg.economies._stationary_equilibrium import StationaryEquilibrium
from structmfg.economies.sequence_space._block import HouseholdBlock, HouseholdSteadyState
from structmfg.economies.sequence_space._capital import in_sequence_space
from structmfg.economies.sequence_space._determinacy import examine
from structmfg.economies.sequence_space._economy import (
    SequenceEconomy,
    SequenceSteadyState,
    check_solution,
    same_numbers,
)
from structmfg.economies.sequence_space._jacobian import household_jacobian
from structmfg.economies.sequence_space._linear import Jacobians, LinearEconomy, linearise
from structmfg.economies.sequence_space._transition_path import TransitionPath, transition_path

AnySteadyState = SequenceSteadyState | StationaryEquilibrium | HouseholdSteadyState

_RETURNED = 0.01  # of its largest size, above which a response has not died away at the horizon


def jacobian(
    economy: SequenceEconomy | Economy | HouseholdBlock,
    steady_state: AnySteadyState,
    *,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    horizon: int = 300,
    household: str | None = None,
) -> dict[str, dict[str, Float[np.ndarray, "horizon horizon"]]]:
    """Return the sequence-space Jacobians J[output][input] (T, T) of a household, by the fake-news algorithm.

    Row t, column s is the derivative of the output at t in the input at s, in partial equilibrium: other inputs stay.

    Args:
        economy: A `SequenceEconomy`, a `Huggett`, `Aiyagari` or `AiyagariCalibration`, or a household alone.
        steady_state: Its steady state: from `steady_state`, `stationary_equilibrium` or `household_steady_state`.
        inputs: Names of the household's inputs, such as interest; by default all.
        outputs: Names of its outputs, such as savings; by default all.
        horizon: T.
        household: Which household, where the economy has several.

    Raises:
        ValueError: If a name is unknown, no steady state is given, or the one given is no solution.
    """
    if isinstance(steady_state, HouseholdSteadyState):
        known = steady_state
        _check_solved(known.result)
        if economy is not known.block and not same_numbers(economy, known.block):
            raise ValueError("the steady state must be that of this household, but is of another one")
    else:
        households = as_sequence(economy, steady_state).households
        if household is None and len(households) > 1:
            raise ValueError(f"household must be one of {', '.join(households)}, as the economy has several")
        name = next(iter(households)) if household is None else household
        if name not in households:
            raise ValueError(f"household must be one of {', '.join(households)}, but is {name!r}")
        known = households[name]
    return household_jacobian(known, inputs=inputs, outputs=outputs, horizon=horizon)


class ImpulseResponse(NamedTuple):
    """The result of `impulse_response`, in float64.

    Attributes:
        paths: The change (T,) of every exogenous, unknown and reported path from the steady state.
        steady: The steady state of each of these paths.
        result: A member of `RESULTS`.
        stats: See `impulse_response`.
        transition: The transition path, where the response is nonlinear.
    """

    paths: dict[str, Float[np.ndarray, " horizon"]]
    steady: dict[str, float]
    result: RESULTS
    stats: dict[str, Any]
    transition: TransitionPath | None

    @property
    def succeeded(self) -> bool:
        """Whether nothing speaks against one bounded response, which has died away at the horizon, and this is it."""
        return self.result.succeeded


def impulse_response(
    economy: SequenceEconomy | Economy,
    steady_state: SequenceSteadyState | StationaryEquilibrium,
    shocks: Mapping[str, Any],
    *,
    linear: bool = True,
    jacobians: Jacobians | None = None,
    throw: bool = True,
    **options: Any,
) -> ImpulseResponse:
    """Return the response of an economy in equilibrium to changes of exogenous paths that become known at time 0.

    JAX cannot trace or differentiate it; it can with `linearise(economy, steady_state).response(shocks)`.

    Args:
        economy: A `SequenceEconomy`, or a `Huggett`, `Aiyagari` or `AiyagariCalibration`.
        steady_state: Its steady state.
        shocks: The change (T,) of exogenous paths, by name: see `autoregressive`; news is a path that begins with
            zeros.
        linear: Whether to first order; else by `transition_path`.
        jacobians: From `household_jacobians`, which saves their computation.
        throw: Whether to raise `RuntimeError` where the result is not `converged` or `completed`.
        options: Further arguments of `transition_path`, where `linear` is off.

    Returns:
        The response. `result` is `indeterminate` where the winding number is not zero or the inverse of the equations
        grows tenfold in the second half of the horizon; `horizon` where the horizon is too short to count bounded
        paths, or a path of an unknown has not died away; else `completed` for a linear response, and that of
        `transition_path` for a nonlinear one. `stats` has `winding_number` and `inverse_growth` (see the functions of
        these names), `memory` (the first period after which all unknowns stay below 1 % of their largest change) and
        `end` (their change at the horizon over the largest one); for nonlinear responses also the statistics of
        `transition_path`.

    Raises:
        ValueError: If a shock is not exogenous, not finite, or of another length, or the steady state is no solution of
            this economy.
        RuntimeError: See `throw`.
    """
    known = as_sequence(economy, steady_state)
    if linear and options:
        raise ValueError(f"only a nonlinear response has options, but linear is set and there are {sorted(options)}")
    horizon = _check_shocks(known.economy, shocks)
    system = linearise(known.economy, known, horizon=horizon, exogenous=tuple(shocks), jacobians=jacobians)
    steady = known.aggregates | known.reported
    transition = None
    if linear:
        others = {name: np.zeros(horizon) for name in known.economy.exogenous}
        paths = others | system.response(shocks)
    else:
        levels = {name: known.aggregates[name] + np.asarray(path, float) for name, path in shocks.items()}
        transition = transition_path(known.economy, known, levels, linear=system, throw=False, **options)
        paths = {name: path - steady[name] for name, path in transition.paths.items()}
    result, stats = _examine(system, paths, transition)
    if throw and not result.succeeded:
        raise RuntimeError(f"{result.value} {stats}")
    return ImpulseResponse(paths, steady, result, stats, transition)


def as_sequence(economy: Any, steady_state: Any) -> SequenceSteadyState:
    """The steady state in sequence space, or `ValueError` if none is given or it is no solution."""
    if isinstance(steady_state, StationaryEquilibrium) and isinstance(economy, Economy):
        _check_solved(steady_state.result)
        return in_sequence_space(economy, steady_state)
    if not isinstance(economy, SequenceEconomy) and isinstance(steady_state, SequenceSteadyState):
        raise ValueError(f"economy must be a SequenceEconomy, Huggett or Aiyagari, but is {type(economy).__name__}")
    if not isinstance(steady_state, SequenceSteadyState):
        raise ValueError(
            "steady_state must be the result of steady_state, stationary_equilibrium or household_steady_state for "
            f"this economy, but is {type(steady_state).__name__}"
        )
    return check_solution(economy, steady_state)


def _check_solved(result: RESULTS) -> None:
    if result not in (RESULTS.converged, RESULTS.residual):
        raise ValueError(f"steady_state must be a solution, but its result is {result.name}: {result.value}")


def _check_shocks(economy: SequenceEconomy, shocks: Mapping[str, Any]) -> int:
    """The horizon of the shocks."""
    if not shocks:
        raise ValueError(f"shocks must have at least one of {', '.join(economy.exogenous)}, but is empty")
    for name, path in shocks.items():
        if name not in economy.exogenous:
            allowed = ", ".join(economy.exogenous) or "nothing, as the economy has no exogenous path"
            raise ValueError(f"shocks must be to {allowed}, but one is to {name!r}")
        check_reals(f"the shock to {name}", np.asarray(path))
        if not np.isfinite(np.asarray(path, float)).all():
            raise ValueError(f"shocks must be finite, but that to {name} is not")
    shapes = [np.shape(path) for path in shocks.values()]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1:
        raise ValueError(f"shocks must have one shape (T,), but have {shapes}")
    return check_integer("the length of shocks", shapes[0][0], at_least=2)


def _examine(
    system: LinearEconomy, paths: dict[str, np.ndarray], transition: TransitionPath | None
) -> tuple[RESULTS, dict[str, Any]]:
    changes = np.abs([paths[name] for name in system.unknowns])
    largest = np.maximum(changes.max(axis=1, keepdims=True), 1e-300)
    above = np.flatnonzero((changes > _RETURNED * largest).any(axis=0))
    determined, found = examine(system)
    stats: dict[str, Any] = ({} if transition is None else dict(transition.stats)) | found
    stats |= {"memory": int(above.max(initial=-1)) + 1, "end": float((changes / largest)[:, -1].max())}
    if not determined:
        return RESULTS.indeterminate, stats
    if not np.isfinite(changes).all():
        return RESULTS.nonfinite, stats
    if transition is not None:
        return transition.result, stats
    is_short = stats["winding_number"] is None or stats["end"] > _RETURNED
    return RESULTS.horizon if is_short else RESULTS.completed, stats
