"""Numbers that remember how they were computed, so that code written for floats tells its formula.

A game of another library computes with the mean field in plain Python. Given `Traced` numbers in place of floats, its
code leaves an expression of the entries of the mean field, which is evaluated for all states at once elsewhere
(`_programs`). Where the code needs a whole number or a truth value (`int`, `round`, `<`), the number decides by its
present value, or as it was told, and the decision is recorded as a guard: the formula holds where all guards do.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

_COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")
TO_WHOLE = ("trunc", "round", "floor", "ceil", *_COMPARISONS)  # operations that guards record
_FUNCTIONS = ("log", "log2", "log10", "log1p", "exp", "expm1", "sqrt", "sin", "cos", "tan", "tanh")
_OF_NUMPY = {
    **{name: name for name in ("abs", *_FUNCTIONS, "floor", "ceil", "trunc", "round")},
    **dict(add="add", sub="subtract", mul="multiply", div="divide", pow="power", neg="negative"),
    "where": "where",
    **dict(lt="less", le="less_equal", gt="greater", ge="greater_equal", eq="equal", ne="not_equal"),
}


def operate(xp: Any, operation: str, *arguments: Any) -> Any:
    """An operation of traced numbers on arrays; `xp` is NumPy or JAX's."""
    return getattr(xp, _OF_NUMPY[operation])(*arguments)


class UntraceableError(Exception):
    """The code needs the number itself: it has no formula that could be recorded."""


class NeedsFloatError(UntraceableError):
    """The code makes a float of a number: it can be called with floats only."""


class Guard(NamedTuple):
    """A decision of the code: `number`, a whole number or a truth value, came out as `result`."""

    number: "Traced"
    result: int


class Path:
    """The guards that the code has met.

    Attributes:
        decide: Returns the whole number that a traced number is at the present mean field.
        forced: What the first guards are told to be instead.
        guards: All guards, in order.
        made: All numbers that were computed, so that the same number is made once.
    """

    def __init__(self, decide: Callable[["Traced"], int]) -> None:
        self.decide = decide
        self.forced: tuple[int, ...] = ()
        self.guards: list[Guard] = []
        self.made: dict[Any, Traced] = {}

    def restart(self, forced: Sequence[int] = ()) -> None:
        """Forget all guards; the next ones are told to be `forced`."""
        self.forced, self.guards = tuple(forced), []

    def meet(self, number: "Traced") -> int:
        """The whole number that the code goes on with."""
        place = len(self.guards)
        result = self.forced[place] if place < len(self.forced) else self.decide(number)
        self.guards.append(Guard(number, result))
        return result


