"""Where images live while stages are worked: on the device as a whole, or in the cache, from which they are streamed.

No number depends on it, so it is no part of a study: the environment variable ``TICKETDIET_IMAGES`` chooses.
"""

from __future__ import annotations

import os

import torch

from ticketdiet.core.errors import check_known
from ticketdiet.core.values import Images, ImageSplits
from ticketdiet.studies.machine import memory_bytes

VARIABLE = "TICKETDIET_IMAGES"
CHOICES = ("auto", "device", "stream")
DEVICE_FRACTION = 0.5  # of the free memory of a GPU; the rest is for networks and activations
MACHINE_FRACTION = 0.25  # of the memory for this process; images on the CPU are mapped, but choices of them are copies
UNKNOWN_ROOM = 1 << 31  # bytes, where a system does not say how much memory there is


def place(splits: ImageSplits, device: torch.device | str, *, processes: int = 1) -> ImageSplits:
    """Put images where trainings on ``device`` take them from.

    ``TICKETDIET_IMAGES=device`` puts them on the device as a whole, and ``stream`` leaves them in the cache. ``auto``,
    the default, streams when they take more than half of the free memory of a GPU, or a quarter of the machine's memory
    (or of its container's) on a CPU.

    Args:
        splits: As they were loaded.
        device: Device of the trainings.
        processes: How many processes share the device, each with images of its own.

    Returns:
        The same images; numbers do not depend on where they are.

    Raises:
        UnknownName: When the variable is anything else.
    """
    device = torch.device(device)
    chosen = os.environ.get(VARIABLE, "").strip().lower() or "auto"
    check_known(VARIABLE, chosen, CHOICES)
    streams = chosen == "stream" or (chosen == "auto" and _size(splits) * processes > room_for_images(device))
    named = {name: (images.streamed() if streams else images).to(device) for name, images in splits.named().items()}
    return ImageSplits(named["train"], named["test"], named.get("validation"), splits.name)


def room_for_images(device: torch.device) -> int:
    """Return how many bytes of images ``auto`` keeps on a device, for all processes together."""
    if device.type == "cuda":
        return int(DEVICE_FRACTION * torch.cuda.mem_get_info(device)[0])
    memory = memory_bytes()
    return UNKNOWN_ROOM if memory is None else int(MACHINE_FRACTION * memory)


def _size(splits: ImageSplits) -> int:
    return sum(_bytes(images) for images in splits.named().values())


def _bytes(images: Images) -> int:
    return images.pixels.shape.numel() * images.pixels.dtype.itemsize
