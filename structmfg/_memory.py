"""Memory of this process, and what the machine has left for it: all in bytes."""

import contextlib
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

_STATUS = Path("/proc/self/status")
_RESERVED = 2**32


def peak_memory() -> int:
    """The most bytes that this process has held in memory at once.

    On Linux VmHWM, not ru_maxrss: the latter begins at the size that the parent had when it started this process.
    """
    if _STATUS.exists():
        return _field(_STATUS, "VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_memory() -> int:
    """The bytes that this process holds in memory now; where the system does not tell, the most it has held."""
    return _field(_STATUS, "VmRSS") if _STATUS.exists() else peak_memory()


def forget_peak() -> None:
    """Begin to look for the peak anew, where the system allows it (Linux); else it stays that of the whole process."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def memory_left(root: Path = Path("/")) -> int:
    """The bytes that this process may still take: what the machine has left, or less where a control group allows less.

    `root`: where /proc and /sys are. Where the system does not say (it is not Linux), all of the machine's memory.
    """
    info = root / "proc/meminfo"
    if not info.exists():
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([_field(info, "MemAvailable"), *_left_in_groups(root)])


@contextlib.contextmanager
def no_more_memory() -> Iterator[None]:
    """Within, more memory than the machine has left is refused with `MemoryError`: Linux would give it, and kill.

    Some gigabytes are always given, as compilers reserve more than they use.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if _STATUS.exists() and soft == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_AS, (_field(_STATUS, "VmSize") + max(memory_left(), _RESERVED), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _field(file: Path, name: str) -> int:
    line = next(line for line in file.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def _left_in_groups(root: Path) -> list[int]:
    """What the process's control groups and those above them leave; page cache that can be dropped counts as left.

    A container may see its own group as the top one, under a name that is not there: what is missing is passed over.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    left = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        own = top / path.lstrip("/")
        left += [_left_in_group(group, *names) for group in (own, *own.parents) if group.is_relative_to(top)]
    return [max(0, room) for room in left if room is not None]


def _left_in_group(group: Path, limit: str, usage: str, inactive: str) -> int | None:
    try:
        allowed = int((group / limit).read_text())
        used = int((group / usage).read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such group, or "max": no limit
        return None
    return allowed - used + int(stat.get(inactive, 0))
