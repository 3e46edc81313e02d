"""The arguments of the command line: options, their values from the command line and from files, and the help.

`fields` imports games and solvers and `config` reads files: both are left out here, so that the help is there at once.
"""

from structmfg.cli.arguments._app import OptionGroup, build_app
from structmfg.cli.arguments._options import SOLVE, Option, members, read_value
from structmfg.cli.arguments._parse import Arguments, parse

__all__ = ["SOLVE", "Arguments", "Option", "OptionGroup", "build_app", "members", "parse", "read_value"]
