"""Encoded pictures (PNG, JPEG, ...) -> one uint8 array; the only place that uses Pillow (extra ``parquet``).

A data set is grey when every one of its pictures is grey, and RGB otherwise. An alpha channel is dropped, and a palette
is converted to RGB. Pictures of 16 bits or floats are refused, because their scale is not known.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ticketdiet.core.errors import DataError
from ticketdiet.core.extras import import_extra
from ticketdiet.data.decoded import Progress

# The other formats of Pillow start programs (EPS) or are rarely what the user means.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
_GREY = {"1", "L", "LA", "La"}
_COLOUR = {"RGB", "RGBA", "RGBa", "RGBX", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV"}
_REPORT_EVERY = 1000


class PictureReader:
    """Reads the pictures of all splits of one data set, which must agree in size.

    Args:
        total: Number of pictures in all splits together, for ``progress``.
        progress: Called now and then with (pictures done, ``total``).
    """

    def __init__(self, total: int, progress: Progress | None = None) -> None:
        self._pillow = import_extra("PIL.Image", "parquet")
        self._total = total
        self._progress = progress
        self._done = 0
        self._first: tuple[str, tuple[int, int]] | None = None
        self._grey = True

    def read(self, pictures: Iterable[tuple[str, bytes | Path]], count: int) -> np.ndarray:
        """Read one split.

        Args:
            pictures: Pairs of a name for messages and the encoded bytes or the path of a file.
            count: Number of pictures.

        Returns:
            uint8 of shape (count, 3, height, width); grey pictures repeat their channel until :meth:`settle`.

        Raises:
            DataError: When a picture cannot be read, or differs in size from the first.
        """
        pixels = np.empty((0, 3, 0, 0), dtype=np.uint8)
        for index, (name, encoded) in enumerate(pictures):
            values = self._decode(name, encoded)
            if index == 0:
                pixels = np.empty((count, 3, *values.shape[:2]), dtype=np.uint8)
            pixels[index] = values if values.ndim == 2 else values.transpose(2, 0, 1)
            self._report()
        return pixels

    def settle(self, pixels: np.ndarray) -> np.ndarray:
        """Keep one channel of ``pixels`` when every picture that was read is grey; call it after the last split."""
        return np.ascontiguousarray(pixels[:, :1]) if self._grey else pixels

    def _decode(self, name: str, encoded: bytes | Path) -> np.ndarray:
        try:
            opened = io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded
            with self._pillow.open(opened, formats=_FORMATS) as picture:
                self._check_size(name, picture.size)
                return np.asarray(self._eight_bits(name, picture))
        except DataError:
            raise
        except Exception as error:  # Pillow raises nearly every built-in exception for damaged pictures
            raise DataError(
                f"The picture at {name} cannot be read ({type(error).__name__}: {error}).",
                expected=f"a whole file of one of: {', '.join(_FORMATS)}",
                way_out="replace the file, or remove it from the data set",
            ) from error

    def _eight_bits(self, name: str, picture: Any) -> Any:
        if picture.mode in _GREY:
            return picture if picture.mode == "L" else picture.convert("L")
        if picture.mode in _COLOUR:
            self._grey = False
            return picture if picture.mode == "RGB" else picture.convert("RGB")
        raise DataError(
            f"The picture at {name} has pixels of mode {picture.mode!r}.",
            expected="8 bits per channel, grey or colour",
            way_out="convert it to 8 bits",
        )

    def _check_size(self, name: str, size: tuple[int, int]) -> None:
        if self._first is None:
            self._first = (name, size)
        first_name, first_size = self._first
        if size != first_size:
            raise DataError(
                f"The picture at {name} has size {size[0]}x{size[1]} (width x height), but that at {first_name} has "
                f"{first_size[0]}x{first_size[1]}.",
                expected="images of one size",
                way_out="resize or crop them to one size first",
            )

    def _report(self) -> None:
        self._done += 1
        if self._progress is not None and (self._done % _REPORT_EVERY == 0 or self._done == self._total):
            self._progress(self._done, self._total)
