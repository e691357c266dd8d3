"""What every family of sources hands over, and the checks that all families share.

A family is one small file with one function that opens a ``Request``; ``sources.py`` lists the families by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from ticketdiet.core.errors import DataError
from ticketdiet.data.pixel_files import Allocate

Progress = Callable[[int, int], None]  # (images done, images in total)

MAX_CLASSES = 65_536


@dataclass(frozen=True, eq=False)
class Decoded:
    """The images of a source as they are on disk, before any option.

    Attributes:
        train_pixels: uint8 of shape (n, channels, height, width).
        train_labels: int64 of shape (n,), in ``[0, len(class_names))``.
        test_pixels: uint8 of shape (m, channels, height, width).
        test_labels: int64 of shape (m,).
        class_names: One name per class.
    """

    train_pixels: np.ndarray
    train_labels: np.ndarray
    test_pixels: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]


class Source(Protocol):
    """A source that was found: it is cheap to identify and slower to decode."""

    def identity(self) -> Mapping[str, object]:
        """JSON-able fields that change whenever the decoded images may change; raises DataError if nothing is there."""
        ...

    def decode(self, progress: Progress | None = None) -> Decoded:
        """Read everything; ``progress`` is called now and then with (images done, images in total)."""
        ...


@runtime_checkable
class DecodesInto(Protocol):
    """A source that decodes picture by picture, so that its pixels need not fit into memory."""

    def decode_into(self, allocate: Allocate, progress: Progress | None = None) -> Decoded:
        """Read everything as ``Source.decode`` does, with the pixels in arrays that ``allocate`` makes."""
        ...


def decode(source: Source, allocate: Allocate, progress: Progress | None = None) -> Decoded:
    """Decode a source, with its pixels in arrays that ``allocate`` makes where the source can do so."""
    if isinstance(source, DecodesInto):
        return source.decode_into(allocate, progress)
    return source.decode(progress)


def stamp_files(paths: Iterable[Path]) -> list[list[object]]:
    """Path, size and modification time (ns) of every file; a file that changes gets another stamp."""
    stats = ((path, path.stat()) for path in paths)
    return [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in stats]


def check_same_size(train: np.ndarray, train_name: str, test: np.ndarray, test_name: str) -> None:
    """Refuse training and test images that differ in size.

    Args:
        train: Training images of shape (n, channels, height, width).
        train_name: Name of the training images in the message.
        test: Test images of shape (m, channels, height, width).
        test_name: Name of the test images in the message.

    Raises:
        DataError: When channels, height or width differ.
    """
    if train.shape[1:] != test.shape[1:]:
        raise DataError(
            f"The images of {train_name} have shape {train.shape[1:]}, but those of {test_name} {test.shape[1:]}.",
            expected="the same (channels, height, width) in both splits",
            way_out="store both splits in the same size",
        )


def checked_labels(labels: np.ndarray, num_images: int, where: str, num_classes: int | None = None) -> np.ndarray:
    """Check the labels of a split.

    Args:
        labels: Integers of shape (n,) or (n, 1).
        num_images: Number of images in the split.
        where: The file or array, for messages.
        num_classes: Exclusive upper bound, or None to refuse only absurd values.

    Returns:
        int64 of shape (num_images,).

    Raises:
        DataError: When shape, type, count or range do not fit.
    """
    flat = labels.reshape(-1) if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.ndim != 1 or flat.dtype.kind not in "iu":
        raise DataError(
            f"Got labels of shape {labels.shape} and dtype {labels.dtype} in {where}.",
            expected="integers of shape (n,)",
            way_out="store one class number per image, counted from 0",
        )
    if len(flat) != num_images or num_images == 0:
        raise DataError(
            f"Got {len(flat)} labels for {num_images} images in {where}.",
            expected="one label per image, and at least one image",
            way_out="check that images and labels come from the same split",
        )
    bound = MAX_CLASSES if num_classes is None else num_classes
    low, high = int(flat.min()), int(flat.max())
    if low < 0 or high >= bound:
        raise DataError(
            f"Got labels from {low} to {high} in {where}.",
            expected=f"labels in [0, {bound - 1}]",
            way_out="number the classes from 0 without gaps, or name every class",
        )
    return flat.astype(np.int64)
