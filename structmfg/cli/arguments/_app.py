"""The command line as a cyclopts application: it splits the arguments, prints the help and completes in shells.

Values arrive as texts; `_options.read_value` turns them into numbers, by the same rules as those of `--set`.
"""

import difflib
import inspect
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple, NoReturn

from cyclopts import App, CycloptsError, Group, Parameter
from cyclopts.exceptions import MissingArgumentError, UnknownOptionError, UnusedCliTokensError
from cyclopts.help import PlainFormatter
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from structmfg._version import __version__
from structmfg.cli.arguments._options import COMMANDS, OPTIONS, OUTPUT, Option, members

_DESCRIPTION = "Solve mean field games with common noise and partial observation."
_ALWAYS = {"--help", "--version"}
_PATHS = ("RUN", "DIR", "FILE.toml", "MODULE:CLASS", "MODULE:NAME")  # what the values of options are called
_MIN_WIDTH = 110  # of the help, where the terminal has so much room or there is none


class OptionGroup(NamedTuple):
    """Options under one heading of the help, with a sentence about them."""

    title: str
    text: str
    options: Sequence[Option]


class UnknownOption(ValueError):  # noqa: N818 (a refusal, which is shown as it is)
    """An option that the command does not have."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(message)
        self.option = option


class _Formatter(PlainFormatter):
    """Options in one column and what they are for in the other."""

    def __call__(self, console: Console, options: Any, panel: Any) -> None:
        if not panel.entries:
            return
        about = getattr(panel.description, "plain", panel.description) or ""
        console.print(Text(panel.title, style="bold") + Text(f"  {about}".rstrip(), style="dim"))
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        for entry in panel.entries:
            names = ", ".join([*entry.positive_names, *entry.positive_shorts]) or entry.positional_label
            negative = f", {entry.negative_names[0]}" if entry.negative_names else ""
            value = f" {entry.metavar}" if entry.metavar and names.startswith("-") else ""
            table.add_row(Text(f"{names}{negative}{value}", style="cyan"), entry.description)
        console.print(Padding(table, (0, 0, 0, 2)))
        console.print()


def build_app(
    groups: Mapping[str, Sequence[OptionGroup]],
    *,
    shown: Iterable[str] = (),
    choices: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> App:
    """The application.

    Args:
        groups: The options of each command beyond those that it always has.
        shown: Commands whose help shows these options alone.
        choices: For the script of a shell, the names that it completes, by option: those of games and of solvers.
    """
    app = App(
        name="structmfg", version=f"structmfg {__version__}", help=_DESCRIPTION, help_format="plaintext",
        help_formatter=_Formatter(), help_flags=["--help", "-h"], version_flags=["--version"],
        group_commands=Group("Commands", sort_key=0),
    )  # fmt: skip
    for name, text in COMMANDS.items():
        beyond = groups.get(name, ())
        standard = [OptionGroup("Options", "", OPTIONS[name]), OptionGroup("Output", "", OUTPUT)]
        function = _function([*standard, *beyond], hidden=standard if name in shown else [], choices=choices)
        sentence = f"{text[0].upper()}{text[1:]}."
        if name in shown:
            sentence += f" Options of every run: structmfg {name} --help. Defaults are in brackets."
        app.command(function, name=name, help=sentence, usage=_usage(name))
    return app


def _usage(command: str) -> str:
    """How a command is typed."""
    arguments = [option for option in OPTIONS[command] if option.positional]
    words = (f"{each.metavar} [{each.metavar} ...]" if each.several else each.metavar for each in arguments)
    return " ".join(["Usage: structmfg", command, *words, "[OPTIONS]"])


def _function(
    groups: Sequence[OptionGroup], hidden: Sequence[OptionGroup], choices: Mapping[str, Sequence[str]]
) -> Any:
    """A function whose signature has these options, from which cyclopts reads them."""
    parameters: list[inspect.Parameter] = []
    options: dict[str, Option] = {}
    for order, group in enumerate(groups):
        heading = Group(group.title, help=group.text, sort_key=order)
        for option in group.options:
            if option.kind is Any:
                continue
            details = Parameter(
                name=None if option.positional else option.typed,
                help=_help(option),
                group=heading,
                metavar=None if option.kind is bool else option.metavar or _metavar(option.kind),
                show=option.positional or group not in hidden,
                allow_repeating=True,  # the last one wins
                show_default=False,
                show_choices=False,
                negative=None if option.kind is bool and option.default is not False else (),
                consume_multiple=option.several,
            )
            place = inspect.Parameter.POSITIONAL_ONLY if option.positional else inspect.Parameter.KEYWORD_ONLY
            name = option.name if option.positional else f"option_{len(options)}"  # two sections may share names
            kind = Annotated[_annotation(option, choices), details]  # type: ignore[valid-type]
            parameters.append(inspect.Parameter(name, place, default=None, annotation=kind))
            options[name] = option

    def command(*_: Any, **__: Any) -> None:
        """What is done with the arguments is up to the caller."""

    parameters.sort(key=lambda parameter: parameter.kind)
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.options = options  # type: ignore[attr-defined]
    return command


def _annotation(option: Option, choices: Mapping[str, Sequence[str]]) -> Any:
    """The type by which cyclopts counts the values of an option, and by which a shell completes them."""
    if option.kind is bool:
        return bool
    value = _completed(option, choices) if choices else str
    return list[value] if option.several else value  # type: ignore[valid-type]


def _completed(option: Option, choices: Mapping[str, Sequence[str]]) -> Any:
    """The names that a value may be, or a path, for the script of a shell."""
    if option.metavar in _PATHS:
        return Path
    listed = re.fullmatch(r"\{(.*)\}", option.metavar)
    names = listed[1].split(",") if listed else choices.get(option.name) or _names(option.kind)
    return typing.cast(Any, Literal)[tuple(names)] if names else str


def _metavar(kind: Any) -> str:
    """What the help shows for a value of this type."""
    kinds = members(kind)
    if any(typing.get_origin(member) is tuple and float in typing.get_args(member) for member in kinds):
        return "X,X"
    return "N" if int in kinds else "X" if float in kinds else "NAME" if _names(kind) else "TEXT"


def _names(kind: Any) -> list[str]:
    """The names that a value may be."""
    return [
        name for member in members(kind) for name in typing.get_args(member) if typing.get_origin(member) is Literal
    ]


def _help(option: Option) -> str:
    """What an option is for, the names that it takes, and its default."""
    names = ", ".join(_names(option.kind))
    text = f"{option.help}: {names}" if option.help and names else option.help or names
    return f"{text} [{option.shown}]" if option.shown else text


def split(app: App, argv: Sequence[str]) -> tuple[str, list[tuple[Option, Any]]] | None:
    """The command, and the options that were given with their texts; None where help was asked for and printed.

    Raises:
        ValueError: The arguments are not those of a command.
    """
    try:
        command, bound, _ = app.parse_args(list(argv), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        _refuse(error, argv)
    options = getattr(command, "options", None)
    if options is None:  # the help, or the version
        console = Console()
        if not console.is_terminal:
            console.width = max(console.width, _MIN_WIDTH)
        if "console" in bound.kwargs:
            bound.kwargs["console"] = console
            bound.arguments["console"] = console
        command(*bound.args, **bound.kwargs)
        return None
    return argv[0], [(options[name], value) for name, value in bound.arguments.items()]


def _refuse(error: CycloptsError, argv: Sequence[str]) -> NoReturn:
    message = str(error).strip().rstrip(".")
    where = f"structmfg {argv[0]}" if argv and argv[0] in COMMANDS else "structmfg"
    if isinstance(error, UnknownOptionError):
        option = str(getattr(error.token, "keyword", None) or message).partition("=")[0]
        known = {name for argument in error.argument_collection for name in argument.names if name.startswith("--")}
        of_game = [name[2:] for name in known if name == f"--game-{option[2:]}"]  # of a game of OpenSpiel's
        nearest = of_game or difflib.get_close_matches(
            option[2:], [name[2:] for name in known | _ALWAYS], n=1, cutoff=0.5
        )
        hint = f"; did you mean --{nearest[0]}?" if nearest else ""
        message = f"unknown option {option}{hint}"
        raise (ValueError(message) if of_game else UnknownOption(option, message)) from None
    if isinstance(error, UnusedCliTokensError):
        raise ValueError(f"unexpected argument {(error.unused_tokens or [''])[0]!r}") from None
    if isinstance(error, MissingArgumentError):
        message = message.partition(" parameter ")[2] or message
    raise ValueError(f"{message[:1].lower() + message[1:]} (see {where} --help)") from None
