"""Tests that need eight devices; `tests/parallel/test_devices.py` runs them in a process that has so many."""

import jax

NEEDED = 8

collect_ignore_glob = [] if jax.device_count() >= NEEDED else ["test_*.py"]
