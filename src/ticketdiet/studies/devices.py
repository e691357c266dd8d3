"""Which devices a run computes on: from what the user asks for to devices that this machine has."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ticketdiet.core.errors import DeviceError

ALL = "all"


def choose_device(asked: str) -> str:
    """Turn ``auto``, ``cpu`` or ``cuda`` (or ``cuda:1``) into a device that is here.

    Returns:
        ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        DeviceError: When CUDA is asked for and absent, or the name is not known.
    """
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked == "cpu":
        return asked
    kind, colon, number = asked.partition(":")
    if kind != "cuda" or (colon and not number.isdecimal()):
        raise DeviceError(
            f"Got the unknown device {asked!r}.", expected="auto, all, cpu, cuda or cuda:N", way_out="--device auto"
        )
    count = _cuda_devices()
    if number and int(number) >= count:
        raise DeviceError(
            f"The device {asked!r} was asked for, but PyTorch sees {count} CUDA device(s) here.",
            expected=f"cuda:0 to cuda:{count - 1}",
            way_out="--device all takes all of them; `nvidia-smi -L` lists them",
        )
    return asked


def choose_devices(asked: str | Sequence[str]) -> tuple[str, ...]:
    """Turn names of devices into devices that are here; ``all`` stands for every CUDA device.

    Args:
        asked: One name, or several.

    Returns:
        The devices in the order asked for, as :func:`choose_device` gives them.

    Raises:
        DeviceError: When a device is absent or its name is not known.
    """
    names = [asked] if isinstance(asked, str) else list(asked)
    return tuple(
        device
        for name in names
        for device in (map("cuda:{}".format, range(_cuda_devices())) if name == ALL else [choose_device(name)])
    )


def _cuda_devices() -> int:
    if not torch.cuda.is_available():
        raise DeviceError(
            "CUDA was asked for, but PyTorch sees no CUDA device here.",
            expected="an NVIDIA GPU with a driver that fits this PyTorch",
            way_out="--device cpu, or check `nvidia-smi`",
        )
    return torch.cuda.device_count()
