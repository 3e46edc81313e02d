"""The tests in `devices`, in a process whose CPU counts as eight devices."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "devices"
EIGHT = "--xla_force_host_platform_device_count=8"


@pytest.mark.parametrize("as_for_users", [False, True])
def test_on_eight_devices(as_for_users, request):
    """One process for all files but that whose programs are compiled as for users."""
    files = sorted(file for file in FOLDER.glob("test_*.py") if (file.stem == "test_same_bits") == as_for_users)
    chosen = request.config.getoption("-m")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", "-m", chosen]
    command += map(str, files)
    flags = {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {EIGHT}"}
    if as_for_users:
        flags = {"XLA_FLAGS": EIGHT, "JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}
    done = subprocess.run(command, env={**os.environ, **flags}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert re.search(r"[1-9]\d* passed", done.stdout), done.stdout
