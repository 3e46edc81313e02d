"""The timing of compiled loops and calls, after warm-up.

Compilation is timed separately. Every time is the median of several calls, with the least and the spread.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from structmfg.benchmarks.suite._device import steps_between_readings

CYCLE = 4  # steps of a turn of the loop: the index of a step runs over 0..CYCLE-1


class TimingBudget(NamedTuple):
    """How long is measured: `calls` of about `seconds` each."""

    seconds: float = 0.2
    calls: int = 7


class Timing(NamedTuple):
    """Seconds of one step: the median, the least, and (largest - least) / median over the calls of `steps` steps."""

    seconds: float
    least: float
    spread: float
    steps: int
    calls: int
    compile_seconds: float


def time_scan(step: Callable[[Any, int, Any], Any], carry: PyTree, arguments: PyTree, budget: TimingBudget) -> Timing:
    """Seconds of carry -> step(carry, index, arguments) inside a compiled loop over index = 0..CYCLE-1.

    A turn of the loop makes CYCLE steps in a row, so that the index is known to the compiler, and its data are arrays
    of their own: a policy taken out of a stack by an index that is not known costs as much again as the product. The
    number of turns is an argument, so that one compilation serves the trial, which finds how many turns fill a call,
    and the calls that count. On a GPU a turn makes more of these, as after each the condition of the loop is copied
    from there.
    """
    inner = steps_between_readings()

    def loop(count: Array, carry: PyTree, arguments: PyTree) -> PyTree:
        def cycle(_: Array, carry: PyTree) -> PyTree:
            for index in range(CYCLE):
                carry = step(carry, index, arguments)
            return carry

        def turn(_: Array, carry: PyTree) -> PyTree:
            return cycle(_, carry) if inner == 1 else lax.fori_loop(0, inner, cycle, carry)

        return lax.fori_loop(0, count, turn, carry)

    began = time.perf_counter()
    compiled = jax.jit(loop).lower(jnp.asarray(1), carry, arguments).compile()
    compile_seconds = time.perf_counter() - began

    def call(count: int) -> float:
        counted = jax.block_until_ready(jnp.asarray(count))
        return _clock(lambda: compiled(counted, carry, arguments))

    call(1)  # warm-up
    count = max(1, round(budget.seconds / call(1)))
    return _summary([call(count) for _ in range(budget.calls)], count * CYCLE * inner, compile_seconds)


def time_calls(function: Callable[..., Any], arguments: tuple[Any, ...], budget: TimingBudget) -> Timing:
    """Seconds of one call of a function that is compiled here."""
    began = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    compile_seconds = time.perf_counter() - began
    return time_plain(lambda: compiled(*arguments), budget)._replace(compile_seconds=compile_seconds)


def time_plain(function: Callable[[], Any], budget: TimingBudget) -> Timing:
    """Seconds of one call of a function as it is, after one that warms up.

    Long functions are called fewer times; one that takes more than ten times the budget is called once.
    """
    limit = 10 * budget.seconds * budget.calls
    first = _clock(function)
    if first > limit:
        return _summary([first], 1, 0.0)
    repeats = max(1, round(budget.seconds / _clock(function)))
    seconds = [_clock(lambda: [function() for _ in range(repeats)])]
    while len(seconds) < budget.calls and sum(seconds) < limit:
        seconds.append(_clock(lambda: [function() for _ in range(repeats)]))
    return _summary(seconds, repeats, 0.0)


def _clock(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - began


def _summary(seconds: list[float], steps: int, compile_seconds: float) -> Timing:
    median = statistics.median(seconds)
    spread = (max(seconds) - min(seconds)) / median
    return Timing(median / steps, min(seconds) / steps, spread, steps, len(seconds), compile_seconds)
