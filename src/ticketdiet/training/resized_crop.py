"""Random resized crops on the device: a part of the image of random area and shape, scaled to the size of the image.

As torchvision's ``RandomResizedCrop`` on tensors, with bilinear interpolation and the size of the image as the size of
the crop: the part is drawn from the stored image, and there are ten tries for a part that fits.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

RATIO = (3 / 4, 4 / 3)  # width over height
_TRIES = 10


def draw_boxes(
    chance: np.random.Generator, count: int, height: int, width: int, area: tuple[float, float]
) -> np.ndarray:
    """Draw the part of each image that is shown.

    The area is uniform in ``area`` times that of the image, and the logarithm of width over height is uniform between
    those of 3/4 and 4/3. An image for which ten tries do not fit shows the largest part in its middle that has such a
    ratio.

    Args:
        chance: Where the numbers come from.
        count: Number of images.
        height: Of the images, in pixels.
        width: Of the images, in pixels.
        area: Lowest and highest fraction of the area, in (0, 1].

    Returns:
        int64 of shape (count, 4): top, left, height and width in pixels.
    """
    boxes = np.tile(np.array(_fallback(height, width), dtype=np.int64), (count, 1))
    waiting = np.arange(count)
    for _ in range(_TRIES):
        wanted = chance.uniform(*area, size=len(waiting)) * (height * width)
        ratio = np.exp(chance.uniform(math.log(RATIO[0]), math.log(RATIO[1]), size=len(waiting)))
        place = chance.random((2, len(waiting)))
        w = np.rint(np.sqrt(wanted * ratio)).astype(np.int64)
        h = np.rint(np.sqrt(wanted / ratio)).astype(np.int64)
        fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
        top, left = (place[0] * (height - h + 1)).astype(np.int64), (place[1] * (width - w + 1)).astype(np.int64)
        boxes[waiting[fits]] = np.stack([top, left, h, w], axis=1)[fits]
        waiting = waiting[~fits]
    return boxes


def _fallback(height: int, width: int) -> tuple[int, int, int, int]:
    w = min(width, round(height * RATIO[1]))
    h = min(height, round(width / RATIO[0]))
    return (height - h) // 2, (width - w) // 2, h, w


def resized_crop(pixels: Tensor, boxes: Tensor) -> Tensor:
    """Show a part of each image at the size of the whole.

    Args:
        pixels: uint8 (batch, channels, height, width).
        boxes: int64 (batch, 4): top, left, height and width of the part, inside the image.

    Returns:
        uint8 of the shape of ``pixels``, interpolated bilinearly and rounded to nearest.
    """
    top, left, h, w = boxes.unbind(1)
    rows = _between(pixels, 2, top, h)
    shown = _between(rows, 3, left, w)
    return shown.round_().to(torch.uint8)


def _between(pixels: Tensor, axis: int, start: Tensor, length: Tensor) -> Tensor:
    """Interpolate along one axis between the pixels of each image's part, which ends at its own border."""
    side = pixels.shape[axis]
    centres = (torch.arange(side, device=pixels.device) + 0.5) * (length[:, None] / side) - 0.5
    centres = torch.minimum(centres.clamp_(min=0), (length - 1)[:, None])
    low = centres.long()
    high = torch.minimum(low + 1, (length - 1)[:, None])
    shape = [len(pixels), 1, 1, 1]
    shape[axis] = side
    full = list(pixels.shape)
    one, other = (pixels.gather(axis, (part + start[:, None]).view(shape).expand(full)).float() for part in (low, high))
    return one.lerp_(other, (centres - low).view(shape))
