"""The command `structmfg`: games, solve, evaluate, compare, verify, bench."""

import sys
from collections.abc import Sequence

from structmfg.cli._early import prepare


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    early = prepare(argv)
    try:
        from structmfg.cli._main import run  # it takes seconds

        return run(argv, early)
    finally:
        if early:
            early.drop()


__all__ = ["main"]
