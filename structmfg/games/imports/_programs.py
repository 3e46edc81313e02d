"""Many traced numbers as a few programs, each of which computes all numbers of one form at once.

Numbers of one form differ in their constants and in the entries of the mean field that they read. So the numbers of a
time are a table of constants and a table of places for each form, and are computed by as many array operations as the
form has steps.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from structmfg.games.imports._trace import OPERATIONS, Traced, UntraceableError

_CONSTANT = ((), ("c", 0))
_EARLIER = "a number depends on the mean field at an earlier time"
Steps = tuple[Any, ...]  # the operations with their arguments, and which result is the number


class Formula(NamedTuple):
    """A number: its form, its constants, and the places of the mean field that it reads."""

    steps: Steps
    constants: tuple[float, ...]
    places: tuple[int, ...]


def formula_of(number: Any, time: int) -> Formula:
    """The formula of a number that reads the mean field at a time.

    Raises:
        UntraceableError: It reads the mean field at another time.
    """
    if not isinstance(number, Traced):
        return Formula(_CONSTANT, (float(number),), ())
    if number.formula is None:
        number.formula = time, _formula_of(number, time)
    if number.formula[0] != time:
        raise UntraceableError(_EARLIER)
    formula: Formula = number.formula[1]
    return formula


def _formula_of(number: Traced, time: int) -> Formula:
    steps: list[tuple[str, tuple[Any, ...]]] = []
    constants: list[float] = []
    places: dict[int, int] = {}
    results: dict[int, tuple[str, int]] = {}
    waiting = [number]
    while waiting:
        each = waiting[-1]
        if id(each) in results:
            waiting.pop()
            continue
        if each.operation == "entry":
            if each.arguments[0] != time:
                raise UntraceableError(_EARLIER)
            results[id(each)] = ("m", places.setdefault(each.arguments[1], len(places)))
            waiting.pop()
            continue
        missing = [a for a in each.arguments if isinstance(a, Traced) and id(a) not in results]
        if missing:
            waiting.extend(reversed(missing))
            continue
        arguments = []
        for argument in each.arguments:
            if isinstance(argument, Traced):
                arguments.append(results[id(argument)])
            else:
                arguments.append(("c", len(constants)))
                constants.append(float(argument))
        results[id(each)] = ("r", len(steps))
        steps.append((each.operation, tuple(arguments)))
        waiting.pop()
    return Formula((tuple(steps), results[id(number)]), tuple(constants), tuple(places))


def compute(xp: Any, steps: Steps, constants: Any, read: Any) -> Any:
    """The numbers (..., M) of one form, from their constants (..., M, C) and what they read (..., M, L)."""
    operations, final = steps
    results: list[Any] = []

    def argument(reference: tuple[str, int]) -> Any:
        kind, place = reference
        return results[place] if kind == "r" else (constants if kind == "c" else read)[..., place]

    for operation, references in operations:
        results.append(OPERATIONS[operation](xp, *map(argument, references)))
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
    return np.asarray(compute(np, formula.steps, np.array(formula.constants), read), float)


class Form(NamedTuple):
    """All numbers of one form: constants (T, M, C) and places (T, M, L); T is 1 where all times have the same."""

    steps: Steps
    constants: Float[np.ndarray, "times numbers constants"]
    places: Int[np.ndarray, "times numbers places"]


class Numbers(NamedTuple):
    """Numbers (N,) at every time, by form."""

    forms: tuple[Form, ...]

    @property
    def reads_mean_field(self) -> bool:
        """Whether one of the numbers depends on the mean field."""
        return any(form.places.shape[-1] for form in self.forms)

    def at(self, time: Int[Array, ""], mean_field: Float[Array, " states"]) -> Float[Array, " numbers"]:
        """The numbers at a time and a mean field."""
        found = [
            compute(
                jnp,
                form.steps,
                at_time(form.constants, time).astype(mean_field.dtype),
                mean_field[at_time(form.places, time)],
            )
            for form in self.forms
        ]
        return jnp.concatenate([jnp.asarray(each, mean_field.dtype) for each in found])


def at_time(table: np.ndarray, time: Int[Array, ""]) -> Array:
    """The part of a table (T, ...) at a time; the only one where all times have the same."""
    return jnp.asarray(table[0]) if len(table) == 1 else jnp.asarray(table)[time]


def collapsed(table: np.ndarray) -> np.ndarray:
    """A table (T, ...) with one part where all times have the same."""
    return table[:1] if (table == table[:1]).all() else table


def gathered(times: list[Formulas]) -> tuple[Numbers, list[Int[np.ndarray, " formulas"]]]:
    """The formulas of all times by form, and for each time where each of its formulas is among the numbers."""
    forms = list(dict.fromkeys(formula.steps for each in times for formula in each.numbers)) or [_CONSTANT]
    by_form = [[[f for f in each.numbers if f.steps == steps] for each in times] for steps in forms]
    where = [np.zeros(len(each.numbers), int) for each in times]
    made, first = [], 0
    for steps, own in zip(forms, by_form, strict=True):
        size = max(1, *map(len, own))
        example = next((f for formulas in own for f in formulas), Formula(_CONSTANT, (0.0,), ()))
        constants = np.zeros((len(times), size, len(example.constants)))
        places = np.zeros((len(times), size, len(example.places)), np.int32)
        for time, formulas in enumerate(own):
            # An unused number repeats one that is there, so that it computes nothing that is not finite.
            for k in range(size):
                formula = formulas[min(k, len(formulas) - 1)] if formulas else example
                constants[time, k], places[time, k] = formula.constants, formula.places
            for k, formula in enumerate(formulas):
                where[time][times[time].numbers[formula]] = first + k
        made.append(Form(steps, collapsed(constants), collapsed(places)))
        first += size
    return Numbers(tuple(made)), where
