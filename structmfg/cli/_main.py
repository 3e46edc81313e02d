"""Run a command, and turn errors into exit codes.

0 done, 1 where numbers are not finite, a tolerance is not reached or a check fails, 2 bad input, 130 interrupted before
there was a report, 143 terminated.

The library raises `ValueError` on bad input; here it becomes one line on standard error.
"""

import importlib
import os
import sys
from collections.abc import Sequence

from structmfg._text import printable
from structmfg.cli._early import EarlyFolder, Terminated
from structmfg.cli.arguments import parse

# The module and the function of a command, where they are called otherwise.
_PLACES = {"games": ("_lists", "games"), "solvers": ("_lists", "solvers"), "sweep": ("sweeps", "sweep")}
_PLACES |= {"plan": ("_bench", "plan"), "open": ("_pages", "open_report"), "report": ("_pages", "report")}
_PLACES |= {"economy": ("economy", "economy"), "tune": ("tuning", "tune")}
_LOST = (
    "another process of this run has ended, or cannot be reached: --resume goes on from the last snapshot, "
    "where there is one"
)


def run(argv: Sequence[str], early: EarlyFolder | None) -> int:
    """Run the command, in the folder that was made early if there is one, and return its exit code."""
    try:
        arguments = parse(argv)
        arguments.early = early
        # Imported here, as --help should not wait for it.
        from structmfg._flags import keep_compiled_programs

        keep_compiled_programs()
        command = "sweep" if arguments.command == "solve" and arguments.sweep else arguments.command
        module, function = _PLACES.get(command, (f"_{command}", command))
        return int(getattr(importlib.import_module(f"structmfg.cli.{module}"), function)(arguments))
    except SystemExit as request:  # --help and --version
        return int(request.code or 0)
    except KeyboardInterrupt as interrupt:
        terminated = isinstance(interrupt, Terminated)
        nothing = f"{'terminated' if terminated else 'interrupted'}, with nothing to save"
        return _fail(str(interrupt) or nothing, 143 if terminated else 130)
    except BrokenPipeError:  # the reader of a pipe has gone: leave without a word
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ValueError as error:
        return _fail(*_lost(error) if "--distributed" in argv and "Gloo" in str(error) else (str(error), 2))
    except OSError as error:
        return _fail(f"{str(error.filename or '')[:200]}: {error.strerror or error}", 2)
    except (MemoryError, OverflowError) as error:
        return _fail(f"too large for this machine: {error or 'out of memory'}", 2)
    except RuntimeError as error:
        if type(error).__name__ != "JaxRuntimeError":
            return _fail(str(error), 1)
        if "--distributed" in argv and "RESOURCE_EXHAUSTED" not in str(error):
            return _fail(*_lost(error))
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return _fail(f"too large for this machine: {error}", 2)
    except Exception as error:
        from structmfg._import import fault_of_user

        if os.environ.get("STRUCTMFG_TRACEBACK") or (fault := fault_of_user(error)) is None:
            raise
        return _fail(f"{fault} (STRUCTMFG_TRACEBACK=1 shows the whole traceback)", 2)


def _lost(error: Exception) -> tuple[str, int]:
    """What to say where messages between processes fail, and the exit code."""
    return f"{_LOST} ({str(error).splitlines()[0]:.200})", 1


def _fail(message: str, code: int) -> int:
    print(f"structmfg: {printable(' '.join(message.split()))}", file=sys.stderr)
    return code
