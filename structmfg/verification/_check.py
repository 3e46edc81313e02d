"""What a check finds, and how a measurement becomes one."""

import functools
import math
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, ParamSpec

import numpy as np

P = ParamSpec("P")
_PACKAGE = str(Path(__file__).parents[1])

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
                with np.errstate(all="ignore"):  # of what is not finite, the checks themselves tell
                    value, bound, *where = measure(*args, **kwargs)
            except Exception as error:  # whatever a user's game raises is a finding
                told = f"raised {type(error).__name__}: {_brief(error)}{_line(error)}"
                return CheckResult(name, math.nan, math.nan, False, meaning, told)
            value, bound = float(value), float(bound)
            return CheckResult(name, value, bound, value <= bound, meaning, where[0] if where else "")

        return run

    return decorate


def _brief(error: Exception) -> str:
    """What a user needs of an error's message: JAX adds pages on tracing and on its own frames."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:200] if lines else "no message"


def _line(error: Exception) -> str:
    """The innermost line of code that is neither this package's nor a library's: the user's own."""
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(place in frame.filename for place in (_PACKAGE, "site-packages", sysconfig.get_path("stdlib"), "<"))
    ]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno}, in {own[-1].name})" if own else ""
