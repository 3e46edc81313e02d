"""Many traced numbers as a few programs, each of which computes all numbers of one form at once.

Numbers of one form differ in their constants and in the entries of the mean field that they read. So the numbers of a
time are a table of constants and a table of places for each form, and are computed by as many array operations as the
form has steps.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from structmfg.games.imports._trace import Traced, UntraceableError, operate

_EARLIER = "a number depends on the mean field at an earlier time"
_LONG_SUM = 4  # entries from which on a weighted sum of entries is one step; its order is then up to the machine
_MAX_TERMS = 100_000
Steps = tuple[Any, ...]  # the operations with their arguments, and which result is the number
Sum = tuple[tuple[float, ...], tuple[int, ...]]  # weights, and the places of the entries
_CONSTANT: Steps = ((), ("c", 0), 0)


class Formula(NamedTuple):
    """A number: its form, its constants, the places of the mean field that it reads, and its long sums of entries."""

    steps: Steps
    constants: tuple[float, ...]
    places: tuple[int, ...] = ()
    sums: tuple[Sum, ...] = ()


def formula_of(number: Any, time: int) -> Formula:
    """The formula of a number that reads the mean field at a time.

    Raises:
        UntraceableError: It reads the mean field at another time.
    """
    if not isinstance(number, Traced):
        return Formula(_CONSTANT, (float(number),))
    if number.formula is None:
        number.formula = time, _Builder(time).formula(number)
    if number.formula[0] != time:
        raise UntraceableError(_EARLIER)
    formula: Formula = number.formula[1]
    return formula


def is_linear(number: Any, time: int) -> bool:
    """Whether a number is a constant plus a weighted sum of entries of the mean field."""
    return not isinstance(number, Traced) or _Builder(time)._weights(number) is not None


class _Builder:
    """Lists the steps of one number."""

    def __init__(self, time: int) -> None:
        self.time = time
        self.steps: list[tuple[str, tuple[Any, ...]]] = []
        self.constants: list[float] = []
        self.places: dict[int, int] = {}
        self.sums: list[Sum] = []
        self.results: dict[int, tuple[str, int]] = {}

    def formula(self, number: Traced) -> Formula:
        waiting = [number]
        while waiting:
            each = waiting[-1]
            if id(each) in self.results or self._is_read(each):
                waiting.pop()
                continue
            missing = [a for a in each.arguments if isinstance(a, Traced) and id(a) not in self.results]
            if missing:
                waiting.extend(reversed(missing))
                continue
            self._take(each, each.operation, tuple(map(self._argument, each.arguments)))
        steps = (tuple(self.steps), self.results[id(number)], len(self.sums))
        return Formula(steps, tuple(self.constants), tuple(self.places), tuple(self.sums))

    def _argument(self, argument: Any) -> tuple[str, int]:
        if isinstance(argument, Traced):
            return self.results[id(argument)]
        self.constants.append(float(argument))
        return "c", len(self.constants) - 1

    def _take(self, number: Traced, operation: str, arguments: tuple[Any, ...]) -> None:
        self.results[id(number)] = ("r", len(self.steps))
        self.steps.append((operation, arguments))

    def _is_read(self, number: Traced) -> bool:
        """Take a number that is an entry, or a long weighted sum of entries and a constant; whether it is one."""
        if number.operation == "entry":
            if number.arguments[0] != self.time:
                raise UntraceableError(_EARLIER)
            place = number.arguments[1]
            self.results[id(number)] = ("m", self.places.setdefault(place, len(self.places)))
            return True
        found = self._weights(number)
        if found is None or len(found[0]) < _LONG_SUM:
            return False
        weights, constant = found
        self.sums.append((tuple(weights.values()), tuple(weights)))
        self._take(number, "add", (("s", len(self.sums) - 1), self._argument(constant)))
        return True

    def _weights(self, number: Traced) -> tuple[dict[int, float], float] | None:
        """The weights of the entries, by place, and the constant of a weighted sum; None for what is no such sum."""
        weights: dict[int, float] = {}
        constant = 0.0
        waiting: list[tuple[Any, float]] = [(number, 1.0)]
        for _ in range(_MAX_TERMS):
            if not waiting:
                return weights, constant
            each, weight = waiting.pop()
            if not isinstance(each, Traced):
                constant += weight * each
                continue
            first, second = (*each.arguments, None)[:2]
            if each.operation == "entry":
                if first != self.time:
                    raise UntraceableError(_EARLIER)
                weights[second] = weights.get(second, 0.0) + weight
            elif each.operation in ("add", "sub"):
                waiting += [(first, weight), (second, weight if each.operation == "add" else -weight)]
            elif each.operation == "neg":
                waiting.append((first, -weight))
            elif each.operation == "mul" and not (isinstance(first, Traced) and isinstance(second, Traced)):
                waiting.append((first, weight * second) if isinstance(first, Traced) else (second, weight * first))
            elif each.operation == "div" and not isinstance(second, Traced):
                waiting.append((first, weight / second))
            else:
                return None
        return None


def compute(xp: Any, steps: Steps, constants: Any, read: Any, sums: Any) -> Any:
    """The numbers (..., M) of one form, from their constants (..., M, C), what they read (..., M, L), and sums."""
    operations, final, _ = steps
    results: list[Any] = []

    def argument(reference: tuple[str, int]) -> Any:
        kind, place = reference
        return results[place] if kind == "r" else {"c": constants, "m": read, "s": sums}[kind][..., place]

    for operation, references in operations:
        results.append(operate(xp, operation, *map(argument, references)))
    return argument(final)


class Formulas:
    """The different formulas of one time, numbered in the order in which they were added."""

    def __init__(self) -> None:
        self.numbers: dict[Formula, int] = {}

    def add(self, formula: Formula) -> int:
        """The number of a formula, which is added unless it is there."""
        return self.numbers.setdefault(formula, len(self.numbers))

    def values(self, mean_field: Float[np.ndarray, " states"]) -> Float[np.ndarray, " formulas"]:
        """All values at a mean field, in plain NumPy."""
        with np.errstate(all="ignore"):
            return np.array([value_of(formula, mean_field) for formula in self.numbers])


def value_of(formula: Formula, mean_fields: Float[np.ndarray, "*points states"]) -> Any:
    """The value of a formula at mean fields, in plain NumPy."""
    read = mean_fields[..., list(formula.places)]
    sums = [mean_fields[..., list(places)] @ np.array(weights) for weights, places in formula.sums]
    total = np.stack(sums, axis=-1) if sums else read[..., :0]
    return np.asarray(compute(np, formula.steps, np.array(formula.constants), read, total), float)


class Form(NamedTuple):
    """All numbers of one form; T is 1 where all times have the same.

    Attributes:
        steps: The form.
        constants: (T, M, C).
        places: (T, M, L).
        weights: Of the sums (T, M, Q, W); zero where a sum has fewer entries.
        summed: The places of their entries (T, M, Q, W).
    """

    steps: Steps
    constants: Float[np.ndarray, "times numbers constants"]
    places: Int[np.ndarray, "places_times numbers places"]
    weights: Float[np.ndarray, "weights_times numbers sums terms"]
    summed: Int[np.ndarray, "summed_times numbers sums terms"]

    def at(self, time: Int[Array, ""], mean_field: Float[Array, " states"]) -> Array:
        """The numbers at a time and a mean field."""
        constants, weights = (at_time(x, time).astype(mean_field.dtype) for x in (self.constants, self.weights))
        sums = jnp.sum(weights * mean_field[at_time(self.summed, time)], axis=-1)
        read = mean_field[at_time(self.places, time)]
        return jnp.asarray(compute(jnp, self.steps, constants, read, sums), mean_field.dtype)


class Numbers(NamedTuple):
    """Numbers (N,) at every time, by form."""

    forms: tuple[Form, ...]

    @property
    def reads_mean_field(self) -> bool:
        """Whether one of the numbers depends on the mean field."""
        return any(form.places.shape[-1] + form.weights.size for form in self.forms)

    def at(self, time: Int[Array, ""], mean_field: Float[Array, " states"]) -> Float[Array, " numbers"]:
        """The numbers at a time and a mean field."""
        return jnp.concatenate([form.at(time, mean_field) for form in self.forms])


def at_time(table: np.ndarray, time: Int[Array, ""]) -> Array:
    """The part of a table (T, ...) at a time; the only one where all times have the same."""
    return jnp.asarray(table[0]) if len(table) == 1 else jnp.asarray(table)[time]


def collapsed(table: np.ndarray) -> np.ndarray:
    """A table (T, ...) with one part where all times have the same."""
    return table[:1] if np.array_equal(table, np.broadcast_to(table[:1], table.shape), equal_nan=True) else table


def gathered(times: list[Formulas]) -> tuple[Numbers, list[Int[np.ndarray, " formulas"]]]:
    """The formulas of all times by form, and for each time where each of its formulas is among the numbers."""
    forms: dict[Steps, list[list[Formula]]] = {}
    for time, each in enumerate(times):
        for formula in each.numbers:
            forms.setdefault(formula.steps, [[] for _ in times])[time].append(formula)
    if not forms:
        forms[_CONSTANT] = [[Formula(_CONSTANT, (0.0,))] for _ in times]
    where = [np.zeros(len(each.numbers), int) for each in times]
    made, first = [], 0
    for steps, own in forms.items():
        made.append(_form(steps, own))
        for time, formulas in enumerate(own):
            for k, formula in enumerate(formulas):
                if formula in times[time].numbers:
                    where[time][times[time].numbers[formula]] = first + k
        first += made[-1].constants.shape[1]
    return Numbers(tuple(made)), where


def _form(steps: Steps, own: list[list[Formula]]) -> Form:
    """The formulas of one form at every time; where some are missing, one that is there is repeated."""
    count, every = max(map(len, own)), [formula for formulas in own for formula in formulas]
    width = max((len(weights) for formula in every for weights, _ in formula.sums), default=0)
    shape, example = (len(own), count), every[0]
    constants = np.zeros((*shape, len(example.constants)))
    places = np.zeros((*shape, len(example.places)), np.int32)
    weights = np.zeros((*shape, steps[2], width))
    summed = np.zeros((*shape, steps[2], width), np.int32)
    for time, formulas in enumerate(own):
        for k in range(count):
            formula = formulas[min(k, len(formulas) - 1)] if formulas else example
            constants[time, k], places[time, k] = formula.constants, formula.places
            for j, (factors, entries) in enumerate(formula.sums):
                weights[time, k, j, : len(factors)], summed[time, k, j, : len(entries)] = factors, entries
    return Form(steps, collapsed(constants), collapsed(places), collapsed(weights), collapsed(summed))
