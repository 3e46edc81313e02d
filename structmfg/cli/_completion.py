"""`structmfg completion`: print the script with which a shell completes commands, games and options."""

from structmfg._text import check_name
from structmfg.cli.arguments import Arguments, Option, OptionGroup, build_app
from structmfg.cli.arguments.fields import economy_group, game_group, solver_groups
from structmfg.cli.economy.registry import ECONOMIES
from structmfg.games import GAMES
from structmfg.solvers import SOLVERS

_SHELLS = ("bash", "zsh", "fish")
_COMMANDS = ("solve", "compare", "verify", "economy")


def completion(arguments: Arguments) -> int:
    """Print the script; bash, zsh and fish read it from where their manuals say."""
    if arguments.shell is None:
        raise ValueError("name a shell, bash, zsh or fish, as in structmfg completion bash")
    check_name("shell", arguments.shell, _SHELLS)
    groups = {command: [_all_options(command)] for command in _COMMANDS}
    choices = {"game": tuple(GAMES), "solver": tuple(SOLVERS), "economy": tuple(ECONOMIES)}
    script = build_app(groups, choices=choices).generate_completion(shell=arguments.shell)
    if arguments.shell == "bash":  # where no name fits, complete files: a game may be path/to/file.py:Class
        script = script.replace("complete -F ", "complete -o bashdefault -o default -F ")
    print(script)
    return 0


def _all_options(command: str) -> OptionGroup:
    """The options of all games or economies, and for `solve` of all solvers; those of the same name once."""
    options: dict[str, Option] = {}
    subjects = [economy_group(name) for name in ECONOMIES] if command == "economy" else []
    for group in subjects or [game_group(game, command) for game in GAMES]:
        options |= {option.typed: option for option in group.options}
    if command == "solve":
        for solver in SOLVERS:
            for group in solver_groups(solver, "left_right", "default", set()):
                options |= {option.typed: option for option in group.options}
    return OptionGroup("All", "", list(options.values()))
