"""A source's name -> the splits that are trained, tested and validated on.

Decoded once to uint8 and cached with fingerprints; opened again, pixels are mapped from the cache and nothing is
hashed. Two entries are kept: the images as decoded, and those after resolution, limit and validation, so that other
options do not decode again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from ticketdiet.core.errors import DataError
from ticketdiet.core.values import Images, ImageSplits
from ticketdiet.data.cache import ImageCache, ImageFacts, cache_folder, entry_key, facts_of_images
from ticketdiet.data.decoded import Decoded, Progress, Source
from ticketdiet.data.prepare import average_pool, channel_statistics, choose_limit, take_validation
from ticketdiet.data.sources import open_source


def load_images(
    source: str,
    *,
    resolution: int | None = None,
    limit: int | None = None,
    validation: float = 0.0,
    seed: int = 0,
    root: str | Path | None = None,
    cache: str | Path | bool | None = None,
    download: bool = True,
    progress: Progress | None = None,
) -> ImageSplits:
    """Load a data set as uint8 images, whole in memory (mapped from the cache when it was opened before).

    Validation is taken from the training images before anything else, then the limit, then the resolution. Mean and
    standard deviation are those of the resulting training images and normalise every split. The test is never limited.

    Args:
        source: ``digits``, ``mnist``, ``fashion-mnist``, ``cifar10``, ``cifar100``, ``svhn``, ``parquet:PATH``,
            ``folder:PATH``, ``npz:PATH`` or a name that another package registered.
        resolution: New height by averaging square blocks, an exact divisor; rounded to nearest, halves up.
        limit: Number of training images, chosen at random with the classes in proportion; their order is kept, and a
            smaller limit of the same seed is contained in a larger one.
        validation: A share in (0, 1) or a whole number from 2 on, chosen likewise; 0 for no validation split.
        seed: Seed of limit and validation, which choose independently.
        root: Folder where the files of a downloadable data set already lie; nothing is downloaded into it.
        cache: Cache folder; None for ``TICKETDIET_CACHE`` or ``~/.cache/ticketdiet``, False to keep nothing.
        download: Whether a data set that is not on this machine may be downloaded into the cache folder.
        progress: Called now and then with (images decoded, images in total).

    Returns:
        Splits whose ``pixels`` are uint8 of shape (n, channels, height, width).

    Raises:
        UnknownName: For a source that no family knows; the message lists the known.
        DataError: For data that are absent, damaged or do not fit, and for options that do not fit the data.
        UserError: When a source needs an extra that is not installed.
    """
    opening = _Opening(source, resolution, limit, validation, seed, root, cache, download)
    return opening.images(progress)


def image_facts(
    source: str,
    *,
    resolution: int | None = None,
    limit: int | None = None,
    validation: float = 0.0,
    seed: int = 0,
    root: str | Path | None = None,
    cache: str | Path | bool | None = None,
    download: bool = True,
    progress: Progress | None = None,
) -> ImageFacts:
    """Ask fingerprints, counts, shape and classes of a data set; arguments and errors are those of :func:`load_images`.

    Reads no pixels when the cache knows the data set, and otherwise decodes it once.
    """
    opening = _Opening(source, resolution, limit, validation, seed, root, cache, download)
    return opening.facts(progress)


class _Opening:
    """One data set with its options, and its places in the cache."""

    def __init__(
        self,
        name: str,
        resolution: int | None,
        limit: int | None,
        validation: float,
        seed: int,
        root: str | Path | None,
        cache: str | Path | bool | None,
        download: bool,
    ) -> None:
        self.name = name
        self.resolution = resolution
        self.limit = limit
        self.validation = validation
        self.seed = seed
        self.source: Source = open_source(name, root=root, cache=cache, download=download)
        self.cache = ImageCache(None if cache is False else cache_folder(cache) / "images")
        with _reading(name):
            self.identity: Mapping[str, object] = self.source.identity()

    @property
    def chooses(self) -> bool:
        return self.limit is not None or self.validation != 0

    @property
    def plain(self) -> bool:
        return self.resolution is None and not self.chooses

    @property
    def decoded_key(self) -> str:
        return entry_key({"source": self.identity, "options": None})

    @property
    def key(self) -> str:
        if self.plain:
            return self.decoded_key
        options = {
            "resolution": None if self.resolution is None else int(self.resolution),
            "limit": None if self.limit is None else int(self.limit),
            "validation": repr(float(self.validation)),
            "seed": int(self.seed) if self.chooses else None,
        }
        return entry_key({"source": self.identity, "options": options})

    def images(self, progress: Progress | None) -> ImageSplits:
        images = self.cache.read(self.key)
        if images is None:
            images = self.decoded(progress) if self.plain else self.prepare(self.decoded(progress))
            self.cache.write(self.key, images)
        return replace(images, name=self.name)

    def facts(self, progress: Progress | None) -> ImageFacts:
        known = self.cache.facts(self.key)
        return replace(known, name=self.name) if known is not None else facts_of_images(self.images(progress))

    def decoded(self, progress: Progress | None) -> ImageSplits:
        images = None if self.plain else self.cache.read(self.decoded_key)
        if images is None:
            with _reading(self.name):
                decoded = self.source.decode(progress)
            images = _as_splits(decoded, self.name)
            if not self.plain:
                self.cache.write(self.decoded_key, images)
        return images

    def prepare(self, whole: ImageSplits) -> ImageSplits:
        labels = whole.train.labels.numpy()
        kept, aside = take_validation(labels, self.validation, self.seed)
        kept = kept[choose_limit(labels[kept], self.limit, self.seed)]
        train = self.shrink(whole.train.take(kept) if self.chooses else whole.train)
        mean, std = channel_statistics(train.pixels.numpy())
        return ImageSplits(
            replace(train, mean=mean, std=std),
            replace(self.shrink(whole.test), mean=mean, std=std),
            replace(self.shrink(whole.train.take(aside)), mean=mean, std=std) if len(aside) else None,
            self.name,
        )

    def shrink(self, images: Images) -> Images:
        return replace(images, pixels=torch.from_numpy(average_pool(images.pixels.numpy(), self.resolution)))


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{name} cannot be read ({error}).",
            expected="files that may be read, and that stay while they are",
            way_out="check the permissions and the disk",
        ) from error


def _as_splits(decoded: Decoded, name: str) -> ImageSplits:
    mean, std = channel_statistics(decoded.train_pixels)
    train, test = (
        Images(torch.from_numpy(pixels), torch.from_numpy(labels), decoded.class_names, mean, std)
        for pixels, labels in (
            (decoded.train_pixels, decoded.train_labels),
            (decoded.test_pixels, decoded.test_labels),
        )
    )
    return ImageSplits(train, test, name=name)
