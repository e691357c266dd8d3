"""The machine under a run: its cores, how many threads to take, and an allocator that keeps the pages it has."""

from __future__ import annotations

import ctypes
import os
import re
import sys

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
