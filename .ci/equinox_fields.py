"""An extension of griffe: the fields of an equinox module are the parameters of its class, as those of a dataclass."""

from typing import Any

import griffe


class EquinoxFields(griffe.Extension):
    """Gives every class of the package that derives from `equinox.Module` an `__init__` with its fields."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Look at all classes, once all of them are known."""
        classes = _classes(pkg)
        written = {each.path for each in classes if "__init__" in each.members}
        for each in classes:
            if written.isdisjoint(one.path for one in [each, *_ancestors(each)]) and _is_module(each):
                parameters = griffe.Parameters(griffe.Parameter("self"), *_fields(each))
                each.set_member("__init__", griffe.Function("__init__", parameters=parameters, returns="None"))


def _classes(within: Any) -> list[griffe.Class]:
    own = [member for member in within.members.values() if not member.is_alias]
    inner = [each for member in own if member.is_module or member.is_class for each in _classes(member)]
    return [member for member in own if member.is_class] + inner


def _is_module(each: griffe.Class) -> bool:
    bases = [getattr(base, "canonical_path", str(base)) for one in [each, *_ancestors(each)] for base in one.bases]
    return "equinox.Module" in bases


def _ancestors(each: griffe.Class) -> list[griffe.Class]:
    try:
        return each.mro()
    except ValueError:
        return []


def _fields(each: griffe.Class) -> list[griffe.Parameter]:
    fields = {}
    for one in [*reversed(_ancestors(each)), each]:
        for name, member in one.members.items():
            if member.is_alias or not member.is_attribute or member.annotation is None or name.startswith("_"):
                continue
            if "instance-attribute" not in member.labels or "AbstractVar" in str(member.annotation):
                continue  # a property, or an attribute of the class
            fields[name] = griffe.Parameter(
                name, annotation=member.annotation, default=_default(member.value), kind=_KIND
            )
    return list(fields.values())


def _default(value: Any) -> Any:
    """The default of a field, from its value or from `eqx.field(default=...)`."""
    if isinstance(value, griffe.ExprCall):
        given = {each.name: each.value for each in value.arguments if isinstance(each, griffe.ExprKeyword)}
        return given.get("default", "..." if "default_factory" in given else None)
    return value


_KIND = griffe.ParameterKind.positional_or_keyword
