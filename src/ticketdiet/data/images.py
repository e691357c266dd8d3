"""A source's name -> the splits that are trained, tested and validated on.

Decoded once to uint8 and cached with fingerprints; opened again, pixels are mapped from the cache and nothing is hashed.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from ticketdiet.core.values import Images, ImageSplits
from ticketdiet.data.decoded import Decoded, Progress
from ticketdiet.data.prepare import average_pool, channel_statistics, choose_limit, take_validation
from ticketdiet.data.sources import open_source


def cache_folder(cache: str | Path | None = None) -> Path:
    """Folder of decoded images and downloads: ``cache``, else ``TICKETDIET_CACHE``, else ``~/.cache/ticketdiet``."""
    chosen = cache or os.environ.get("TICKETDIET_CACHE") or Path.home() / ".cache" / "ticketdiet"
    return Path(chosen).expanduser().absolute()


def load_images(
    source: str,
    *,
    resolution: int | None = None,
    limit: int | None = None,
    validation: float = 0.0,
    seed: int = 0,
    root: str | None = None,
    cache: str | Path | None = None,
    download: bool = True,
    progress: Progress | None = None,
) -> ImageSplits:
    """Load a data set as uint8 images, whole in memory."""
    opened = open_source(
        source, root=Path(root) if root else None, downloads=cache_folder(cache) / "downloads", download=download
    )
    return _prepare(opened.decode(progress), source, resolution, limit, validation, seed)


def _prepare(
    decoded: Decoded, name: str, resolution: int | None, limit: int | None, validation: float, seed: int
) -> ImageSplits:
    kept, aside = take_validation(decoded.train_labels, validation, seed)
    kept = kept[choose_limit(decoded.train_labels[kept], limit, seed)]
    train = average_pool(decoded.train_pixels[kept], resolution)
    mean, std = channel_statistics(train)

    def images(pixels: np.ndarray, labels: np.ndarray) -> Images:
        return Images(torch.from_numpy(pixels), torch.from_numpy(labels), decoded.class_names, mean, std)

    return ImageSplits(
        train=images(train, decoded.train_labels[kept]),
        test=images(average_pool(decoded.test_pixels, resolution), decoded.test_labels),
        validation=(
            images(average_pool(decoded.train_pixels[aside], resolution), decoded.train_labels[aside])
            if len(aside)
            else None
        ),
        name=name,
    )
