"""Values from JSON against the types that they are to have."""

import reprlib
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "null"}


def check_types(values: Mapping[str, Any], kinds: Mapping[str, Any], *, of: str = "") -> None:
    """Raise `ValueError` unless every value that has a type in `kinds` is of it; a whole number is a number, too."""
    for name, value in values.items():
        if name in kinds and not _fits(value, kinds[name]):
            raise ValueError(f"{of}{name} must be {_spoken(kinds[name])}, but is {reprlib.repr(value)}")


def _fits(value: Any, kind: Any) -> bool:
    origin, members = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return True
    if origin is Literal:
        return isinstance(value, str | None) and value in members
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, member) for member in members)
    if origin in (tuple, list):
        return isinstance(value, list) and all(_fits(item, members[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(item, members[1]) for item in value.values())
    if kind is float:
        return type(value) in (int, float)
    return type(value) is kind  # bool is a subclass of int, and no number


def _spoken(kind: Any) -> str:
    origin, members = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(map(str, members))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_spoken, members))
    if origin in (tuple, list):
        return f"a list, each {_spoken(members[0])}"
    if origin is dict:
        return "an object" if members[1] is Any else f"an object, each value {_spoken(members[1])}"
    return _WORDS.get(kind, str(kind))
