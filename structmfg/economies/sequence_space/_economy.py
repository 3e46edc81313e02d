"""`SequenceEconomy`: equations of aggregate paths, in which households are functions from paths to paths.

A user writes the equations in plain JAX. What solves them sees the same function in three ways: with households at
rest (steady states), with households replaced by their Jacobians (linear responses), and with households that look
ahead along the path (transition paths).
"""

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from structmfg._checks import check_integer, check_positive
from structmfg._results import RESULTS
from structmfg.economies.sequence_space._block import (
    HouseholdBlock,
    HouseholdSteadyState,
    check_finite,
    check_names,
    household_steady_state,
)
from structmfg.economies.sequence_space._paths import Path, Paths

HouseholdFunction = Callable[..., dict[str, Path]]
Equations = dict[str, Path] | tuple[dict[str, Path], dict[str, Path]]

_PERIODS = 2  # of a path at rest: an equation may say something else about the first one
_SAME_RESIDUAL = 1e-6  # of the equations of an economy whose parameters have changed since its steady state
_REFUSED = 1e3  # residual where a household has no steady state, which sends the root finder back


class SequenceEconomy(eqx.Module):
    """An economy in sequence space; see the module. Fields that are numbers are parameters, and may be differentiated.

    Attributes:
        exogenous: Names of the paths that are given.
        unknowns: Names of the paths that the equations determine.
        households: The households, by name.
    """

    if TYPE_CHECKING:  # read-only, so that a subclass may also derive them by properties

        @property
        def exogenous(self) -> tuple[str, ...]: ...

        @property
        def unknowns(self) -> tuple[str, ...]: ...

        @property
        def households(self) -> dict[str, HouseholdBlock]: ...
    else:
        exogenous: eqx.AbstractVar[tuple[str, ...]]
        unknowns: eqx.AbstractVar[tuple[str, ...]]
        households: eqx.AbstractVar[dict[str, HouseholdBlock]]

    @abc.abstractmethod
    def residuals(self, paths: Paths, households: Mapping[str, HouseholdFunction]) -> Equations:
        """Return what must be zero in every period, by name; and, as a second dict, further paths to be reported.

        Args:
            paths: The exogenous and unknown paths, each (T,), with `lag` and `lead`.
            households: A function for each household: keyword arguments are the paths of its inputs, (T,) or numbers,
                and the result is a dict of the paths of its outputs.
        """


class SequenceSteadyState(eqx.Module):
    """A steady state of a `SequenceEconomy`, in float64.

    Attributes:
        economy: The economy.
        aggregates: The constant value of every exogenous and unknown path.
        reported: The values of the further paths.
        households: The steady states of the households.
        residuals: What is left of each equation.
        result: A member of `RESULTS`.
    """

    economy: SequenceEconomy
    aggregates: dict[str, float]
    reported: dict[str, float]
    households: dict[str, HouseholdSteadyState]
    residuals: dict[str, float]
    result: RESULTS = eqx.field(static=True)

    @property
    def succeeded(self) -> bool:
        """Whether the equations hold within the tolerance and the households have settled."""
        return self.result.succeeded


def steady_state(
    economy: SequenceEconomy,
    values: Mapping[str, float],
    *,
    unknown: Sequence[str] = (),
    tolerance: float = 1e-8,
    max_steps: int = 100,
    throw: bool = True,
) -> SequenceSteadyState:
    """Find the steady state of an economy, in double precision, by Powell's hybrid method (SciPy's `root`).

    Any of the paths may be unknown in the steady state: a calibration finds, say, the discount factor at which there is
    a given interest rate.

    Args:
        economy: The economy.
        values: The constant value of every exogenous and unknown path; for those in `unknown`, where to start.
        unknown: Names of the values to be found, as many as residuals are not zero by themselves; by default none, and
            the values given are tested.
        tolerance: The largest residual.
        max_steps: The most evaluations of the equations.
        throw: Whether to raise `RuntimeError` where the result is not `converged` or `residual`.

    Returns:
        The steady state. `result` is `converged` where all residuals are within the tolerance and every household has
        settled with a proven mean field, `residual` where of a mean field only the residual is known, and `market`
        where a residual is larger.

    Raises:
        ValueError: If values are missing, unknown or not finite, or a household has no steady state at them.
        RuntimeError: See `throw`.
    """
    check_positive("tolerance", tolerance)
    check_integer("max_steps", max_steps, at_least=1)
    names = (*economy.exogenous, *economy.unknowns)
    check_names("steady values", values, names)
    sought = (unknown,) if isinstance(unknown, str) else tuple(unknown)
    for name in sought:
        if name not in names or sought.count(name) > 1:
            raise ValueError(f"unknown must name paths of the economy, {', '.join(names)}, once, but names {sought}")
    if len(sought) > len(economy.unknowns):
        raise ValueError(f"at most {len(economy.unknowns)} values can be unknown, as residuals are, but {sought} are")
    plain = {name: check_finite(name, value) for name, value in values.items()}
    with jax.enable_x64(True):
        trial = _Trials(economy, plain, sought)
        found = _root(trial, tolerance, max_steps) if sought else trial.at(np.zeros(0))
    result = _status(found, tolerance)
    if throw and result not in (RESULTS.converged, RESULTS.residual):
        raise RuntimeError(f"{result.value} residuals: {found.residuals} at {found.aggregates}")
    return dataclasses.replace(found, result=result)


