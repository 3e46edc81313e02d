"""What a check finds, and how a measurement becomes one."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple, ParamSpec

P = ParamSpec("P")

Measured = tuple[float, float] | tuple[float, float, str]


class CheckResult(NamedTuple):
    """One check: `passed` says whether `value` <= `bound`.

    `meaning` says what is checked, so what a failure means, and `where` the state, action and time (or whatever else
    there is to say) at which `value` was found. Both numbers are NaN if the check raised, and `where` then says what.
    A statistical check has for `value` the evidence -log10 p against the game, for `bound` that of its level.
    """

    name: str
    value: float
    bound: float
    passed: bool
    meaning: str
    where: str = ""


def check(meaning: str) -> Callable[[Callable[P, Measured]], Callable[P, CheckResult]]:
    """Turn a function that returns (value, bound) or (value, bound, where) into a check; one that raises fails."""

    def decorate(measure: Callable[P, Measured]) -> Callable[P, CheckResult]:
        name = measure.__name__.replace("_", " ")

        @functools.wraps(measure)
        def run(*args: P.args, **kwargs: P.kwargs) -> CheckResult:
            try:
                value, bound, *where = measure(*args, **kwargs)
            except Exception as error:  # whatever a user's game raises is a finding
                told = f"raised {type(error).__name__}: {_brief(error)}"
                return CheckResult(name, math.nan, math.nan, False, meaning, told)
            value, bound = float(value), float(bound)
            return CheckResult(name, value, bound, value <= bound, meaning, where[0] if where else "")

        return run

    return decorate


def _brief(error: Exception) -> str:
    """What a user needs of an error's message: JAX adds pages on tracing and on its own frames."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:300] if lines else "no message"


def evidence(p_value: float) -> float:
    """-log10 p, of a p-value; large numbers speak against the hypothesis. At most 300."""
    return -math.log10(max(p_value, 1e-300))
