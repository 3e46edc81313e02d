"""Transition paths: perfect foresight after a shock, nonlinear, by quasi-Newton or Newton's method on the aggregates.

At trial paths of the unknown aggregates, households choose backward and the mean field moves forward; the residuals of
the equations in all periods say how wrong the trial is. Quasi-Newton moves by the inverse of the sequence-space
Jacobian at the steady state (Auclert, Bardoczy, Rognlie & Straub 2021, doi:10.3982/ECTA17434, section 6), which makes
one evaluation a step and divides the residual by about the size of the shock. Newton's method solves with the
derivative at the trial itself, by GMRES with that Jacobian as preconditioner: residuals fall quadratically.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from structmfg._checks import check_integer, check_name, check_positive, check_reals
from structmfg._results import RESULTS
from structmfg.economies.sequence_space._determinacy import examine
from structmfg.economies.sequence_space._economy import (
    SequenceEconomy,
    SequenceSteadyState,
    check_solution,
    equations,
)
from structmfg.economies.sequence_space._household_path import HouseholdPath, follow
from structmfg.economies.sequence_space._linear import LinearEconomy, linearise
from structmfg.economies.sequence_space._paths import AnyArray, Paths, on_host, traced

TransitionMethod = Literal["quasi_newton", "newton"]

_GMRES_TOLERANCE = 1e-7  # relative: small enough that Newton's residuals fall quadratically
_RETURNED = 0.01  # of its largest distance from the end, below which a path counts as having returned


class TransitionPath(NamedTuple):
    """The result of `transition_path`, in float64.

    Attributes:
        paths: Every exogenous, unknown and reported path (T,), in levels.
        residuals: What is left of each equation in every period (T,).
        households: The households along the path.
        result: A member of `RESULTS`.
        stats: See `transition_path`.
    """

    paths: dict[str, Float[np.ndarray, " horizon"]]
    residuals: dict[str, Float[np.ndarray, " horizon"]]
    households: dict[str, HouseholdPath]
    result: RESULTS
    stats: dict[str, Any]

    @property
    def succeeded(self) -> bool:
        """Whether the equations hold within the tolerance in every period, and the path has returned."""
        return self.result.succeeded


def transition_path(
    economy: SequenceEconomy,
    steady: SequenceSteadyState,
    paths: Mapping[str, Any],
    *,
    final: SequenceSteadyState | None = None,
    initial: Mapping[str, Any] | None = None,
    method: TransitionMethod = "quasi_newton",
    tolerance: float = 1e-8,
    max_steps: int = 30,
    linear: LinearEconomy | None = None,
    throw: bool = True,
) -> TransitionPath:
    """Find the path of an economy with perfect foresight after paths of exogenous inputs become known at time 0.

    Args:
        economy: The economy.
        steady: The steady state in which it is before time 0.
        paths: Exogenous paths (T,) in levels, at least one; the others stay at their values in `final`. They must end
            at these values.
        final: The steady state in which the path ends; by default `steady`.
        initial: Unknown paths (T,) to start from; by default they are constant, at their values in `final`.
        method: "quasi_newton" or "newton"; see the module.
        tolerance: The largest residual in any period.
        max_steps: The most steps.
        linear: From `linearise(economy, final, horizon=T)`, which saves its computation.
        throw: Whether to raise `RuntimeError` if the result is not `converged`.

    Returns:
        The path. `result` is `converged` where every residual of every period is within the tolerance and every
        unknown path has returned; `horizon` where one is, at the horizon, further than 1 % of its largest distance from
        its value in the end, so that T is too small; `indeterminate` where to first
        order the economy has no bounded path or several (see `impulse_response`); `max_steps` or `nonfinite`. `stats`:

        - `residual`: the largest residual at each step, the first before any step.
        - `end_distance`: for each unknown path, its distance from the end at the horizon over its largest one.
        - `memory`: the first period after which every unknown path stays within 1 % of its largest distance.
        - `winding_number`, `inverse_growth`: see the functions of these names.
        - `mean_field_distance`: the largest ||mu_T - mu||_1 of a household, with mu of the steady state in the end.
        - `steps`.

    Raises:
        ValueError: If a path is not of an exogenous input, not finite, of another length, or ends elsewhere.
        RuntimeError: See `throw`.
    """
    check_positive("tolerance", tolerance)
    check_integer("max_steps", max_steps, at_least=1)
    check_name("method", method, get_args(TransitionMethod))
    steady = check_solution(economy if final is None else steady.economy, steady)
    end = steady if final is None else check_solution(economy, final)
    _check_states(steady, end)
    with jax.enable_x64(True):
        given = check_paths(economy, paths, end)
        horizon = given.shape[1]
        start = _start(economy, end, initial, horizon)
        system = linearise(end.economy, end, horizon=horizon, exogenous=tuple(paths)) if linear is None else linear
        if system.horizon != horizon:
            raise ValueError(f"linear must have the horizon {horizon} of the paths, but has {system.horizon}")
        determined, tests = examine(system)
        at = _Evaluation(traced(economy), traced(steady), traced(end), given)
        unknown, history = _solve(at, system, start, method, tolerance, max_steps)
        residuals, reported, households = on_host(at(unknown))
    named = dict(zip((*economy.exogenous, *economy.unknowns), np.asarray([*given, *unknown]), strict=True))
    stats = {"residual": history, "steps": len(history) - 1, **tests, **_ends(economy, named, end, households)}
    result = _status(history[-1], tolerance, stats) if determined else RESULTS.indeterminate
    if throw and not result.succeeded:
        raise RuntimeError(f"{result.value} {stats}")
    return TransitionPath(named | reported, residuals, households, result, stats)


def _check_states(steady: SequenceSteadyState, end: SequenceSteadyState) -> None:
    for name in end.households:
        sizes = [x.households[name].mean_field.size if name in x.households else 0 for x in (steady, end)]
        if sizes[0] != sizes[1]:
            raise ValueError(f"household {name!r} must have the same states before and after, but has {sizes}")


def check_paths(
    economy: SequenceEconomy, paths: Mapping[str, Any], end: SequenceSteadyState
) -> Float[AnyArray, "exogenous horizon"]:
    """Return all exogenous paths as one array, or raise `ValueError`."""
    if not paths:
        raise ValueError(f"paths must have at least one of {', '.join(economy.exogenous)}, but is empty")
    lengths = {np.shape(path) for path in paths.values()}
    if len(lengths) > 1 or len(shape := lengths.pop()) != 1 or shape[0] < 2:
        raise ValueError(f"paths must have one shape (T,), but have {[np.shape(path) for path in paths.values()]}")
    for name, path in paths.items():
        if name not in economy.exogenous:
            raise ValueError(f"paths must be of {', '.join(economy.exogenous)}, but one is of {name!r}")
        check_reals(f"the path of {name}", np.asarray(path))
        values, target = np.asarray(path, float), end.aggregates[name]
        if not np.isfinite(values).all():
            raise ValueError(f"paths must be finite, but {name} has {values[~np.isfinite(values)][0]}")
        off, largest = abs(values[-1] - target), np.abs(values - target).max()
        if off > _RETURNED * largest:
            raise ValueError(
                f"the path of {name} must return to {target:.10g}, but ends at {values[-1]:.10g}, {off / largest:.2g} "
                "of its largest distance; give a longer path, or the final steady state"
            )
    rest = {name: np.full(shape, end.aggregates[name]) for name in economy.exogenous}
    return jnp.asarray([np.asarray(paths.get(name, rest[name]), float) for name in economy.exogenous])


def _start(
    economy: SequenceEconomy, end: SequenceSteadyState, initial: Mapping[str, Any] | None, horizon: int
) -> Float[AnyArray, "unknowns horizon"]:
    paths = initial or {}
    for name, path in paths.items():
        if name not in economy.unknowns or np.shape(path) != (horizon,):
            raise ValueError(
                f"initial must have paths of {', '.join(economy.unknowns)} with shape ({horizon},), but has {name!r} "
                f"with {np.shape(path)}"
            )
    return jnp.asarray([paths.get(n, np.full(horizon, end.aggregates[n])) for n in economy.unknowns], float)


class _Evaluation(NamedTuple):
    """The equations along trial paths of the unknowns."""

    economy: SequenceEconomy
    before: SequenceSteadyState
    after: SequenceSteadyState
    exogenous: Float[AnyArray, "exogenous horizon"]

    def __call__(self, unknown: Array) -> tuple[dict[str, Array], dict[str, Array], dict[str, HouseholdPath]]:
        return _evaluate(self, unknown)


@eqx.filter_jit
def _evaluate(at: _Evaluation, unknown: Array) -> tuple[dict[str, Array], dict[str, Array], dict[str, HouseholdPath]]:
    economy, horizon = at.economy, unknown.shape[1]
    households: dict[str, HouseholdPath] = {}

    def with_foresight(name: str) -> Any:
        def household(**inputs: Any) -> dict[str, Array]:
            paths = {key: jnp.broadcast_to(jnp.asarray(path, float), (horizon,)) for key, path in inputs.items()}
            households[name] = follow(at.before.households[name], at.after.households[name], paths)
            return households[name].outputs

        return household

    values = dict(zip((*economy.exogenous, *economy.unknowns), (*at.exogenous, *unknown), strict=True))
    paths = Paths(values, at.before.aggregates, at.after.aggregates)
    residuals, reported = equations(economy, paths, {name: with_foresight(name) for name in economy.households})
    return residuals, reported, households


@eqx.filter_jit
def _residual(at: _Evaluation, unknown: Array) -> Array:
    return jnp.stack([*_evaluate(at, unknown)[0].values()])


def _solve(
    at: _Evaluation, linear: LinearEconomy, unknown: Array, method: str, tolerance: float, max_steps: int
) -> tuple[Array, list[float]]:
    """The unknown paths reached, and the largest residual at each step."""
    factors = jax.scipy.linalg.lu_factor(linear.system.reshape(unknown.size, unknown.size))

    residual = _residual(at, unknown)
    history = [float(jnp.max(jnp.abs(residual)))]
    while not history[-1] <= tolerance and np.isfinite(history[-1]) and len(history) <= max_steps:
        step = _quasi_newton(factors, residual) if method == "quasi_newton" else _newton(at, unknown, factors, residual)
        unknown = unknown - step
        residual = _residual(at, unknown)
        history.append(float(jnp.max(jnp.abs(residual))))
    return unknown, history


@jax.jit
def _quasi_newton(factors: Any, residual: Array) -> Array:
    return jax.scipy.linalg.lu_solve(factors, residual.reshape(-1)).reshape(residual.shape)


@eqx.filter_jit
def _newton(at: _Evaluation, unknown: Array, factors: Any, residual: Array) -> Array:
    def derivative(change: Array) -> Array:
        return jax.jvp(lambda x: _residual(at, x), (unknown,), (change,))[1]

    def preconditioner(x: Array) -> Array:
        return _quasi_newton(factors, x)

    # Incremental: it stops as soon as the tolerance is reached, which takes few products with this preconditioner.
    options: Any = {"tol": _GMRES_TOLERANCE, "restart": 10, "maxiter": 3, "solve_method": "incremental"}
    return jax.scipy.sparse.linalg.gmres(derivative, residual, M=preconditioner, **options)[0]


def _ends(
    economy: SequenceEconomy, paths: dict[str, np.ndarray], end: SequenceSteadyState, households: dict[str, Any]
) -> dict[str, Any]:
    distances, memory = {}, 0
    for name in economy.unknowns:
        away = np.abs(paths[name] - end.aggregates[name])
        largest = max(away.max(), 1e-12 * abs(end.aggregates[name]), 1e-300)
        distances[name] = float(away[-1] / largest)
        memory = max(memory, int(np.max(np.flatnonzero(away > _RETURNED * largest), initial=-1)) + 1)
    moved = [np.abs(path.mean_field - end.households[name].mean_field).sum() for name, path in households.items()]
    return {"end_distance": distances, "memory": memory, "mean_field_distance": float(max(moved, default=0.0))}


def _status(residual: float, tolerance: float, stats: dict[str, Any]) -> RESULTS:
    if not np.isfinite(residual):
        return RESULTS.nonfinite
    if residual > tolerance:
        return RESULTS.max_steps
    return RESULTS.converged if max(stats["end_distance"].values()) <= _RETURNED else RESULTS.horizon
