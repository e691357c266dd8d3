"""From decoded images to the splits for training: validation, limit, resolution, statistics, in that order.

Each step is a pure function of images and seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ticketdiet.core.errors import DataError
from ticketdiet.core.seeds import numpy_generator
from ticketdiet.data.pixel_files import Allocate, images_per_chunk, in_memory


@dataclass(frozen=True, eq=False)
class KeptExamples:
    """Which training examples of a data set are left after validation and limit.

    Attributes:
        indices: int64 (kept,), ascending, in the data set's own order.
        total: How many training examples the data set itself has.
    """

    indices: np.ndarray
    total: int

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Return float32 (..., total) in the data set's own order from (..., kept), NaN where there is no value."""
        whole = np.full((*values.shape[:-1], self.total), np.nan, dtype=np.float32)
        whole[..., self.indices] = values
        return whole


def proportional_order(labels: np.ndarray, seed: int, role: str) -> np.ndarray:
    """Order examples at random so that the first m contain every class in proportion, within one example, for every m.

    The r-th example (in random order) of a class of n gets the position (r + 1/2) / n; ties are broken at random. So a
    smaller choice is always contained in a larger one with the same seed.

    Args:
        labels: int64 of shape (n,).
        seed: Seed of the choice.
        role: Name of the choice; different roles choose independently.

    Returns:
        A permutation of ``range(n)``, int64.
    """
    shuffled = numpy_generator(seed, role).permutation(len(labels))
    position = np.empty(len(labels), dtype=np.float64)
    for members in _members_of_classes(labels[shuffled]):
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    order: np.ndarray = shuffled[np.argsort(position, kind="stable")]
    return order


def _members_of_classes(labels: np.ndarray) -> list[np.ndarray]:
    grouped = np.argsort(labels, kind="stable")
    return np.split(grouped, np.flatnonzero(np.diff(labels[grouped])) + 1)


