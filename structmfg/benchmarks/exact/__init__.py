"""The exact solvers on one clock, against other libraries and closed forms: `python -m structmfg.benchmarks.exact`."""
