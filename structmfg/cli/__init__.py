"""The command `structmfg`; `arguments/_options.py` lists what it can do."""

import sys
from collections.abc import Sequence

from structmfg.cli._early import count_as_devices, prepare


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, by default those of the process, and return its exit code."""
    if argv is None:
        argv = sys.argv[1:]
        count_as_devices(argv)
    argv = list(argv)
    early = prepare(argv)
    try:
        from structmfg.cli._main import run  # imported here, as it takes seconds: first of all there must be a folder

        code = run(argv, early)
    finally:
        if early:
            early.drop()
    if "--distributed" in argv:
        from structmfg.parallel import end_at_once

        end_at_once(code)
    return code


__all__ = ["main"]
