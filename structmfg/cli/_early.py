"""The folder of `structmfg solve`, made before anything is imported that takes seconds.

Until the settings are written it holds the command in command.json, so that `--resume` can start again after a kill in
that time. Only the standard library is imported here. A command that is not plainly a solve of one of the package's
games is left to the parser, which makes the folder itself or says what is wrong.
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

COMMAND = "command.json"
# By name, as their modules take long to import; a test compares them with `games.GAMES`.
GAME_NAMES = (
    "bank_run",
    "beach_bar",
    "beach_bar_crowded",
    "botnet",
    "building_evacuation",
    "carmona_fouque_sun",
    "crowd_modelling",
    "crowd_modelling_2d",
    "electricity_storage",
    "epidemic",
    "equilibrium_price",
    "four_rooms",
    "garnet",
    "huggett_shocks",
    "krusell_smith",
    "lasry_lions",
    "left_right",
    "linear_quadratic",
    "macro",
    "predator_prey",
    "rock_paper_scissors",
    "routing",
    "sis",
    "susceptible_infected",
    "trade_crowding",
    "two_beach_bars",
)
# The games whose default solver is not rspg.
DEFAULT_SOLVERS = {"beach_bar_crowded": "exact"} | dict.fromkeys(
    ("four_rooms", "lasry_lions", "rock_paper_scissors", "sis", "two_beach_bars"), "stationary"
)
STARTS_NO_RUN = ("--resume", "--help", "-h", "--version", "--config", "--set", "--sweep", "--distributed")
_MAX_NUMBER = 1000  # appended to a folder's name


class Terminated(KeyboardInterrupt):
    """SIGTERM came: there is no time for more than saving what there is."""


class EarlyFolder(NamedTuple):
    """A folder with the command in it."""

    folder: Path
    made: bool  # whether it was made for this command
    parent: Path | None  # the folder above it, where that was made as well

    def drop(self) -> None:
        """Leave nothing behind if no solve has started in the folder."""
        try:
            if os.listdir(self.folder) != [COMMAND]:
                return
            (self.folder / COMMAND).unlink()
            if self.made:
                self.folder.rmdir()
            if self.parent:
                self.parent.rmdir()
        except OSError:  # another process has used the folder
            pass


def prepare(argv: Sequence[str]) -> EarlyFolder | None:
    """Make the folder and write the command into it; None where the parser has to make it, or say what is wrong."""
    if not argv or argv[0] != "solve" or any(word.partition("=")[0] in STARTS_NO_RUN for word in argv):
        return None
    if any(":" in word for word in argv):  # code of the user's own, which --resume must not import unasked
        return None
    try:
        out = _option(argv, "out")
        if out is not None:
            return _use_folder(Path(out), argv)
        name = _folder_name(argv)
        return None if name is None else _make_numbered_folder(Path("runs"), name, argv)
    except (OSError, ValueError):
        return None


def count_as_devices(argv: Sequence[str]) -> None:
    """For `structmfg plan`, let the processor count as `--devices`; later it would have counted as one."""
    number = _option(argv, "devices") or ""
    if argv[:1] == ["plan"] and re.fullmatch("[0-9]{1,3}", number) and int(number) > 1:
        import jax

        with contextlib.suppress(RuntimeError):  # something has been computed already
            jax.config.update("jax_platforms", "cpu")
            jax.config.update("jax_num_cpu_devices", int(number))


def _option(argv: Sequence[str], name: str) -> str | None:
    """The last value given for an option."""
    last = None
    for word, following in zip(argv, [*argv[1:], None], strict=True):
        option, equals, value = word.partition("=")
        if option == f"--{name}":
            last = value if equals else following
    return last


def _folder_name(argv: Sequence[str]) -> str | None:
    """The name that `begin` would give the folder; None where the parser has to be asked."""
    games = [word for word in argv[1:] if word in GAME_NAMES]
    solver, seed, seeds = _option(argv, "solver"), _option(argv, "seed") or "0", _option(argv, "seeds")
    if solver is None:
        if _option(argv, "horizon") is not None:  # which the solver depends on
            return None
        solver = DEFAULT_SOLVERS.get("".join(games), "rspg")
    plain = re.fullmatch("[a-z_]+", solver) and all(re.fullmatch("[0-9]{1,10}", n) for n in (seed, seeds or "1"))
    if len(games) != 1 or not plain:
        return None
    first = int(seed)
    return f"{games[0]}-{solver}-{first if seeds is None else f'seeds-{first}-{first + int(seeds) - 1}'}"


def _use_folder(folder: Path, argv: Sequence[str]) -> EarlyFolder | None:
    """The folder that was asked for, where it is new or empty."""
    if folder.is_dir():
        if any(folder.iterdir()):
            return None
        _write_command(folder, argv)
        return EarlyFolder(folder, False, None)
    if os.path.lexists(folder) or not folder.parent.is_dir():
        return None
    return EarlyFolder(folder, True, None) if _make_folder(folder, argv) else None


def _make_numbered_folder(parent: Path, name: str, argv: Sequence[str]) -> EarlyFolder | None:
    made = not parent.exists()
    parent.mkdir(exist_ok=True)
    for number in range(1, _MAX_NUMBER):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        if not os.path.lexists(folder) and _make_folder(folder, argv):
            return EarlyFolder(folder, True, parent if made else None)
    return None


def _make_folder(folder: Path, argv: Sequence[str]) -> bool:
    """Make a folder that holds the command as soon as it is there; False where another process was first."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    temporary.mkdir()
    try:
        _write_command(temporary, argv)
        temporary.rename(folder)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        if folder.is_dir():
            return False
        raise
    return True


def _write_command(folder: Path, argv: Sequence[str]) -> None:
    temporary = folder / f".{COMMAND}.tmp"
    temporary.write_text(json.dumps({"command": list(argv)}) + "\n")
    temporary.replace(folder / COMMAND)
