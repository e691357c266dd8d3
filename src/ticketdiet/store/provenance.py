"""Where and with what a result was made: recorded beside it, no part of its identity."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import torch

PACKAGES = ("ticketdiet", "torch", "numpy", "safetensors")


def describe_run(started: datetime, *, device: str = "cpu", threads: int | None = None) -> dict[str, Any]:
    """Describe versions, machine and times of the run that is ending now.

    Args:
        started: When it began, with a time zone.
        device: What it computed on; a CUDA device is named.
        threads: Threads it computed with, by default torch's: they can change the last bit of a sum.
    """
    finished = datetime.now(UTC)
    return {
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}},
        "machine": {
            "platform": f"{sys.platform}-{platform.machine()}",
            "cpus": os.cpu_count(),
            "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
            "threads": threads or torch.get_num_threads(),
        },
        "started": started.astimezone(UTC).isoformat(timespec="seconds"),
        "finished": finished.isoformat(timespec="seconds"),
        "seconds": round((finished - started).total_seconds(), 3),
    }
