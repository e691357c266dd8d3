"""The properties of this CPU that decide the speed and the last bits of a computation."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

CPU_INFO = Path("/proc/cpuinfo")
_NAMES_IN_CPU_INFO = ("model name", "hardware")  # of x86, and of some ARM


def cpu_model(info: Path = CPU_INFO) -> str:
    """Return the name of the CPU, from Linux's ``/proc/cpuinfo`` or else from Python's ``platform``.

    Args:
        info: File to read, of lines ``name : value``.

    Returns:
        For example ``"AMD EPYC 9B14"``; the name of the architecture when there is nothing better.
    """
    try:
        lines = [line.partition(":") for line in info.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        lines = []
    found = {name.strip().lower(): value.strip() for name, _, value in reversed(lines) if value.strip()}
    known = [found[name] for name in _NAMES_IN_CPU_INFO if name in found]
    return next(iter(known), "") or platform.processor() or platform.machine() or "unknown"


def kernel_capability() -> str:
    """Return the vector instructions that PyTorch's own kernels use.

    ``ATEN_CPU_CAPABILITY`` limits them for a process. oneDNN, which computes the convolutions, has its own limit; see
    ``onednn_limit``.

    Returns:
        ``"AVX512"``, ``"AVX2"``, ``"DEFAULT"`` or another name that PyTorch uses.
    """
    return torch.backends.cpu.get_cpu_capability()


def onednn_limit() -> str | None:
    """Return the limit that ``ONEDNN_MAX_CPU_ISA`` sets for oneDNN's instructions, None when it is not set."""
    return os.environ.get("ONEDNN_MAX_CPU_ISA") or None


def has_bfloat16() -> bool | None:
    """Find out whether this CPU computes in bfloat16; where it does not, PyTorch emulates it, many times slower.

    Returns:
        True or False; None when this version of PyTorch does not tell.
    """
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except Exception:  # the operator is private: it may be absent, renamed or not built, and that must not end a run
        return None
