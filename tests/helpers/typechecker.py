"""What `jaxtyping.jaxtyped` does with beartype, in less time: the arguments and the result, checked in one call.

`jaxtyping.jaxtyped` binds the arguments to the signature and checks them twice at every call, which took a fifth of
the time of the tests.
"""

import dataclasses
import functools
import inspect
import types
from collections.abc import Callable
from typing import Any, get_type_hints

import jaxtyping
from beartype import BeartypeConf, beartype

# An int where a float is annotated, as Python's own type checkers have it.
_beartype = beartype(conf=BeartypeConf(is_pep484_tower=True, violation_type=jaxtyping.TypeCheckError))
_scope = jaxtyping.jaxtyped


def jaxtyped(thing: Any = None, *, typechecker: Any = None) -> Any:
    """Check a function, or what a dataclass is made from."""
    if thing is None:
        return jaxtyped
    if not inspect.isclass(thing):
        return _checked(thing)
    if dataclasses.is_dataclass(thing) and not hasattr(thing.__init__, "_is_checked"):
        thing.__init__ = _checked(thing.__init__)
    return thing


def _checked(function: Callable) -> Callable:
    """The function with its annotations checked, but not one within a function, which would be prepared every time."""
    if not function.__annotations__ or "<locals>" in function.__qualname__:
        return function
    resolved = _beartype(_with_known_annotations(function))

    @functools.wraps(function)
    def checked(*args, **kwargs):
        if jaxtyping.config.jaxtyping_disable:
            return function(*args, **kwargs)
        with _scope("context"):  # a letter stands for one length during this call
            return resolved(*args, **kwargs)

    # Tracebacks are searched for the line of a user's own code, which this is not.
    checked.__code__ = checked.__code__.replace(co_filename="<checked>")
    checked._is_checked = True
    return checked


def _with_known_annotations(function: Callable) -> Callable:
    """A copy of the function in which annotations in quotes are read, and those that are not known yet are anything."""
    annotations = {name: _read(hint, function.__globals__) for name, hint in function.__annotations__.items()}
    copy = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__, copy.__annotations__ = function.__kwdefaults__, annotations
    copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
    vars(copy).update(vars(function))  # `__wrapped__` of a decorated one, whose own arguments are not the annotated
    return copy


def _read(hint: Any, names: dict) -> Any:
    def holder(): ...

    holder.__annotations__ = {"hint": hint}
    try:
        return get_type_hints(holder, names, include_extras=True)["hint"]
    except Exception:  # as jaxtyping does: a class that is imported for type checkers alone, for instance
        return Any
