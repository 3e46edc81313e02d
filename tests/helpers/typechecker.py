"""Beartype, with an int where a float is annotated, as Python's own type checkers have it."""

from collections.abc import Callable

from beartype import BeartypeConf, beartype

_beartype = beartype(conf=BeartypeConf(is_pep484_tower=True))


def typechecker(function: Callable) -> Callable:
    """Check the arguments, but not of functions within functions, which would be prepared anew at every call."""
    return function if "<locals>" in function.__qualname__ else _beartype(function)
