"""The machine under a run: its cores and threads, its memory, and an allocator that keeps the pages it has."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def cpu_count() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_asked() -> int | None:
    """Return the threads that ``OMP_NUM_THREADS`` asks for; None where it is absent, or no number that OpenMP takes."""
    outermost = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # the rest is for nested regions
    return int(outermost) if re.fullmatch("[1-9][0-9]{0,5}", outermost) else None


def memory_bytes(cgroups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int | None:
    """Return how much memory this process may take: that of the machine, or less where its container has a limit.

    Args:
        cgroups: Where Linux shows the limits of groups of processes, of version 1 or 2.
        own: File that names the groups of this process.

    Returns:
        Bytes; None where the system does not say.
    """
    limits = list(_limits(cgroups, own))
    with contextlib.suppress(AttributeError, OSError, ValueError):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(limits, default=None)


def _limits(cgroups: Path, own: Path) -> Iterator[int]:
    """Limits on the groups of this process and on those around them; a container sees its own as the outermost."""
    for line in ["0::/", "0:memory:/", *_read(own).splitlines()]:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        folder = cgroups / "memory" if controllers else cgroups
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        parts = [part for part in group.split("/") if part not in {"", ".."}]
        for depth in range(len(parts) + 1):
            limit = _read(folder.joinpath(*parts[:depth], name)).strip()
            if limit.isdecimal():  # and not "max"
                yield int(limit)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""


def tune_allocator() -> None:
    """Ask glibc to keep freed memory instead of giving every activation's pages back and faulting them in again.

    For the whole process, from now on; under another C library nothing happens. ``run_plan`` does it by itself.
    """
    if sys.platform != "linux":
        return
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    except (OSError, AttributeError):
        return  # another C library: nothing to tune
