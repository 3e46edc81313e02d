"""MFGLib's own solvers, run for a number of seconds."""

import importlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

_TRIAL = 10  # iterations that tell how long one takes
_MORE = 1.2  # times as many iterations as the pace so far says, as the first ones are slower


class Best(NamedTuple):
    """The policy of the least score that a solver met within its seconds.

    Attributes:
        score: MFGLib's exploitability score of it.
        policy: The tensor (T + 1, *S, *A).
        iterations: The number of iterations within the seconds.
        seconds: When the last of them ended, by MFGLib's own clock.
    """

    score: float
    policy: Any
    iterations: int
    seconds: float


def prepare() -> None:
    """Let PyTorch compute in double precision, and with one thread: more of them slow its small tensors down."""
    torch = importlib.import_module("torch")
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)


def solvers() -> dict[str, Callable[[], Any]]:
    """MFGLib's solvers by name, each at its defaults and at other learning rates where it has some."""

    def made(kind: str, **settings: float) -> Callable[[], Any]:
        return lambda: getattr(importlib.import_module("mfglib.alg"), kind)(**settings)

    return {
        "mirror descent": made("OnlineMirrorDescent"),
        "mirror descent, rate 0.1": made("OnlineMirrorDescent", alpha=0.1),
        "fictitious play": made("FictitiousPlay"),
        "fictitious play, rate 0.1": made("FictitiousPlay", alpha=0.1),
        "prior descent": made("PriorDescent"),
        "MF-OMO": made("MFOMO"),
        "occupation inclusion": made("OccupationMeasureInclusion", alpha=1.0, eta=0.0),
    }


def best_within(make: Callable[[], Any], environment: Any, seconds: float) -> Best:
    """The least score of any iteration within so many seconds.

    MFGLib takes a number of iterations and no time limit. So the run is repeated with more of them until it is long
    enough, and what came after the limit is left out.
    """
    count = _TRIAL
    policies, scores, clock = _run(make, environment, count)
    while clock[-1] < seconds:
        count = math.ceil(_MORE * count * seconds / max(clock[-1], 1e-6))
        policies, scores, clock = _run(make, environment, count)
    within = [place for place, at in enumerate(clock) if at <= seconds]
    best = min(within, key=lambda place: scores[place])
    return Best(scores[best], policies[best], within[-1], clock[within[-1]])


def _run(make: Callable[[], Any], environment: Any, count: int) -> tuple[list[Any], list[float], list[float]]:
    """Policies, scores and seconds of so many iterations, from the uniform policy on."""
    policies, scores, clock = make().solve(environment, max_iter=count, atol=None, rtol=None, verbose=False)
    return policies, [math.inf if math.isnan(score) else float(score) for score in scores], clock
