"""The tests in `devices`, in a process whose CPU counts as eight devices."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "devices"
EIGHT = "--xla_force_host_platform_device_count=8"


@pytest.mark.parametrize("file", sorted(FOLDER.glob("test_*.py")), ids=lambda file: file.stem)
def test_on_eight_devices(file, request):
    chosen = request.config.getoption("-m")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", "-m", chosen, str(file)]
    flags = {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {EIGHT}"}
    if file.stem == "test_same_bits":
        flags = {"XLA_FLAGS": EIGHT, "JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}  # compiled as for users
    done = subprocess.run(command, env={**os.environ, **flags}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert re.search(r"[1-9]\d* passed", done.stdout), done.stdout
