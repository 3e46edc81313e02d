"""Settings from a TOML file and from `--set`: the tables [run], [game] and [solver], as every run folder holds them."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from structmfg._files import check_types, open_plain_file
from structmfg._text import check_name, printable
from structmfg.cli.arguments._options import Option, members, read_value

MAX_RUNS = 256  # of a sweep
_MAX_BYTES = 2**20
_TABLES = ("run", "game", "solver")
Table = dict[str, Any]


class Layer(NamedTuple):
    """Settings of one origin.

    Attributes:
        tables: The values by table and key: of TOML's types from a file, texts from the command line.
        origin: The file, or the option.
        text: The text of the file; empty for an option.
    """

    tables: dict[str, Table]
    origin: str
    text: str = ""

    def place(self, table: str, key: str) -> str:
        """Where a value stands, for a message: the file with the line, or the option."""
        line, inside = 0, False
        for number, content in enumerate(self.text.splitlines(), start=1):
            if heading := re.match(r"\s*\[\s*([\w-]+)\s*\]", content):
                inside = heading[1] == table
                line = number if inside and not line else line
            elif inside and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", content):
                return f"{self.origin}, line {number}"
        return f"{self.origin}, line {line}" if line else self.origin

    def check_places(self, of_run: Mapping[str, Any], fields: Mapping[str, Mapping[str, Any]]) -> None:
        """Raise `ValueError` on a key of [run] that is one of [game] or [solver] instead."""
        for key in self.tables.get("run", {}).keys() - of_run.keys():
            for table in (table for table in ("game", "solver") if key in fields.get(table, {})):
                raise ValueError(f"{self.place('run', key)}: {key} is no key of [run] but of [{table}]: {table}.{key}")

    def values(self, table: str, options: Mapping[str, Option], what: str) -> Table:
        """The values of a table as their options take them.

        Raises:
            ValueError: A key is unknown (the message has the nearest ones), or a value is of another type.
        """
        values = {}
        for key, value in self.tables.get(table, {}).items():
            try:
                check_name(what, key, options)
                values[key] = _value(key, options[key].kind, value)
            except ValueError as error:
                raise ValueError(f"{self.place(table, key)}: {error}") from None
        return values


def read_config(path: str) -> Layer:
    """The settings in a TOML file.

    Raises:
        ValueError: It cannot be read, is no TOML, or has other tables than [run], [game] and [solver].
    """
    with open_plain_file(Path(path), _MAX_BYTES) as file:
        data = file.read(_MAX_BYTES)
    try:
        text = data.decode()
        tables = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise ValueError(f"{path} is no TOML file: {error}") from None
    for name, table in tables.items():
        check_name(f"table in {path}", name, _TABLES)
        if not isinstance(table, dict):
            raise ValueError(f"{path}: {name} must be a table, [{name}], but is {printable(repr(table)[:80])}")
    return Layer(tables, path, text)


def read_assignments(words: Sequence[str], option: str) -> Layer:
    """The settings of `--set` or `--sweep`: words like game.volatility=0.5; without a table, of [run].

    Raises:
        ValueError: A word is no assignment, names another table, or is given twice.
    """
    tables: dict[str, Table] = {}
    for word in words:
        place, equals, value = word.partition("=")
        table, dot, key = place.rpartition(".")
        if not (equals and key):
            raise ValueError(f"{option} takes KEY=VALUE, such as game.num_states=51, but was given {word[:200]!r}")
        table = table if dot else "run"
        check_name(f"table of {option}", table, _TABLES)
        keys = tables.setdefault(table, {})
        if (key := key.replace("-", "_")) in keys:
            raise ValueError(f"{option} has {place[:200]} twice")
        keys[key] = value
    return Layer(tables, option)


def read_values(option: Option, text: str) -> list[Any]:
    """The values of a sweep: a list such as 0.5,1,2, whole numbers such as 0..4, or 0:1:5, five from 0 to 1.

    Raises:
        ValueError: They cannot be read, are too many, or have a value twice.
    """
    words = [word for word in text.split(",") if word]
    if span := re.fullmatch(r"(-?\d{1,9})\.\.(-?\d{1,9})", text):
        first, last = int(span[1]), int(span[2])
        _check_number(option, last - first + 1)
        words = [str(value) for value in range(first, last + 1)]
    elif (span := re.fullmatch(r"([^:,]+):([^:,]+):(\d{1,9})", text)) and float in members(option.kind):
        low, high = (float(read_value(option.name, option.kind, span[k])) for k in (1, 2))
        number = int(span[3])
        _check_number(option, number)
        steps = max(number - 1, 1)
        words = [f"{low + (high - low) * k / steps:.12g}" for k in range(number)]
    values = [read_value(option.name, option.kind, word) for word in words]
    if not values:
        raise ValueError(f"--sweep {option.name} needs values, such as 0.5,1,2 or 0..4, but was given {text[:200]!r}")
    if len(values) != len(set(values)):
        raise ValueError(f"--sweep {option.name} has a value twice: {text[:200]!r}")
    return [float(v) if type(v) is int and int not in members(option.kind) else v for v in values]


def _check_number(option: Option, number: int) -> None:
    if number > MAX_RUNS:
        raise ValueError(f"--sweep asks for {number} values of {option.name}, of at most {MAX_RUNS}")


def _value(name: str, kind: Any, value: Any) -> Any:
    """A value as its option takes it: a text by the rules of the command line, another one by its type."""
    kinds = members(kind)
    if value == "none" and type(None) in kinds:
        return None
    if isinstance(value, str) and str not in kinds and bool not in kinds and not any(map(_is_text, kinds)):
        return read_value(name, kind, value)
    if isinstance(value, str) and bool in kinds:
        return read_value(name, kind, value)
    check_types({name: value}, {name: kind})
    if isinstance(value, list):
        return tuple(value)
    return float(value) if type(value) is int and int not in kinds and float in kinds else value


def _is_text(kind: Any) -> bool:
    return any(isinstance(member, str) for member in getattr(kind, "__args__", ()))
