"""The options of the command line that depend on no game and no solver; nothing here takes long to import."""

import types
import typing
from typing import Any, Literal, NamedTuple

COMMANDS = {
    "games": "list the games with their sizes, parameters and defaults",
    "solvers": "list the solvers: what each guarantees, and when to use it",
    "solve": "solve a game by training or exactly, and save the policy with a report",
    "evaluate": "measure the policy of a run again",
    "report": "put several runs beside each other in one page",
    "open": "open the report of a run in the browser",
    "economy": "steady state of an economy, its responses to a shock, and wealth; without a name, list them",
    "compare": "train several solvers on one clock, over seeds, with a figure and a table",
    "tune": "search the settings of a solver that suit a game, trial after trial on one clock",
    "verify": "check a game against its laws, Monte Carlo populations and more, with a report",
    "bench": "time operators, training and other libraries, with a report",
    "plan": "what an update would cost on several devices, and how to split it among them",
    "completion": "print a script that completes commands and options in a shell",
}
PRECISIONS = ("float32", "float64")


class Option(NamedTuple):
    """An option, or an argument where `positional`.

    Attributes:
        name: Its name, with underscores.
        kind: The type of its value: bool, int, float, str, a Literal, a tuple of one type, a list, or a union.
        help: What it is for.
        default: The value where it is not given.
        shown: The default as the help shows it; nothing by default.
        metavar: What the help shows for the value; by default from the type.
        section: The table of a configuration file that it belongs to: "run", "game" or "solver".
        positional: Whether it is given by its place.
        flag: The option as it is typed.
        looks: Of a list, the pattern of its values after the first; other words behind it are arguments of the command.
    """

    name: str
    kind: Any
    help: str
    default: Any = None
    shown: str = ""
    metavar: str = ""
    section: str = "run"
    positional: bool = False
    flag: str = ""
    looks: str = ""

    @property
    def several(self) -> bool:
        """Whether it takes several values."""
        return typing.get_origin(self.kind) is list

    @property
    def typed(self) -> str:
        """The option as it is typed."""
        return self.flag or f"--{self.name.replace('_', '-')}"


_KEY, _OWN_NAME = "[^=]+=.*", r"[^:]+:\w[\w.]*"
OWN = "or module:Class, file.py:Class of your own"
OUTPUT = [
    Option("json", bool, "one JSON object on the last line; the rest to stderr", default=False),
    Option("quiet", bool, "print nothing else", default=False),
]
_SCHEDULER = Option(
    "scheduler",
    str,
    "several runs at once: on N processes, or on the workers of a dask scheduler",
    metavar="N|tcp://...",
)
_PRECISION = Option("precision", str, "of all numbers", "float32", "float32", "{float32,float64}")


def _out(default: str, more: str = "") -> Option:
    return Option("out", str, f"a new or empty folder{more}", shown=f"{default}, numbered", metavar="DIR")


