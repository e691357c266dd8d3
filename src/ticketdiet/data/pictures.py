"""Encoded pictures (PNG, JPEG, ...) -> one uint8 array; the only place that uses Pillow (extra ``parquet``).

A data set is grey when every one of its pictures is grey, and RGB otherwise. An alpha channel is dropped, and a palette
is converted to RGB. Pictures of 16 bits or floats are refused, because their scale is not known.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ticketdiet.core.errors import DataError
from ticketdiet.core.extras import import_extra
from ticketdiet.data.decoded import Progress
from ticketdiet.data.pixel_files import Allocate, images_per_chunk, in_memory

# The other formats of Pillow start programs (EPS) or are rarely what the user means.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
_GREY = {"1", "L", "LA", "La"}
_COLOUR = {"RGB", "RGBA", "RGBa", "RGBX", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV"}
_REPORT_EVERY = 1000
_AHEAD = 4  # pictures that are decoded ahead, for each thread
_BILINEAR = 2  # PIL.Image.Resampling.BILINEAR
MOST_SIDE = 16_384


@dataclass(frozen=True)
class TargetSize:
    """The usual way to one size: scale the shorter side to ``resize``, then cut ``size`` x ``size`` from the middle.

    Sides and places are rounded as torchvision's ``Resize`` and ``CenterCrop`` round them.

    Attributes:
        resize: Length of the shorter side after scaling, in pixels, with the filter for bilinear reduction.
        size: Height and width of the square that is kept.
    """

    resize: int
    size: int

    @classmethod
    def of(cls, options: Mapping[str, str]) -> TargetSize | None:
        """Read the options ``size`` and ``resize`` of a source.

        Args:
            options: The options that the user wrote; ``resize`` is ``size`` by default.

        Returns:
            The size, or None when there is neither option.

        Raises:
            DataError: When they are not whole numbers with 1 <= size <= resize.
        """
        if "size" not in options and "resize" not in options:
            return None
        given = {key: options[key] for key in ("size", "resize") if key in options}
        try:
            size, resize = int(options["size"]), int(options.get("resize", options["size"]))
        except (KeyError, ValueError):
            size, resize = 0, 0
        if not 1 <= size <= resize <= MOST_SIDE:
            raise DataError(
                f"Got the options {', '.join(f'{key}={value}' for key, value in given.items())} of pictures.",
                expected=f"whole numbers of pixels with 1 <= size <= resize <= {MOST_SIDE}",
                way_out="for example ?size=64, or ?resize=256&size=224",
            )
        return cls(resize, size)

    def fit(self, picture: Any) -> Any:
        """Return a picture of Pillow in this size."""
        shorter = min(picture.size)
        scaled = tuple(int(self.resize * side / shorter) for side in picture.size)
        resized = picture if scaled == picture.size else picture.resize(scaled, resample=_BILINEAR)
        left, top = (round((side - self.size) / 2) for side in scaled)
        return resized.crop((left, top, left + self.size, top + self.size))


@dataclass(frozen=True)
class Columns:
    """Where a table of pictures keeps what is read.

    Attributes:
        image: Name of the column of pictures.
        label: Name of the column of labels.
        class_names: One name per class, where the table says them.
    """

    image: str
    label: str
    class_names: tuple[str, ...] | None


class PictureReader:
    """Reads the pictures of all splits of one data set, which must agree in size.

    Args:
        total: Number of pictures in all splits together, for ``progress``.
        progress: Called now and then with (pictures done, ``total``).
        allocate: Makes the arrays of pixels.
        size: To what size pictures are brought, or None to refuse pictures of several sizes.
    """

    def __init__(
        self,
        total: int,
        progress: Progress | None = None,
        *,
        allocate: Allocate = in_memory,
        size: TargetSize | None = None,
    ) -> None:
        self._pillow = import_extra("PIL.Image", "parquet")
        self._total = total
        self._progress = progress
        self._allocate = allocate
        self._size = size
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
        for index, values in enumerate(self._decoded(pictures)):
            if index == 0:
                pixels = self._allocate((count, 3, *values.shape[:2]))
            pixels[index] = values if values.ndim == 2 else values.transpose(2, 0, 1)
            self._report()
        return pixels

    def settle(self, pixels: np.ndarray) -> np.ndarray:
        """Keep one channel of ``pixels`` when every picture that was read is grey; call it after the last split."""
        if not self._grey:
            return pixels
        grey = self._allocate((len(pixels), 1, *pixels.shape[2:]))
        size = images_per_chunk(pixels.shape)
        for start in range(0, len(pixels), size):
            grey[start : start + size] = pixels[start : start + size, :1]
        return grey

    def _decoded(self, pictures: Iterable[tuple[str, bytes | Path]]) -> Iterator[np.ndarray]:
        """Decode in order, a few pictures ahead, in as many threads as PyTorch has."""
        waiting: deque[Future[np.ndarray]] = deque()
        threads = torch.get_num_threads()
        with ThreadPoolExecutor(threads) as pool:
            for name, encoded in pictures:
                if self._first is None and self._size is None:
                    yield self._decode(name, encoded)  # the others are compared with it
                    continue
                waiting.append(pool.submit(self._decode, name, encoded))
                if len(waiting) > _AHEAD * threads:
                    yield waiting.popleft().result()
            yield from (decoded.result() for decoded in waiting)

    def _decode(self, name: str, encoded: bytes | Path) -> np.ndarray:
        try:
            opened = io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded
            with self._pillow.open(opened, formats=_FORMATS) as picture:
                if self._size is not None:
                    return np.asarray(self._size.fit(self._eight_bits(name, picture)))
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
                way_out="give ?size=PIXELS to bring them to one size, or resize them first",
            )

    def _report(self) -> None:
        self._done += 1
        if self._progress is not None and (self._done % _REPORT_EVERY == 0 or self._done == self._total):
            self._progress(self._done, self._total)