class _Trials:
    """The equations with households at rest, as a function of the unknown values; households start from the last."""

    def __init__(self, economy: SequenceEconomy, values: dict[str, float], unknown: tuple[str, ...]) -> None:
        self.economy, self.values, self.unknown = economy, values, unknown
        self._last: dict[str, Any] = {}

    @property
    def start(self) -> np.ndarray:
        return np.array([self.values[name] for name in self.unknown], float)

    def at(self, x: np.ndarray) -> SequenceSteadyState:
        values = {**self.values, **dict(zip(self.unknown, map(float, x), strict=True))}
        constant = {name: jnp.full(_PERIODS, value, float) for name, value in values.items()}
        settled: dict[str, HouseholdSteadyState] = {}

        def at_rest(name: str) -> HouseholdFunction:
            def household(**inputs: Any) -> dict[str, Array]:
                plain = {key: float(jnp.ravel(jnp.asarray(value))[-1]) for key, value in inputs.items()}
                block = self.economy.households[name]
                settled[name] = household_steady_state(block, plain, near=self._last.get(name), throw=False)
                return {key: jnp.full(_PERIODS, value) for key, value in settled[name].outputs.items()}

            return household

        functions = {name: at_rest(name) for name in self.economy.households}
        residuals, reported = equations(self.economy, Paths(constant, values, values), functions)
        self._last = {name: steady.value for name, steady in settled.items() if steady.succeeded}
        left, more = ({name: float(path[-1]) for name, path in paths.items()} for paths in (residuals, reported))
        return SequenceSteadyState(self.economy, values, more, settled, left, RESULTS.max_steps)

    def residuals(self, x: np.ndarray) -> np.ndarray:
        """As many residuals as unknown values: the largest ones, where some are zero by themselves."""
        try:
            left = np.array(list(self.at(x).residuals.values()))
        except ValueError:
            return np.full(len(x), _REFUSED)
        if not hasattr(self, "_chosen"):
            self._chosen = np.sort(np.argsort(-np.abs(left), kind="stable")[: len(x)])
        return np.where(np.isfinite(left[self._chosen]), left[self._chosen], _REFUSED)


def _root(trial: _Trials, tolerance: float, max_steps: int) -> SequenceSteadyState:
    import scipy.optimize

    trial.at(trial.start)  # raises if a household has no steady state where the search starts
    solution = scipy.optimize.root(trial.residuals, trial.start, tol=tolerance * 1e-3, options={"maxfev": max_steps})
    return trial.at(solution.x)


def equations(
    economy: SequenceEconomy, paths: Paths, households: Mapping[str, HouseholdFunction]
) -> tuple[dict[str, Path], dict[str, Path]]:
    """The residuals, and the further paths, which are empty where the economy reports none."""
    functions = Named("household", {name: _Once(name, function) for name, function in households.items()})
    found = economy.residuals(paths, functions)
    residuals, reported = found if isinstance(found, tuple) and len(found) == 2 else (found, {})
    if not isinstance(residuals, dict) or not isinstance(reported, dict):
        raise ValueError(f"residuals must return a dict of paths, or two of them, but returns {type(found).__name__}")
    if len(residuals) != len(economy.unknowns):
        raise ValueError(
            f"as many residuals as unknowns are needed, but there are {len(residuals)} ({', '.join(residuals)}) for "
            f"{len(economy.unknowns)} ({', '.join(economy.unknowns)})"
        )
    taken = set(reported) & {*economy.exogenous, *economy.unknowns}
    if taken:
        raise ValueError(f"further paths need names of their own, but {', '.join(sorted(taken))} are paths already")
    if unused := [name for name, function in functions.items() if not function.called]:
        raise ValueError(f"residuals must call every household, but do not call {', '.join(unused)}")
    horizon = len(next(iter(paths.values())))
    for name, path in (residuals | reported).items():
        if np.shape(path) != (horizon,) and (name in residuals or np.shape(path)):
            raise ValueError(f"paths must have the shape ({horizon},) of the others, but {name} has {np.shape(path)}")
    constant = {name: jnp.broadcast_to(jnp.asarray(path, float), (horizon,)) for name, path in reported.items()}
    return residuals, constant


