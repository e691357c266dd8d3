"""The options of a data set, and which of them decide the numbers that come out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """How a data set is opened; see :func:`ticketdiet.data.images.load_images` for what each option does.

    Attributes:
        resolution: New height of the images in pixels, or None to keep it.
        limit: Number of training images, or None for all.
        validation: Fraction in (0, 1) or number of training images that are set aside; 0 for none.
        seed: Seed of limit and validation.
        root: Folder of the files of a downloadable data set, or None for the package's own.
        cache: Cache folder; None for the default, False to keep nothing.
        download: Whether the network may be used.
    """

    resolution: int | None = None
    limit: int | None = None
    validation: float = 0.0
    seed: int = 0
    root: str | Path | None = None
    cache: str | Path | bool | None = None
    download: bool = True

    @property
    def choose_examples(self) -> bool:
        """Whether only some of the training images are used for training."""
        return self.limit is not None or self.validation != 0

    @property
    def identity(self) -> Mapping[str, object] | None:
        """JSON-able fields that change the images; None when the images are used as they were decoded."""
        if self.resolution is None and not self.choose_examples:
            return None
        return {
            "resolution": None if self.resolution is None else int(self.resolution),
            "limit": None if self.limit is None else int(self.limit),
            "validation": repr(float(self.validation)),
            "seed": int(self.seed) if self.choose_examples else None,
        }
