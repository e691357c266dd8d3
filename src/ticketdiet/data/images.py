"""Loading a data set: from the name of a source to the splits for training, test and validation.

Images are decoded once to uint8 and cached with their fingerprints; after that, pixels are mapped from the cache and
nothing is hashed. There are two entries: the images as decoded, and those after resolution, limit and validation, so
that other options do not decode again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ticketdiet.core.errors import DataError
from ticketdiet.core.values import Images, ImageSplits
from ticketdiet.data.cache import ImageCache, ImageFacts, cache_folder, entry_key, facts_of_images
from ticketdiet.data.decoded import Decoded, Progress, Source, decode
from ticketdiet.data.huggingface import open_dataset_dict
from ticketdiet.data.options import DatasetOptions
from ticketdiet.data.pixel_files import Allocate
from ticketdiet.data.prepare import KeptExamples, channel_statistics, choose_limit, pool_chosen, take_validation
from ticketdiet.data.sources import open_source


def load_images(
    source: str | Mapping[str, Any],
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
    """Load a data set as uint8 images in memory (mapped from the cache when it was opened before).

    Validation is taken from the training images before anything else, then the limit, then the resolution. Mean and
    standard deviation are those of the resulting training images and normalise every split. The limit does not apply
    to test images.

    Args:
        source: ``digits``, ``mnist``, ``fashion-mnist``, ``cifar10``, ``cifar100``, ``svhn``, ``parquet:PATH``,
            ``folder:PATH``, ``npz:PATH``, ``hf:PATH`` or a name that another package registered; or a ``DatasetDict``
            of the library ``datasets``, with splits ``train`` and ``test``.
        resolution: New height, an exact divisor of the old: square blocks are averaged and rounded, halves up.
        limit: Number of training images, chosen at random with the classes in proportion. Their order is kept, and
            the images of a smaller limit are among those of a larger one with the same seed.
        validation: A fraction in (0, 1) or a whole number from 2 on, chosen in the same way; 0 for no validation split.
        seed: Seed of limit and validation, which choose independently.
        root: Folder that already holds the files of a downloadable data set; nothing is downloaded into it.
        cache: Cache folder; None for ``TICKETDIET_CACHE`` or ``~/.cache/ticketdiet``, False to store nothing.
        download: Whether a data set that is not on this machine may be downloaded into the cache folder.
        progress: Called now and then with (images decoded, images in total).

    Returns:
        Splits whose ``pixels`` are uint8 of shape (n, channels, height, width).

    Raises:
        UnknownName: When no source has this name; the message lists the known names.
        DataError: When the data are absent, damaged or inconsistent, or the options do not fit them.
        UserError: When a source needs an extra that is not installed.
    """
    options = DatasetOptions(
        resolution=resolution,
        limit=limit,
        validation=validation,
        seed=seed,
        root=root,
        cache=cache,
        download=download,
    )
    return _Opening(source, options).images(progress)


def image_facts(source: str, *, progress: Progress | None = None, **options: Any) -> ImageFacts:
    """Return fingerprints, counts, shape and classes of a data set.

    Reads no pixels when the cache knows the data set, and otherwise decodes it once.

    Args:
        source: As for :func:`load_images`.
        progress: As for :func:`load_images`.
        **options: The other options of :func:`load_images`.

    Returns:
        The facts about the splits that :func:`load_images` returns for the same arguments; it raises the same errors.
    """
    return _Opening(source, DatasetOptions(**options)).facts(progress)


def kept_examples(source: str, **options: Any) -> KeptExamples:
    """Return which of the data set's own training examples :func:`load_images` keeps for training, in its order.

    Args:
        source: As for :func:`load_images`.
        **options: The other options of :func:`load_images`; it raises the same errors.

    Returns:
        Their indices in the order of the data set itself, and how many it has.
    """
    return _Opening(source, DatasetOptions(**options)).kept()


class _Opening:
    """One data set with its options, and its places in the cache."""

    def __init__(self, given: str | Mapping[str, Any], options: DatasetOptions) -> None:
        self.options = options
        if isinstance(given, str):
            self.name = given
            self.source: Source = open_source(given, root=options.root, cache=options.cache, download=options.download)
        else:
            self.source = found = open_dataset_dict(given)
            self.name = found.name
        self.cache = ImageCache(None if options.cache is False else cache_folder(options.cache) / "images")
        with _reading(self.name):
            source = self.source.identity()
        self.plain = options.identity is None
        self.decoded_key = entry_key({"source": source, "options": None})
        self.key = entry_key({"source": source, "options": options.identity})

    def images(self, progress: Progress | None) -> ImageSplits:
        def make(allocate: Allocate) -> ImageSplits:
            return self.decode(allocate, progress) if self.plain else self.prepare(self.decoded(progress), allocate)

        return replace(self.cache.keep(self.key, make), name=self.name)

    def facts(self, progress: Progress | None) -> ImageFacts:
        known = self.cache.facts(self.key)
        return replace(known, name=self.name) if known is not None else facts_of_images(self.images(progress))

    def decoded(self, progress: Progress | None) -> ImageSplits:
        return self.cache.keep(self.decoded_key, lambda allocate: self.decode(allocate, progress))

    def decode(self, allocate: Allocate, progress: Progress | None) -> ImageSplits:
        with _reading(self.name):
            decoded = decode(self.source, allocate, progress)
        return _as_splits(decoded, self.name)

    def kept(self) -> KeptExamples:
        labels = self.decoded(None).train.labels.numpy()
        return KeptExamples(self.choose(labels)[0], len(labels))

    def choose(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which examples are for training, and which are set aside for validation."""
        kept, aside = take_validation(labels, self.options.validation, self.options.seed)
        return kept[choose_limit(labels[kept], self.options.limit, self.options.seed)], aside

    def prepare(self, whole: ImageSplits, allocate: Allocate) -> ImageSplits:
        kept, aside = self.choose(whole.train.labels.numpy())
        train = self.shrink(whole.train, kept if self.options.choose_examples else None, allocate)
        mean, std = channel_statistics(train.pixels.numpy())
        return ImageSplits(
            replace(train, mean=mean, std=std),
            replace(self.shrink(whole.test, None, allocate), mean=mean, std=std),
            replace(self.shrink(whole.train, aside, allocate), mean=mean, std=std) if len(aside) else None,
            self.name,
        )

    def shrink(self, images: Images, chosen: np.ndarray | None, allocate: Allocate) -> Images:
        pixels = pool_chosen(images.pixels.numpy(), chosen, self.options.resolution, allocate)
        labels = images.labels if chosen is None else images.labels[torch.from_numpy(chosen)]
        return replace(images, pixels=torch.from_numpy(pixels), labels=labels)


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"The data set {name} cannot be read ({error}).",
            expected="files that may be read, and that nothing changes or removes meanwhile",
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