class Named(dict[str, Any]):
    """A dict whose missing names are told with those that there are."""

    def __init__(self, what: str, entries: Mapping[str, Any]) -> None:
        super().__init__(entries)
        self._what = what

    def __missing__(self, name: str) -> Any:
        raise ValueError(f"{self._what} must be one of {', '.join(self)}, but is {name!r}")


class _Once:
    """A household as a function of paths that equations may call once, as what it did is kept by its name."""

    def __init__(self, name: str, function: HouseholdFunction) -> None:
        self.name, self.function, self.called = name, function, False

    def __call__(self, **inputs: Any) -> dict[str, Path]:
        if self.called:
            raise ValueError(
                f"a household may be called once, but {self.name!r} is called again; list its block under a second name"
            )
        self.called = True
        return Named("output", self.function(**inputs))


def check_solution(economy: SequenceEconomy, steady: Any) -> SequenceSteadyState:
    """The steady state with this economy for its own, or `ValueError` unless it is a solution of this economy.

    An economy whose parameters have changed has the same steady state if its equations still hold there.
    """
    if not isinstance(steady, SequenceSteadyState):
        raise ValueError(f"a steady state must be the result of steady_state, but is {type(steady).__name__}")
    if steady.result not in (RESULTS.converged, RESULTS.residual):
        result = steady.result
        raise ValueError(f"steady_state must be a solution, but its result is {result.name}: {result.value}")
    if economy is steady.economy:
        return steady
    check_names("steady values", steady.aggregates, (*economy.exogenous, *economy.unknowns))
    for name, block in economy.households.items():
        if name not in steady.households or not same_numbers(block, steady.households[name].block):
            raise ValueError(f"the steady state must be that of this economy, but has another household {name!r}")
    with jax.enable_x64(True):
        constant = {name: jnp.full(_PERIODS, value, float) for name, value in steady.aggregates.items()}
        functions = {name: _constant(known) for name, known in steady.households.items()}
        residuals, _ = equations(economy, Paths(constant, steady.aggregates, steady.aggregates), functions)
        left = {name: float(path[-1]) for name, path in residuals.items()}
    worst = max(left, key=lambda name: np.nan_to_num(abs(left[name]), nan=np.inf))
    if not abs(left[worst]) <= _SAME_RESIDUAL:
        raise ValueError(f"the steady state must be that of this economy, but leaves {left[worst]:.3g} of {worst}")
    return dataclasses.replace(steady, economy=economy)


def _constant(steady: HouseholdSteadyState) -> HouseholdFunction:
    def household(**inputs: Any) -> dict[str, Array]:
        moved = {k: float(jnp.ravel(jnp.asarray(x))[-1]) - steady.inputs[k] for k, x in inputs.items()}
        off = jnp.nan if any(abs(x) > _SAME_RESIDUAL for x in moved.values()) else 0.0  # other inputs, other outputs
        return {key: jnp.full(_PERIODS, value + off) for key, value in steady.outputs.items()}

    return household


def same_numbers(one: Any, other: Any) -> bool:
    """Whether two blocks have the same structure and numbers."""
    leaves = jax.tree.leaves(one), jax.tree.leaves(other)
    structures: list[Any] = [jax.tree.structure(one), jax.tree.structure(other)]
    return structures[0] == structures[1] and all(
        np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(*leaves, strict=True)
    )


def _status(found: SequenceSteadyState, tolerance: float) -> RESULTS:
    results = [steady.result for steady in found.households.values()]
    for failure in results:
        if failure not in (RESULTS.converged, RESULTS.residual):
            return failure
    left = list(found.residuals.values())
    if not np.isfinite(left).all():
        return RESULTS.nonfinite
    if not np.max(np.abs(left), initial=0) <= tolerance:
        return RESULTS.market
    return RESULTS.residual if RESULTS.residual in results else RESULTS.converged
