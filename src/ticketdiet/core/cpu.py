"""What this CPU is and can do, as far as it decides the speed and the last bits of a computation."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

CPU_INFO = Path("/proc/cpuinfo")
_NAMES_IN_CPU_INFO = ("model name", "hardware")  # of x86, and of some ARM


def cpu_model(info: Path = CPU_INFO) -> str:
    """Name of the CPU, from Linux's ``/proc/cpuinfo``, elsewhere as Python's ``platform`` knows it.

    Args:
        info: File to read, of lines ``name : value``.

    Returns:
        For example ``"AMD EPYC 9B14"``; the name of the architecture when nothing better is known.
    """
    try:
        lines = [line.partition(":") for line in info.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        lines = []
    found = {name.strip().lower(): value.strip() for name, _, value in reversed(lines) if value.strip()}
    known = [found[name] for name in _NAMES_IN_CPU_INFO if name in found]
    return next(iter(known), "") or platform.processor() or platform.machine() or "unknown"


def kernel_capability() -> str:
    """Vector instructions that PyTorch's own kernels use: ``"AVX512"``, ``"AVX2"``, ``"DEFAULT"``, ...

    ``ATEN_CPU_CAPABILITY`` caps them for a process. oneDNN, which computes the convolutions, has a cap of its own, see
    ``onednn_limit``.
    """
    return torch.backends.cpu.get_cpu_capability()


def onednn_limit() -> str | None:
    """Upper limit that the environment sets for oneDNN's instructions (``ONEDNN_MAX_CPU_ISA``), None without one."""
    return os.environ.get("ONEDNN_MAX_CPU_ISA") or None


def has_bfloat16() -> bool | None:
    """Whether this CPU computes in bfloat16 itself; where it does not, PyTorch imitates it, many times slower.

    Returns:
        None when this PyTorch cannot say.
    """
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except Exception:  # an operator without a promise: absent, renamed or not built, it must not end a run
        return None
