"""What is computed of an economy: its steady state, Jacobians, and responses to a shock."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from structmfg._checks import check_integer, check_name
from structmfg._memory import no_more_memory
from structmfg._results import RESULTS
from structmfg.cli.economy.registry import NamedEconomy
from structmfg.economies import LorenzCurve
from structmfg.economies.sequence_space import (
    ImpulseResponse,
    SequenceSteadyState,
    autoregressive,
    household_jacobians,
    impulse_response,
)
from structmfg.reports.economies import OnAssets, on_assets, pooled_lorenz

TOLERANCE = 1e-8  # of the residuals along the nonlinear path


class Shock(NamedTuple):
    """A change of an exogenous path by size * persistence^t; the first path of the economy where it has no name."""

    name: str | None
    size: float
    persistence: float
    horizon: int
    nonlinear: bool

    def check(self, economy: NamedEconomy) -> None:
        """Raise `ValueError` where something is wrong that can be known before the steady state is."""
        check_integer("horizon", self.horizon, at_least=2)
        if not math.isfinite(self.size):
            raise ValueError(f"size must be finite, but is {self.size}")
        autoregressive(self.size, self.persistence, 1)
        if self.name is not None and economy.shocks:
            check_name(f"shock of {economy.name}", self.name, economy.shocks)


class Study(NamedTuple):
    """What was computed of an economy.

    Attributes:
        shock: The shock, with its name.
        steady: The steady state.
        households: Those of its households whose state is (asset, income).
        pooled: The Lorenz curve of wealth of all of them, where there are several kinds.
        jacobians: J[household][output][input] (T, T).
        responses: The linear response, and the nonlinear one where it was asked for and there is a linear one.
        seconds: What each took.
    """

    shock: Shock
    steady: SequenceSteadyState
    households: dict[str, OnAssets]
    pooled: LorenzCurve | None
    jacobians: dict[str, Any]
    responses: dict[str, ImpulseResponse]
    seconds: dict[str, float]

    @property
    def last(self) -> ImpulseResponse:
        """The response that says how the study ended: the nonlinear one, where there is one."""
        return list(self.responses.values())[-1]

    @property
    def result(self) -> RESULTS:
        """How the study ended."""
        return self.last.result

    @property
    def message(self) -> str:
        """How the study ended, in a sentence."""
        stats, horizon = self.last.stats, self.shock.horizon
        memory, turns = stats["memory"], stats["winding_number"]
        left_out = "; so there is no nonlinear path" if self.shock.nonlinear and len(self.responses) == 1 else ""
        if self.result == RESULTS.converged:
            path = f"The nonlinear path clears all markets to {stats['residual'][-1]:.1e} after {stats['steps']} steps"
            return f"{path}, and has returned to 1 % of its largest change after {memory} of {horizon} periods."
        if self.result == RESULTS.completed:
            return f"The response has died away to 1 % after {memory} of {horizon} periods; the winding number is 0."
        if self.result == RESULTS.indeterminate and not turns:
            growth = f"their inverse grows {stats['inverse_growth']:.2g} times in the second half of the horizon"
            text = f"The equations do not determine one bounded response ({growth}), and what is shown is none"
        elif self.result == RESULTS.indeterminate:
            number = "no bounded response" if turns > 0 else "more than one bounded response"
            text = f"The winding number is {turns}: after a shock there is {number}, and what is shown is none"
        elif self.result == RESULTS.horizon:
            away = f"{stats['end']:.2g} of the largest change is left at the end"
            lasts = f"the effective memory is at least {memory} periods" if memory >= horizon else f"memory {memory}"
            why = "the winding number cannot be told" if turns is None else f"{lasts}, {away}"
            text = f"{horizon} periods are too short ({why}): give a longer --horizon"
        elif self.result == RESULTS.max_steps:
            text = f"The nonlinear path has a residual of {stats['residual'][-1]:.1e}; try a smaller --size"
        else:
            text = "A number is not finite: try a smaller --size"
        return f"{text}{left_out}."


def study(economy: NamedEconomy, parameters: Mapping[str, Any], shock: Shock, log: Callable[[str], None]) -> Study:
    """Compute all of it; `log` gets a line after each part.

    Raises:
        ValueError: Bad input; see `Shock.check` and `NamedEconomy.steady_state`.
        RuntimeError: No steady state was found.
        MemoryError: It does not fit into memory.
    """
    shock.check(economy)
    seconds: dict[str, float] = {}

    def timed(part: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        with no_more_memory():
            result = function(*arguments, **options)
        seconds[part] = time.perf_counter() - start
        log(f"{part}: {seconds[part]:.1f} s")
        return result

    steady = timed("steady state", _steady_state, economy, parameters)
    exogenous = economy.shocks or tuple(steady.economy.exogenous)
    shock = shock._replace(name=shock.name or exogenous[0])
    check_name(f"shock of {economy.name}", str(shock.name), exogenous)
    jacobians = timed(f"Jacobians, {shock.horizon} periods", household_jacobians, steady, shock.horizon)
    path = {shock.name: autoregressive(shock.size, shock.persistence, shock.horizon)}
    options = {"jacobians": jacobians, "throw": False}
    linear = timed("linear response", impulse_response, steady.economy, steady, path, **options)
    responses = {"linear": linear}
    if shock.nonlinear and linear.succeeded:
        nonlinear = {**options, "linear": False, "tolerance": TOLERANCE}
        responses["nonlinear"] = timed("nonlinear path", impulse_response, steady.economy, steady, path, **nonlinear)
    known = {name: on_assets(household) for name, household in steady.households.items()}
    households = {name: each for name, each in known.items() if each is not None}
    pooled = None if economy.shares is None else pooled_lorenz(households, economy.shares(steady.economy))
    return Study(shock, steady, households, pooled, jacobians, responses, seconds)


def _steady_state(economy: NamedEconomy, parameters: Mapping[str, Any]) -> SequenceSteadyState:
    try:
        return economy.steady_state(parameters)
    except RuntimeError as error:
        if type(error).__name__ == "JaxRuntimeError":
            raise
        raise RuntimeError(f"no steady state was found: {error}") from error
