"""The result of a check, and the decorator that makes a check of a measurement."""

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
    """The result of one check.

    Attributes:
        name: The name of the check.
        value: What was measured; of a statistical check, the evidence -log10 p against the game. NaN if it raised.
        bound: The largest value that passes; of a statistical check, the evidence of its level. NaN if it raised.
        passed: Whether `value` <= `bound`.
        meaning: What is checked.
        where: The state, action and time at which `value` was measured, or the error that the check raised.
    """

    name: str
    value: float
    bound: float
    passed: bool
    meaning: str
    where: str = ""


def check(meaning: str) -> Callable[[Callable[P, Measured]], Callable[P, CheckResult]]:
    """Make a check of a function that returns (value, bound) or (value, bound, where); it fails if that raises."""

    def decorate(measure: Callable[P, Measured]) -> Callable[P, CheckResult]:
        name = measure.__name__.replace("_", " ")

        @functools.wraps(measure)
        def run(*args: P.args, **kwargs: P.kwargs) -> CheckResult:
            try:
                with np.errstate(all="ignore"):  # the checks report values that are not finite
                    value, bound, *where = measure(*args, **kwargs)
            except Exception as error:  # whatever a user's game raises is a finding
                message = f"raised {type(error).__name__}: {_brief(error)}{_line(error)}"
                return CheckResult(name, math.nan, math.nan, False, meaning, message)
            value, bound = float(value), float(bound)
            return CheckResult(name, value, bound, value <= bound, meaning, where[0] if where else "")

        return run

    return decorate


def _brief(error: Exception) -> str:
    """The start of an error's message: JAX adds pages on tracing and on its own frames."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:200] if lines else "no message"


def _line(error: Exception) -> str:
    """The innermost line of the user's own code, which is neither this package's nor a library's."""
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(place in frame.filename for place in (_PACKAGE, "site-packages", sysconfig.get_path("stdlib"), "<"))
    ]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno}, in {own[-1].name})" if own else ""