SOLVE = [
    Option("game", str, f"a game of structmfg games, {OWN}", metavar="GAME", positional=True),
    Option("solver", str, f"one of structmfg solvers, {OWN}", None, "rspg, but where another suits the game", "NAME"),
    Option("preset", str, "settings that suit the game, or the paper's", "default", "default", "{default,paper}"),
    Option("iterations", int, "number of updates", shown="the preset's"),
    Option("max_seconds", float, "stop the training there, wherever its schedules are"),
    Option("seed", int, "of everything random", 0, "0"),
    Option("seeds", int, "train K seeds side by side, from --seed on", metavar="K"),
    _PRECISION,
    Option("policy", str, "a function of yours that makes the policy of a game", metavar="MODULE:NAME"),
    Option("optimiser", str, "optax:NAME, or yours, in place of Adam", metavar="MODULE:NAME"),
    Option("config", str, "read settings from this file; options win over it", metavar="FILE.toml"),
    Option("set", list[str], "settings by their place in such a file", (), metavar="game.KEY=VALUE", looks=_KEY),
    Option(
        "sweep",
        list[str],
        "a run for each value: seed=0..4 game.KEY=1,2,5",
        (),
        metavar="KEY=VALUES",
        looks=_KEY,
    ),
    _SCHEDULER,
    _out("runs/GAME-SOLVER-SEED"),
    Option("resume", str, "go on with a run that was cut short", metavar="RUN"),
    Option("devices", str, "share noise paths among N devices, or 4x2: 4 for paths, 2 for states", metavar="N"),
    Option("distributed", bool, "this is one of the processes that share the run; see docs/devices.md", default=False),
    Option("snapshot_seconds", float, "between two snapshots, from which --resume goes on", 60.0, "60"),
]
ECONOMY = [
    Option("economy", str, "one of those listed, or module:function of your own", metavar="ECONOMY", positional=True),
    Option("shock", str, "the exogenous path that changes", shown="the first of the economy", metavar="PATH"),
    Option("size", float, "its change at time 0, in units of the path", 0.01, "0.01"),
    Option("persistence", float, "the share of the change that is left a period later", 0.8, "0.8"),
    Option("horizon", int, "periods", 300, "300"),
    Option("nonlinear", bool, "the path with perfect foresight, too, beside the linear response", default=False),
    Option(
        "sweep",
        list[str],
        "compare the values of a parameter: 1,2,5 or 0..4 or 0:1:5",
        (),
        metavar="PARAMETER=VALUES",
        looks=_KEY,
    ),
    _out("runs/economy-ECONOMY"),
]
EVALUATE = [
    Option("run", str, "a folder written by solve", metavar="RUN", positional=True),
    Option("game", str, "the run's game, if it is your own", metavar="MODULE:CLASS"),
    Option("solver", str, "the run's solver, if it is your own", metavar="MODULE:CLASS"),
    Option("policy", str, "the run's --policy, if it had one", metavar="MODULE:NAME"),
    Option("kind", str, "of exploitability", None, "all that are defined", "{clairvoyant,non_anticipative,public}"),
    Option("paths", int, "held-out noise paths where the noise is continuous", 32, "32"),
    Option("seed", int, "of the held-out paths, and of the games", 0, "0"),
    Option("players", list[int], "the policy among so many players, with a figure", (), metavar="N", looks="[0-9]+"),
    Option("deviator", str, "what a deviating player knows: non_anticipative, clairvoyant, full", metavar="KIND"),
    Option("games", int, "to play for every number of players", shown="about 2e6 agents in all"),
]
REPORT = [
    Option("runs", list[str], "folders written by solve", (), metavar="RUN", positional=True),
    Option("game", list[str], "games of the runs that are your own", (), metavar="MODULE:CLASS", looks=_OWN_NAME),
    Option("solver", list[str], "solvers of the runs that are your own", (), metavar="MODULE:CLASS", looks=_OWN_NAME),
    Option("policy", list[str], "what the runs had as --policy", (), metavar="MODULE:NAME", looks=_OWN_NAME),
    _out("runs/report"),
]
OPEN = [Option("run", str, "a folder written by a command", metavar="RUN", positional=True)]
_FIVE = "rspg,spg,rippo,ippo,m_omd"
COMPARE = [
    SOLVE[0],
    Option("solvers", str, f"names of structmfg solvers, {OWN}", _FIVE, _FIVE, "NAME,NAME"),
    Option("seeds", int, "the seeds 0..N-1", 3, "3"),
    Option("max_seconds", float, "of training for every solver and seed", 60.0, "60"),
    Option(
        "config", list[str], "game and settings of a solver from such files, as tune writes", (), metavar="FILE.toml"
    ),
    _PRECISION,
    _SCHEDULER,
    _out("runs/compare-GAME", ", or that of a comparison to go on with"),
]
TUNE = [
    SOLVE[0],
    Option("solver", str, f"one of structmfg solvers, {OWN}", None, "rspg, but where another suits the game", "NAME"),
    Option("trials", int, "how many trials in all", 30, "30", "N"),
    Option("max_seconds", float, "of training for every trial", 30.0, "30", flag="--seconds"),
    Option("iterations", int, "the most updates of a trial", shown="as many as fill the seconds"),
    Option(
        "search",
        list[str],
        "where to search: learning_rate=1e-4:1e-1:log, num_paths=2:16, schedule=cosine,linear",
        (),
        shown="around the preset",
        metavar="SETTING=LOW:HIGH",
        looks=_KEY,
    ),
    Option("measure", str, "what is made small", shown="excess, where the game has it", metavar="{excess,clairvoyant}"),
    Option("seed", int, "of training and search", 0, "0"),
    _PRECISION,
    _out("runs/tune-GAME-SOLVER", ", or that of a search to go on with"),
    Option("resume", str, "go on with the search in this folder; give the command as it was", metavar="DIR"),
]
VERIFY = [
    SOLVE[0],
    Option("deep", bool, "larger populations and more studies: minutes, not seconds", default=False),
    Option("fuzz", int, "check the laws at N random points, too", 0, "0"),
    Option("self_test", bool, "no game: put faults into games, and say which are found", default=False),
    Option("points", int, "random paths along which the laws are checked", 3, "3"),
    Option("seed", int, "of everything random", 0, "0"),
    _PRECISION,
    _out("runs/verify-GAME"),
]
BENCH = [
    Option("quick", bool, "a selection, in at most ten minutes", default=False),
    Option("device", str, "where to measure", None, "the one that JAX picks", "{cpu,gpu}"),
    Option(
        "games",
        list[str],
        "of beach_bar, linear_quadratic, macro; or all: every solver on all games, also those of installed libraries",
        (),
        "all three",
        "GAME",
    ),
    Option("sizes", list[int], "numbers of states", (), "each game's own", "N"),
    Option("peer", list[str], "another library to time (see benchmarks.Peer)", (), metavar="MODULE:CLASS"),
    Option("seed", int, "of policies, noise and training", 0, "0"),
    Option("solvers", str, "with --games all: a list of solvers, separated by commas", None, "all"),
    Option("max_seconds", float, "with --games all: of training for every solver and game", None, "10"),
    _out("runs/bench", ", or with --games all that of a run to go on with"),
]
PLAN = [
    SOLVE[0],
    Option("devices", int, "how many devices there are", 1, "1", "N"),
    Option("device", str, "what each is; cpu is measured here", "cpu", "cpu", "{h100,h200,a100,cpu}"),
    Option("paths", int, "noise paths of an update", shown="the preset's"),
]
COMPLETION = [Option("shell", str, "of which shell", metavar="{bash,zsh,fish}", positional=True)]
OPTIONS = {
    "games": [],
    "solvers": [],
    "solve": SOLVE,
    "evaluate": EVALUATE,
    "report": REPORT,
    "open": OPEN,
    "economy": ECONOMY,
    "compare": COMPARE,
    "tune": TUNE,
    "verify": VERIFY,
    "bench": BENCH,
    "plan": PLAN,
    "completion": COMPLETION,
}


