"""The exact solvers on one clock, against other libraries and closed forms: `python -m structmfg.benchmarks.exact`."""

from structmfg.benchmarks.exact._tables import table

__all__ = ["table"]
