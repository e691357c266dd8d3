"""The data set that a study names: loaded, described without its pixels, and recognised by its fingerprints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch

from ticketdiet.core.errors import DataError
from ticketdiet.core.values import Images, ImageSplits
from ticketdiet.data.cache import ImageFacts
from ticketdiet.data.images import image_facts, kept_examples, load_images
from ticketdiet.data.prepare import KeptExamples
from ticketdiet.studies.schema import DatasetSpec


def load_dataset(dataset: DatasetSpec) -> ImageSplits:
    """Load the images of a data set; errors are those of :func:`~ticketdiet.data.images.load_images`."""
    return load_images(dataset.name, **dataset.model_dump(exclude={"name"}))


@lru_cache(maxsize=4)
def dataset_facts(dataset: DatasetSpec) -> ImageFacts:
    """Ask fingerprints, counts, shape and classes of a data set, without its pixels where the cache knows them."""
    return image_facts(dataset.name, **dataset.model_dump(exclude={"name"}))


def kept_of(dataset: DatasetSpec) -> KeptExamples | None:
    """Return which of its own training examples a data set keeps; None for all of them."""
    if dataset.limit is None and not dataset.validation:
        return None
    return kept_examples(dataset.name, **dataset.model_dump(exclude={"name"}))


def labels_only(labels: np.ndarray, facts: ImageFacts, split: str) -> Images:
    """Return images without a pixel: labels and class names, under the fingerprint of the images that they belong to.

    Args:
        labels: int64 of shape (n,).
        facts: What is known of the data set.
        split: Name of the split.
    """
    pixels = torch.zeros(len(labels), 0, 0, 0, dtype=torch.uint8)
    names, fingerprint = facts.class_names, facts.fingerprints[split]
    integers = torch.as_tensor(labels, dtype=torch.int64)
    return Images(pixels, integers, names, facts.mean, facts.std, known_fingerprint=fingerprint)


def can_be_shown(images: Images) -> bool:
    """Whether the images have pixels that a figure can show: uint8, of one or three channels."""
    shape = images.pixels.shape
    return len(shape) == 4 and shape[1] in (1, 3) and not images.pixels.is_floating_point()


def check_fingerprints(splits: ImageSplits, expected: Mapping[str, str], source: str) -> None:
    """Refuse images that are not those a stage was planned for.

    Args:
        splits: What was loaded.
        expected: Fingerprint of every split that is read.
        source: Name of the data set, for the message.

    Raises:
        DataError: When a split differs; the first is named.
    """
    found = {name: images.fingerprint for name, images in splits.named().items()}
    name = first_difference(found, [expected])
    if name is not None:
        raise DataError(
            f"The {name} images of {source} are now {found.get(name, 'missing')[:12]}. "
            f"The study was planned for {expected[name][:12]}.",
            expected="the data to stay as they are while a study runs",
            way_out="run the study again: it is then planned on the data as they are now",
        )


def first_difference(found: Mapping[str, str], expected: Sequence[Mapping[str, str]]) -> str | None:
    """Return the first split whose fingerprint differs, None when ``found`` has all splits of one of ``expected``."""
    if any(all(found.get(name) == fingerprint for name, fingerprint in one.items()) for one in expected):
        return None
    return next(name for name, fingerprint in expected[0].items() if found.get(name) != fingerprint)
