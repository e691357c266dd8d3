"""The IDX files of MNIST and Fashion-MNIST, plain or gzipped, read without any extra.

The format is: two zero bytes, a type byte (8 is uint8), the number of axes, the length of every axis as a big-endian
32-bit integer, then the values.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from ticketdiet.core.errors import DataError

STEMS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_UINT8 = 8
_WAY_OUT = {"expected": "a whole IDX file of uint8 values", "way_out": "remove the file and download it again"}


def find_idx_files(folder: Path) -> list[Path]:
    """Return the paths of the four files in ``folder`` in the order of ``STEMS``; empty when one is missing."""
    found = [path for stem in STEMS if (path := _either(folder / stem)) is not None]
    return found if len(found) == len(STEMS) else []


def _either(path: Path) -> Path | None:
    packed = path.with_name(path.name + ".gz")
    return path if path.is_file() else packed if packed.is_file() else None


def read_idx(path: Path) -> np.ndarray:
    """Read one file.

    Args:
        path: An IDX file; gzipped when its name ends in ``.gz``.

    Returns:
        uint8 of the shape that its header gives.

    Raises:
        DataError: When it is truncated, too long, or not an IDX file of uint8.
    """
    raw = _read_bytes(path)
    if len(raw) < 4 or raw[:3] != bytes((0, 0, _UINT8)) or len(raw) < 4 + 4 * raw[3]:
        raise DataError(f"The file {path} is damaged: it begins with {raw[:4].hex()}.", **_WAY_OUT)
    shape = tuple(int(size) for size in np.frombuffer(raw, dtype=">u4", count=raw[3], offset=4))
    values = np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * raw[3])
    expected = int(np.prod(shape, dtype=object))
    if len(values) != expected:
        raise DataError(
            f"The file {path} is damaged: it has {len(values)} values, but its header {shape} promises {expected}.",
            **_WAY_OUT,
        )
    return values.reshape(shape).copy()  # torch needs memory that it may write


def _read_bytes(path: Path) -> bytes:
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as file:
                return file.read()
        return path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"The file {path} is damaged: {error}.", **_WAY_OUT) from error
