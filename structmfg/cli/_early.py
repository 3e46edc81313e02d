"""The folder of `structmfg solve`, made before anything is imported that takes seconds.

It holds the command in command.json until the settings are written, so that `--resume` can begin anew after a kill in
that time. Only the standard library is imported here. Whatever is not plainly a solve of one of the package's games is
left to the parser, which makes the folder itself or says what is wrong.
"""

import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

COMMAND = "command.json"
# By name, as their modules take long to import; a test holds them against `games.GAMES`.
GAME_NAMES = (
    "beach_bar",
    "beach_bar_crowded",
    "carmona_fouque_sun",
    "crowd_modelling",
    "left_right",
    "linear_quadratic",
    "macro",
)
_NO_RUN = ("--resume", "--help", "-h", "--version")
_MOST = 1000  # folders of one name that are tried


class Early(NamedTuple):
    """The folder; `made`: whether it was made for this command; `above`: its parent, where that was made, too."""

    folder: Path
    made: bool
    above: Path | None

    def drop(self) -> None:
        """Leave nothing behind, if no solve has begun in it."""
        try:
            if os.listdir(self.folder) != [COMMAND]:
                return
            (self.folder / COMMAND).unlink()
            if self.made:
                self.folder.rmdir()
            if self.above:
                self.above.rmdir()
        except OSError:  # another has been here
            pass


def prepare(argv: Sequence[str]) -> Early | None:
    """The folder with the command in it; None where it is not for us to make, or cannot be."""
    if not argv or argv[0] != "solve" or any(one.partition("=")[0] in _NO_RUN for one in argv):
        return None
    try:
        given = _option(argv, "out")
        if given is not None:
            return _given(Path(given), argv)
        name = _name(argv)
        return None if name is None else _numbered(Path("runs"), name, argv)
    except (OSError, ValueError):
        return None


def saved_command(folder: Path) -> list[str] | None:
    """The command that a folder was made for, if no solve has begun there. `ValueError` unless it is one."""
    from structmfg._files import read_json  # it takes long

    path = folder / COMMAND
    if not os.path.lexists(path):
        return None
    command = read_json(path).get("command")
    if not isinstance(command, list) or not all(isinstance(one, str) for one in command) or command[:1] != ["solve"]:
        raise ValueError(f"{path} must hold the command that the folder was made for, a list that begins with 'solve'")
    if any(one.partition("=")[0] in _NO_RUN for one in command):
        raise ValueError(f"{path} holds a command that begins no run")
    return command


def _option(argv: Sequence[str], name: str) -> str | None:
    """The last value given for an option."""
    found = None
    for one, following in zip(argv, [*argv[1:], None], strict=True):
        option, equals, value = one.partition("=")
        if option == f"--{name}":
            found = value if equals else following
    return found


def _name(argv: Sequence[str]) -> str | None:
    """As `begin` would name the folder; None where the parser has to be asked."""
    games = [one for one in argv[1:] if one in GAME_NAMES]
    solver, seed, seeds = _option(argv, "solver") or "rspg", _option(argv, "seed") or "0", _option(argv, "seeds")
    plain = re.fullmatch("[a-z_]+", solver) and all(re.fullmatch("[0-9]{1,10}", n) for n in (seed, seeds or "1"))
    if len(games) != 1 or not plain:
        return None
    first = int(seed)
    return f"{games[0]}-{solver}-{first if seeds is None else f'seeds-{first}-{first + int(seeds) - 1}'}"


def _given(folder: Path, argv: Sequence[str]) -> Early | None:
    """The folder that was asked for, where it is new or empty."""
    if folder.is_dir():
        if any(folder.iterdir()):
            return None
        _write(folder, argv)
        return Early(folder, False, None)
    if os.path.lexists(folder) or not folder.parent.is_dir():
        return None
    return Early(folder, True, None) if _put(folder, argv) else None


def _numbered(above: Path, name: str, argv: Sequence[str]) -> Early | None:
    made = not above.exists()
    above.mkdir(exist_ok=True)
    for number in range(1, _MOST):
        folder = above / (name if number == 1 else f"{name}-{number}")
        if not os.path.lexists(folder) and _put(folder, argv):
            return Early(folder, True, above if made else None)
    return None


def _put(folder: Path, argv: Sequence[str]) -> bool:
    """A new folder that holds the command as soon as it is there; False where another was first."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    temporary.mkdir()
    try:
        _write(temporary, argv)
        temporary.rename(folder)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        if folder.is_dir():
            return False
        raise
    return True


def _write(folder: Path, argv: Sequence[str]) -> None:
    temporary = folder / f".{COMMAND}.tmp"
    temporary.write_text(json.dumps({"command": list(argv)}) + "\n")
    temporary.replace(folder / COMMAND)
