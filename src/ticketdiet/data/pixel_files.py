"""Where decoded pixels are put: in memory, or straight into files that are mapped, which may be larger than memory."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

CHUNK_BYTES = 1 << 24  # of pixels that are held at once while images are decoded, chosen or measured


class Allocate(Protocol):
    """Makes an array for pixels that are then written from the first to the last."""

    def __call__(self, shape: tuple[int, ...], /) -> np.ndarray:
        """Return a uint8 array of ``shape`` with unspecified content."""
        ...


def in_memory(shape: tuple[int, ...], /) -> np.ndarray:
    """Return a uint8 array of ``shape`` in memory."""
    return np.empty(shape, dtype=np.uint8)


def images_per_chunk(shape: tuple[int, ...]) -> int:
    """Return how many images of ``shape``, (n, channels, height, width), are held at once: ``CHUNK_BYTES`` or one."""
    return max(1, CHUNK_BYTES // max(1, math.prod(shape[1:])))


class PixelFiles:
    """Arrays that are ``.npy`` files in one folder, mapped into memory, so that they may be larger than it.

    The place on the disk is reserved first, because writing to a map on a full disk ends the process. Where it cannot
    be had, the array is made in memory, and ``refused`` is told why.

    Args:
        folder: An empty folder.
        refused: Told about the error when an array could not be made in the folder.
    """

    def __init__(self, folder: Path, refused: Callable[[OSError], None]) -> None:
        self._folder = folder
        self._refused = refused
        self._made: dict[int, np.memmap] = {}

    def __call__(self, shape: tuple[int, ...], /) -> np.ndarray:
        """Return a uint8 array of ``shape`` with unspecified content."""
        if not math.prod(shape):
            return in_memory(shape)
        path = self._folder / f"scratch-{len(self._made)}.npy"
        try:
            made = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
            _reserve(path, made.offset)
        except OSError as error:
            path.unlink(missing_ok=True)
            self._refused(error)
            return in_memory(shape)
        self._made[made.ctypes.data] = made
        return made

    def move(self, array: np.ndarray, path: Path) -> bool:
        """Give the file of ``array`` the name ``path``, content synced; False when it has no file here."""
        made = self._made.get(array.ctypes.data)
        if made is None or made.shape != array.shape:
            return False
        made.flush()
        os.replace(str(made.filename), path)
        return True

    def discard_scratch(self) -> None:
        """Remove the files that were not moved."""
        for path in self._folder.glob("scratch-*.npy"):
            path.unlink()


def _reserve(path: Path, start: int) -> None:
    """Let the file have its bytes from ``start`` on the disk, or raise OSError."""
    with path.open("r+b", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
            return
        file.seek(start)  # macOS
        for place in range(start, size, CHUNK_BYTES):
            file.write(bytes(min(CHUNK_BYTES, size - place)))