def members(kind: Any) -> tuple[Any, ...]:
    """The types that a value may have: those of a union, or the type itself."""
    union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return typing.get_args(kind) if union else (kind,)


def is_readable(kind: Any) -> bool:
    """Whether a value of this type can be typed on a command line."""
    return any(
        member in (bool, int, float, str) or typing.get_origin(member) in (Literal, tuple) for member in members(kind)
    )


def read_value(name: str, kind: Any, text: str) -> Any:
    """The value of this type that a text stands for.

    Raises:
        ValueError: The text is none; the message has `name`.
    """
    kinds = members(kind)
    if type(None) in kinds and text == "none":
        return None
    tuples = [member for member in kinds if typing.get_origin(member) is tuple]
    if tuples and ("," in text or len(kinds) == 1):
        return tuple(read_value(name, typing.get_args(tuples[0])[0], item) for item in text.split(",") if item)
    if bool in kinds:
        if text not in ("true", "false"):
            raise ValueError(f"{name} must be true or false, but is {text!r}")
        return text == "true"
    try:
        if int in kinds:
            return int(text)
        if float in kinds:
            return float(text)
    except ValueError:
        wanted = "a whole number" if int in kinds else "a number"
        raise ValueError(f"{name} must be {wanted}, but is {text[:200]!r}") from None
    return text
