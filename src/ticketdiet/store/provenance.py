"""Versions, machine and times of a result, which are recorded with it but are not part of its identity."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import torch

from ticketdiet.core.cpu import cpu_model, has_bfloat16, kernel_capability, onednn_limit

PACKAGES = ("ticketdiet", "torch", "numpy", "safetensors")


def describe_run(
    started: datetime,
    *,
    device: str = "cpu",
    devices: int = 1,
    threads: int | None = None,
    energy: Mapping[str, float | int] | None = None,
) -> dict[str, Any]:
    """Describe versions, machine and times of the run that is ending now.

    The numbers of a result are equal to the bit only where ``machine`` (its CPU, the capability of the kernels, threads
    and device) and the build of torch are equal. Elsewhere the last bit of a sum differs, and training amplifies that
    to another network from the same distribution.

    Args:
        started: Start of the run, with a time zone.
        device: Device of the run; a CUDA device is recorded by its name.
        devices: Number of such devices that worked together.
        threads: Number of threads of the run, by default torch's.
        energy: What energy counters say of the run; nothing or empty where none could be read.

    Returns:
        ``versions`` of Python and packages, ``machine`` as ``describe_machine`` gives it, ``started``, ``finished``,
        ``seconds``, and ``energy`` where there is any.
    """
    finished = datetime.now(UTC)
    return {
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}},
        "machine": describe_machine(device=device, devices=devices, threads=threads),
        "started": started.astimezone(UTC).isoformat(timespec="milliseconds"),
        "finished": finished.isoformat(timespec="milliseconds"),
        "seconds": round((finished - started).total_seconds(), 3),
        **({"energy": dict(energy)} if energy else {}),
    }


def describe_machine(*, device: str = "cpu", devices: int = 1, threads: int | None = None) -> dict[str, Any]:
    """Describe the properties of this machine that decide speed and last bits.

    Args:
        device: Device of the computation; a CUDA device is recorded by its name.
        devices: Number of such devices that computed together.
        threads: Number of threads of the computation, by default torch's.

    Returns:
        ``platform``, ``cpu`` (its model), ``cpus`` (cores), ``capability`` (vector instructions of PyTorch's kernels),
        ``onednn_limit`` (only where the environment sets one), ``bfloat16`` (whether the CPU computes in it; None when
        unknown), ``device``, ``devices`` (only where there were several) and ``threads``.
    """
    limit = onednn_limit()
    return {
        "platform": f"{sys.platform}-{platform.machine()}",
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "capability": kernel_capability(),
        **({"onednn_limit": limit} if limit else {}),
        "bfloat16": has_bfloat16(),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        **({"devices": devices} if devices > 1 else {}),
        "threads": threads or torch.get_num_threads(),
    }
