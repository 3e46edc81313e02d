"""Command lines that somebody might type, and some that nobody would: strategies for hypothesis."""

import functools

from hypothesis import strategies as st

from structmfg.cli.arguments._options import OPTIONS, OUTPUT
from structmfg.cli.arguments.fields import economy_group, game_group, solver_groups
from structmfg.cli.economy.registry import ECONOMIES
from structmfg.games import GAMES
from structmfg.solvers import SOLVERS

NUMBERS = ["0", "1", "2", "5", "-1", "3.5", "1e308", "-1e308", "1e-320", "nan", "inf", "-inf", "10" + "0" * 30, "0x10"]
NUMBERS += ["1_000", "²", "１２", "", " 3 ", "1e5", "2147483648", "4294967296", "99999", "-0.0", "0.5", "9" * 5000]
WORDS = ["", "-", "--", "-x", "--out", "\x00", "a\x00b", "x" * 5000, "é", "\ud800", "🎲", "\n", "\x1b[31m", "%s", "\\"]
WORDS += ["{}", "[red]", "../", ".", "linear_quadratic ", "linear-quadratic", "LINEAR_QUADRATIC", "rspgg", "Exact"]
WORDS += ["none", "bash", "config.toml"]
MODULES = ["os:", ":x", "os:path", "no_such_module:Game", "structmfg.games:Macro", "json:loads", "a.b:c", ".:x", "é:é"]
MODULES += ["no_such_file.py:Game", "occupied/file.py:x"]
ASSIGNMENTS = [
    "seed=0..2",
    "seed=3",
    "game.horizon=3",
    "game.num_states=5,7",
    "solver.learning_rate=.1",
    "game.=1",
    "=",
    "a.b=c",
    "discount=0.9,0.95",
    "num_assets=5..9",
    "discount=0.9:0.95:3",
]
ASSIGNMENTS += [
    "seed=0..999999",
    "seed=5..1",
    "seed=",
    "game.horizon=x",
    "run.seed=1",
    "solver.name=spg",
    "game.name=macro",
]

numbers = st.sampled_from(NUMBERS) | st.integers().map(str) | st.floats().map(str)
words = st.sampled_from(WORDS) | st.text(max_size=12)
games = st.sampled_from([*GAMES, *GAMES, *MODULES]) | words
values = numbers | words | st.sampled_from([*SOLVERS, "paper", "default", "float32", "float64", "clairvoyant", "iid"])


@functools.cache
def _options(command):
    """The options of a command by what is typed, those of all games and solvers, too."""
    options = {option.typed: option for option in [*OPTIONS[command], *OUTPUT] if not option.positional}
    for game in GAMES if command in ("solve", "compare", "verify") else ():
        options |= {option.typed: option for option in game_group(game, command).options}
    for economy in ECONOMIES if command == "economy" else ():
        options |= {option.typed: option for option in economy_group(economy).options}
    for solver in SOLVERS if command == "solve" else ():
        for group in solver_groups(solver, "left_right", "default", set()):
            options |= {option.typed: option for option in group.options}
    return options


def _values_of(option):
    """Those that an option takes, more often than others."""
    if option.name == "out":
        return st.sampled_from(["new", "deep/er", "occupied", "occupied/file", ".", "", "\x00", "x" * 300, "é", "-"])
    if option.name in ("set", "sweep"):
        return st.sampled_from(ASSIGNMENTS) | words
    if option.name == "config":
        return st.sampled_from(["config.toml", "run/run.toml", "occupied/file", "none"]) | words
    names = st.sampled_from([*SOLVERS, "paper", "float32", "float64", *MODULES])
    right = names if option.kind is str or "Literal" in str(option.kind) else numbers
    return right | right | values


@st.composite
def _option(draw, command):
    options = _options(command)
    name = draw(st.sampled_from(sorted(options)))
    option = options[name]
    if option.kind is bool and draw(st.booleans()):
        name = f"--no-{name[2:]}"
    if draw(st.integers(0, 9)) == 0:  # nearly right
        name = draw(st.sampled_from([name[:-1], name + "s", name.replace("-", "_"), name.upper(), "-" + name[2:]]))
    if option.kind is bool and draw(st.integers(0, 9)):
        return [name]
    if draw(st.integers(0, 9)) == 0:  # no value
        return [name]
    value = draw(_values_of(option))
    return draw(st.sampled_from([[name, value], [name, value], [f"{name}={value}"], [name, value, value]]))


@st.composite
def command_lines(draw, command):
    """The command, what it is about, and options before and after it."""
    options = [draw(_option(command)) for _ in range(draw(st.integers(0, 4)))]
    about = []
    if command in ("solve", "compare", "verify"):
        about = [[draw(games)]]
    if command in ("evaluate", "open", "report"):
        about = [[draw(st.sampled_from(["run", "run", "run", "occupied", "none"]) | words)]]
    if command == "economy":
        about = [[draw(st.sampled_from([*ECONOMIES, *ECONOMIES, *MODULES]) | words)]]
    if command == "completion":
        about = [[draw(st.sampled_from(["bash", "zsh", "fish"]) | words)]]
    if draw(st.integers(0, 11)) == 0:
        about *= draw(st.sampled_from([0, 2]))
    parts = draw(st.permutations([*options, *about]))
    before = draw(st.sampled_from([[], [], [], [], [], ["--json"], ["--seed", "3"], [""], ["--version"]]))
    name = (
        command if draw(st.integers(0, 19)) else draw(st.sampled_from([command[:-1], command.upper(), f" {command}"]))
    )
    return [*before, name, *(word for part in parts for word in part)]
