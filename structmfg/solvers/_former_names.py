"""Former names of hyper-parameters: saved settings are translated, calls are refused with the new name."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Kind = TypeVar("Kind", bound=type)


def renamed_fields(**present: str) -> Callable[[Kind], Kind]:
    """Make a solver class refuse its former keywords with the names that they have now: `renamed_fields(old="new")`."""

    def decorate(kind: Kind) -> Kind:
        generated: Any = kind.__init__  # type: ignore[misc]

        @functools.wraps(generated)
        def init(self: Any, *values: Any, **fields: Any) -> None:
            check_present_names(kind, fields)
            generated(self, *values, **fields)

        kind.__init__ = init  # type: ignore[misc]
        kind._former_names = present  # type: ignore[attr-defined]
        return kind

    return decorate


def check_present_names(kind: type, settings: Mapping[str, Any]) -> None:
    """Raise `ValueError` on the former name of a hyper-parameter of this solver class."""
    for former, present in _former_names(kind).items():
        if former in settings:
            raise ValueError(f"{former} of {kind.__name__} is now called {present}")


def with_present_names(kind: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Saved settings of a solver class, by the names that its hyper-parameters have now."""
    names = _former_names(kind)
    return {names.get(name, name): value for name, value in settings.items()}


def _former_names(kind: type) -> dict[str, str]:
    return getattr(kind, "_former_names", {})