class Traced:
    """A number that depends on the mean field.

    Attributes:
        operation: One of those of `operate`, or "entry": an entry of the mean field.
        arguments: Traced numbers and floats; of an entry, the time and the place in the mean field.
        path: Where its guards are recorded.
        formula: Its formula, once it was asked for.
    """

    __slots__ = ("arguments", "formula", "operation", "path")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, operation: str, arguments: tuple[Any, ...], path: Path) -> None:
        self.operation, self.arguments, self.path = operation, arguments, path
        self.formula: Any = None

    def _of(self, operation: str, *arguments: Any) -> "Traced":
        key = (operation, *((id(each),) if isinstance(each, Traced) else each for each in arguments))
        if key not in self.path.made:
            self.path.made[key] = Traced(operation, arguments, self.path)
        return self.path.made[key]

    def _with(self, operation: str, other: Any, *, swapped: bool = False) -> Any:
        number = _as_number(other)
        if number is None:
            return NotImplemented
        if not isinstance(number, Traced) and (simple := _simplified(operation, self, number, swapped)) is not None:
            return simple
        return self._of(operation, *((number, self) if swapped else (self, number)))

    def __add__(self, other: Any) -> Any:
        return self._with("add", other)

    def __radd__(self, other: Any) -> Any:
        return self._with("add", other, swapped=True)

    def __sub__(self, other: Any) -> Any:
        return self._with("sub", other)

    def __rsub__(self, other: Any) -> Any:
        return self._with("sub", other, swapped=True)

    def __mul__(self, other: Any) -> Any:
        return self._with("mul", other)

    def __rmul__(self, other: Any) -> Any:
        return self._with("mul", other, swapped=True)

    def __truediv__(self, other: Any) -> Any:
        return self._with("div", other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._with("div", other, swapped=True)

    def __pow__(self, other: Any) -> Any:
        return self._with("pow", other)

    def __rpow__(self, other: Any) -> Any:
        return self._with("pow", other, swapped=True)

    def __lt__(self, other: Any) -> Any:
        return self._with("lt", other)

    def __le__(self, other: Any) -> Any:
        return self._with("le", other)

    def __gt__(self, other: Any) -> Any:
        return self._with("gt", other)

    def __ge__(self, other: Any) -> Any:
        return self._with("ge", other)

    def __eq__(self, other: object) -> Any:
        return self._with("eq", other)

    def __ne__(self, other: object) -> Any:
        return self._with("ne", other)

    def __neg__(self) -> "Traced":
        return self._of("neg", self)

    def __pos__(self) -> "Traced":
        return self

    def __abs__(self) -> "Traced":
        return self._of("abs", self)

    def __bool__(self) -> bool:
        number = self if self.operation in _COMPARISONS else self._of("ne", self, 0.0)
        return bool(self.path.meet(number))

    def __int__(self) -> int:
        return self.path.meet(self._of("trunc", self))

    __trunc__ = __int__

    def __round__(self, digits: int | None = None) -> int:
        if digits is not None:
            raise UntraceableError("a number is rounded to digits")
        return self.path.meet(self._of("round", self))

    def __floor__(self) -> int:
        return self.path.meet(self._of("floor", self))

    def __ceil__(self) -> int:
        return self.path.meet(self._of("ceil", self))

    def __float__(self) -> NoReturn:
        raise NeedsFloatError("a number that depends on the mean field is made a float")

    def __copy__(self) -> "Traced":
        return self

    def __deepcopy__(self, _: Any) -> "Traced":
        return self  # states of games are copied deeply, and a number never changes

    def __getattr__(self, name: str) -> Any:
        """The methods by which NumPy computes a function of an object, such as `log`."""
        if name in _FUNCTIONS:
            return lambda: self._of(name, self)
        raise AttributeError(name)


def _as_number(value: Any) -> "Traced | float | None":
    """A traced number as it is, and any other as a float; None where it is none."""
    if isinstance(value, Traced):
        return value
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return _as_number(value.item())
    return float(value) if isinstance(value, int | float | np.number | np.bool_) else None


def _simplified(operation: str, number: Traced, constant: float, swapped: bool) -> "Traced | float | None":
    """The result where one argument is zero or one and makes it plain."""
    if operation == "mul" and constant == 0:
        return 0.0  # numbers are finite where the formula holds, which is tested against the game
    if (operation in ("add", "sub") and constant == 0 and not (swapped and operation == "sub")) or (
        constant == 1 and (operation == "mul" or (operation in ("div", "pow") and not swapped))
    ):
        return number
    return None


def selected(condition: Traced, chosen: Any, otherwise: Any) -> Any:
    """The first number where a condition holds, and the other one where it does not.

    Raises:
        UntraceableError: One of them is no number.
    """
    first, second = _as_number(chosen), _as_number(otherwise)
    if first is None or second is None:
        raise UntraceableError(f"a reward is no number, but {(chosen if first is None else otherwise)!r:.60}")
    return chosen if first is second else condition._of("where", condition, first, second)


def equal(number: Traced, whole: int) -> Traced:
    """Whether a number is a whole number, as a condition that is not decided yet."""
    return number._of("eq", number, float(whole))


def entries(time: int, size: int, path: Path) -> list[Traced]:
    """The entries of a mean field at a time as traced numbers."""
    return [Traced("entry", (time, place), path) for place in range(size)]


def untold(_: Traced) -> NoReturn:
    """What a path decides where no decision may depend on the mean field."""
    raise UntraceableError("a decision depends on the mean field")
