"""Texts in messages, and names with their nearest neighbours; nothing here takes long to import."""

import difflib
from collections.abc import Iterable
from typing import Any

_ACRONYMS = ("rspg", "spg", "gae", "ippo", "rippo")


def printable(text: str, *, keep: str = "") -> str:
    """Return the text with characters that do not print, which a terminal might obey, as codes; but for `keep`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def brief(value: Any) -> str:
    """Return the repr, but only the length of a huge number; Python refuses to print thousands of digits."""
    if isinstance(value, int) and abs(value) > 10**30:
        return f"a number of about {value.bit_length() * 3 // 10} digits"
    return repr(value)


def display_name(solver: str) -> str:
    """Return the name of a solver in a title: RSPG, M-OMD, tabular SPG, fictitious play."""
    if solver == "m_omd":
        return "M-OMD"
    return " ".join(word.upper() if word in _ACRONYMS else word for word in solver.split("_"))


def check_name(kind: str, name: str, allowed: Iterable[str]) -> None:
    """Raise `ValueError` with the nearest allowed names unless `name` is one of them."""
    allowed = sorted(allowed)
    if name in allowed:
        return
    near = difflib.get_close_matches(str(name), allowed, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise ValueError(f"unknown {kind} {name!r}; {hint}allowed: {', '.join(allowed) or 'none'}")