def take_validation(labels: np.ndarray, validation: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split training examples into those that stay and those set aside, classes in proportion.

    Args:
        labels: int64 of shape (n,).
        validation: A fraction in (0, 1), a number of examples from 2 on, or 0 for none.
        seed: Seed of the choice.

    Returns:
        Indices that stay and indices set aside, both int64 and sorted.

    Raises:
        DataError: When ``validation`` is anything else, or one of the two sides would be empty.
    """
    count = _validation_count(len(labels), validation)
    order = proportional_order(labels, seed, "validation")
    return np.sort(order[count:]), np.sort(order[:count])


def _validation_count(available: int, validation: float) -> int:
    if validation == 0:
        return 0
    is_fraction = 0 < validation < 1
    count = round(validation * available) if is_fraction else int(validation) if np.isfinite(validation) else -1
    if not (is_fraction or (count == validation and count >= 2)) or not 0 < count < available:
        raise DataError(
            f"Got validation={validation} for {available} training images.",
            expected="0 for none, a fraction in (0, 1), or a whole number from 2 on that leaves training images",
            way_out="for example validation=0.1",
        )
    return count


def choose_limit(labels: np.ndarray, limit: int | None, seed: int) -> np.ndarray:
    """Choose ``limit`` training examples, classes in proportion; their order is kept.

    Args:
        labels: int64 of shape (n,).
        limit: Number of examples, or None for all.
        seed: Seed of the choice.

    Returns:
        Sorted int64 indices.

    Raises:
        DataError: When ``limit`` is not in [1, n].
    """
    if limit is None:
        return np.arange(len(labels))
    if not 1 <= limit <= len(labels):
        raise DataError(
            f"Got limit={limit} for {len(labels)} training images.",
            expected=f"limit in [1, {len(labels)}]",
            way_out="lower the limit, or leave it out to use all",
        )
    return np.sort(proportional_order(labels, seed, "limit")[:limit])


def average_pool(pixels: np.ndarray, resolution: int | None) -> np.ndarray:
    """Shrink images to ``resolution`` pixels of height by the mean of square blocks, rounded to nearest, halves up.

    Args:
        pixels: uint8 of shape (n, channels, height, width).
        resolution: New height, an exact divisor of the old; the width shrinks by the same factor. None keeps the size.

    Returns:
        uint8 of shape (n, channels, resolution, width * resolution / height).

    Raises:
        DataError: When the blocks do not fit exactly, or the images would have to grow.
    """
    return pool_chosen(pixels, None, resolution, in_memory)


def pool_chosen(
    pixels: np.ndarray, indices: np.ndarray | None, resolution: int | None, allocate: Allocate
) -> np.ndarray:
    """Choose images and shrink them as :func:`average_pool` does, a few at a time.

    Args:
        pixels: uint8 of shape (n, channels, height, width).
        indices: int64 of shape (m,), or None for all images.
        resolution: New height; see :func:`average_pool`.
        allocate: Makes the array that is returned.

    Returns:
        uint8 of shape (m, channels, resolution, width * resolution / height); ``pixels`` when nothing changes.

    Raises:
        DataError: When the blocks do not fit exactly, or the images would have to grow.
    """
    _, channels, height, width = pixels.shape
    factor = 1 if resolution is None else _block_side(resolution, height, width)
    if indices is None and factor == 1:
        return pixels
    count = len(pixels) if indices is None else len(indices)
    made = allocate((count, channels, height // factor, width // factor))
    size = images_per_chunk(pixels.shape)
    for start in range(0, count, size):
        chosen = slice(start, start + size) if indices is None else indices[start : start + size]
        made[start : start + size] = _pooled(pixels[chosen], factor)
    return made


def _block_side(resolution: int, height: int, width: int) -> int:
    if resolution == height:
        return 1
    if resolution < 1 or height % resolution or width % (height // resolution):
        fits = [size for size in range(1, height + 1) if height % size == 0 and width % (height // size) == 0]
        raise DataError(
            f"Got resolution={resolution} for images of {height}x{width}.",
            expected=f"one of: {', '.join(map(str, fits))}",
            way_out="choose one of these or leave it out: images are averaged over whole blocks and never enlarged",
        )
    return height // resolution


def _pooled(pixels: np.ndarray, factor: int) -> np.ndarray:
    if factor == 1:
        return pixels
    # 32 bits suffice for blocks of 4096 x 4096; adding slices is faster than a strided reduction.
    count, channels, height, width = pixels.shape
    total = np.zeros((count, channels, height // factor, width // factor), dtype=np.uint32)
    for row in range(factor):
        for column in range(factor):
            total += pixels[:, :, row::factor, column::factor]
    area = factor * factor
    pooled: np.ndarray = ((total + area // 2) // area).astype(np.uint8)
    return pooled


def channel_statistics(pixels: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute mean and standard deviation (of the population) of every channel on the scale 0..1.

    Both are computed in float64 from exact counts of the 256 values, so that the order of the images does not change
    the last bit. A constant channel gets a standard deviation of 1, so that pixels can be divided by it.

    Args:
        pixels: uint8 of shape (n, channels, height, width).

    Returns:
        The means and the standard deviations, one per channel.
    """
    values = np.arange(256, dtype=np.float64) / 255
    size = images_per_chunk(pixels.shape)
    means, deviations = [], []
    for channel in range(pixels.shape[1]):
        counts = np.zeros(256, dtype=np.int64)
        for start in range(0, len(pixels), size):
            counts += np.bincount(pixels[start : start + size, channel].reshape(-1), minlength=256)
        mean = float(counts @ values / counts.sum())
        variance = float(counts @ (values - mean) ** 2 / counts.sum())
        means.append(mean)
        deviations.append(variance**0.5 if np.count_nonzero(counts) > 1 else 1.0)
    return tuple(means), tuple(deviations)
