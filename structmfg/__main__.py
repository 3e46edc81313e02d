"""`python -m structmfg`, the same as the command `structmfg`."""

import sys

from structmfg.cli import main

if __name__ == "__main__":
    sys.exit(main())
