"""Memory of this process, and what the machine has left for it: all in bytes."""

import contextlib
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_STATUS = Path("/proc/self/status")
_RESERVED = 2**32


class MemoryUse(NamedTuple):
    """The bytes that this process holds in memory now, and the most that it has held at once."""

    resident: int
    peak: int


def memory_use() -> MemoryUse:
    """Both numbers at one moment; where the system does not tell what is held now, that is the peak too.

    Linux counts pages approximately: read one after the other, the peak may be some pages below what is held. In one
    reading of its status file they are consistent. The peak is VmHWM, not ru_maxrss, which begins at the size that the
    parent had when it started this process.
    """
    if _STATUS.exists():
        text = _STATUS.read_text()
        return MemoryUse(_field(text, "VmRSS"), _field(text, "VmHWM"))
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return MemoryUse(peak, peak)


def peak_memory() -> int:
    """The most bytes that this process has held in memory at once."""
    return memory_use().peak


def resident_memory() -> int:
    """The bytes that this process holds in memory now."""
    return memory_use().resident


def forget_peak() -> None:
    """Measure the peak from now on, where the system allows it (Linux); else it stays that of the whole process."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def memory_left(root: Path = Path("/")) -> int:
    """The bytes that this process may still take: what the machine has left, or less where a control group allows less.

    `root` is the folder of /proc and /sys. Where there are none (not on Linux), all of the machine's memory.
    """
    info = root / "proc/meminfo"
    if not info.exists():
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([_field(info.read_text(), "MemAvailable"), *_left_in_groups(root)])


@contextlib.contextmanager
def no_more_memory() -> Iterator[None]:
    """Raise `MemoryError` within, where more memory is asked for than the machine has left.

    Without it Linux would grant the memory, and kill the process. Some gigabytes are always allowed, as compilers
    reserve more than they use.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if _STATUS.exists() and soft == resource.RLIM_INFINITY:
        most = _field(_STATUS.read_text(), "VmSize") + max(memory_left(), _RESERVED)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _field(text: str, name: str) -> int:
    """The bytes that a line "NAME: KILOBYTES kB" of a file in /proc says."""
    line = next(line for line in text.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def _left_in_groups(root: Path) -> list[int]:
    """What the process's control groups and those above them leave; page cache that can be dropped counts as left.

    A container may see its own group as the top one, under a name that does not exist there: such groups are skipped.
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
