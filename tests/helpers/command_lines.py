"""Command lines that somebody might type, and some that nobody would: strategies for hypothesis."""

import argparse

from hypothesis import strategies as st

from structmfg.cli._parser import build_parser
from structmfg.games import GAMES
from structmfg.solvers import SOLVERS

_PARSER, _ = build_parser()
(_COMMANDS,) = (action.choices for action in _PARSER._actions if isinstance(action, argparse._SubParsersAction))

NUMBERS = ["0", "1", "2", "5", "-1", "3.5", "1e308", "-1e308", "1e-320", "nan", "inf", "-inf", "10" + "0" * 30, "0x10"]
NUMBERS += ["1_000", "²", "１２", "", " 3 ", "1e5", "2147483648", "4294967296", "99999", "-0.0", "0.5", "9" * 5000]
WORDS = ["", "-", "--", "-x", "--out", "\x00", "a\x00b", "x" * 5000, "é", "\ud800", "🎲", "\n", "\x1b[31m", "%s", "\\"]
WORDS += ["{}", "[red]", "../", ".", "linear_quadratic ", "linear-quadratic", "LINEAR_QUADRATIC", "rspgg", "Exact"]
WORDS += ["none"]
MODULES = ["os:", ":x", "os:path", "no_such_module:Game", "structmfg.games:Macro", "json:loads", "a.b:c", ".:x", "é:é"]

numbers = st.sampled_from(NUMBERS) | st.integers().map(str) | st.floats().map(str)
words = st.sampled_from(WORDS) | st.text(max_size=12)
games = st.sampled_from([*GAMES, *GAMES, *MODULES]) | words
values = numbers | words | st.sampled_from([*SOLVERS, "paper", "default", "float32", "float64", "clairvoyant", "iid"])


def _values_of(action: argparse.Action) -> st.SearchStrategy[str]:
    """Those that an option takes, more often than others."""
    if action.dest == "out":
        return st.sampled_from(["new", "deep/er", "occupied", "occupied/file", ".", "", "\x00", "x" * 300, "é", "-"])
    right = numbers if action.type is not None else st.sampled_from([*SOLVERS, "paper", "float32", "float64"])
    return right | right | values


@st.composite
def _option(draw: st.DrawFn, command: str) -> list[str]:
    actions = [action for action in _COMMANDS[command]._actions if action.option_strings and action.dest != "help"]
    action = draw(st.sampled_from(actions))
    name = draw(st.sampled_from(action.option_strings))
    if draw(st.integers(0, 9)) == 0:  # nearly right
        name = draw(st.sampled_from([name[:-1], name + "s", name.replace("-", "_"), name.upper(), "-" + name[2:]]))
    if action.nargs == 0 and draw(st.integers(0, 9)):
        return [name]
    if draw(st.integers(0, 9)) == 0:  # no value
        return [name]
    value = draw(_values_of(action))
    return draw(st.sampled_from([[name, value], [name, value], [f"{name}={value}"], [name, value, value]]))


@st.composite
def command_lines(draw: st.DrawFn, command: str) -> list[str]:
    """The command, what it is about, and options before and after it."""
    options = [draw(_option(command)) for _ in range(draw(st.integers(0, 4)))]
    about: list[list[str]] = []
    if command in ("solve", "compare", "verify"):
        about = [[draw(games)]]
    if command == "evaluate":
        about = [[draw(st.sampled_from(["run", "run", "run", "occupied", "none"]) | words)]]
    if draw(st.integers(0, 11)) == 0:
        about *= draw(st.sampled_from([0, 2]))
    parts = draw(st.permutations([*options, *about]))
    before = draw(st.sampled_from([[], [], [], [], [], ["--json"], ["--seed", "3"], [""], ["--version"]]))
    name = (
        command if draw(st.integers(0, 19)) else draw(st.sampled_from([command[:-1], command.upper(), f" {command}"]))
    )
    return [*before, name, *(word for part in parts for word in part)]
