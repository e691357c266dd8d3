"""The values that the parts of the package pass to each other: images, scores, weights and masks.

All are frozen. ``Weights`` is a plain mapping of a module's ``state_dict`` names to tensors, parameters and buffers
alike; ``Mask`` is a plain mapping of prunable names to tensors of 0 (removed) and 1 (kept).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ticketdiet.core.errors import DataError
from ticketdiet.core.pixels import PixelView

Weights = Mapping[str, Tensor]
Mask = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled examples, held in memory (or mapped from a file) as a whole, or streamed (see :meth:`streamed`).

    Attributes:
        pixels: uint8 of shape (n, channels, height, width), or float32 of any shape (n, ...) taken as already prepared.
        labels: int64 of shape (n,), in ``[0, len(class_names))``.
        class_names: One name per class.
        mean: Per-channel mean that normalises uint8 pixels, on the scale 0..1; empty for float pixels.
        std: Per-channel standard deviation, on the same scale; empty for float pixels.
        known_fingerprint: The fingerprint, where the caller knows it; otherwise it is computed when first asked for.
    """

    pixels: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    # ``dataclasses.replace`` copies neither of the two, so that changed images never keep a stale fingerprint.
    known_fingerprint: InitVar[str] = ""
    _fingerprint: str = field(default="", init=False, repr=False)

    def __post_init__(self, known_fingerprint: str) -> None:
        _check_images(self)
        object.__setattr__(self, "_fingerprint", known_fingerprint)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """Number of classes, from the names: a small subset may lack some."""
        return len(self.class_names)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of pixels, labels and their order, as 64 hexadecimal digits."""
        if not self._fingerprint:
            object.__setattr__(self, "_fingerprint", _hash_tensors(self.pixels, self.labels))
        return self._fingerprint

    def take(self, indices: np.ndarray | Tensor) -> Images:
        """Return the examples at ``indices`` (int64, any order), with the same normalisation."""
        where = torch.as_tensor(indices, dtype=torch.int64, device=self.labels.device)
        pixels = self.pixels.take(where).as_tensor() if isinstance(self.pixels, PixelView) else self.pixels[where]
        return Images(pixels, self.labels[where], self.class_names, self.mean, self.std)

    def streamed(self) -> Images:
        """Return the same images with pixels that stay where they are; what is shown to a network is read for it.

        ``pixels`` is then a :class:`~ticketdiet.core.pixels.PixelView`: ``take`` copies nothing, ``to`` moves only the
        labels, and training and evaluation send batches to the device one by one. No number depends on it.
        """
        pixels = PixelView.over(self.pixels).as_tensor()
        return Images(pixels, self.labels, self.class_names, self.mean, self.std, self._fingerprint)

    def to(self, device: torch.device | str) -> Images:
        """Return the same images with their tensors on ``device``; pixels that are streamed stay where they are."""
        pixels = self.pixels if isinstance(self.pixels, PixelView) else self.pixels.to(device)
        labels = self.labels.to(device)
        return Images(pixels, labels, self.class_names, self.mean, self.std, self._fingerprint)


def _hash_tensors(*tensors: Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        parts = tensor.chunks() if isinstance(tensor, PixelView) else (tensor,)
        digest.update(f"{str(tensor.dtype).removeprefix('torch.')}{tuple(tensor.shape)}".encode())
        for part in parts:
            array = np.ascontiguousarray(part.cpu().numpy())
            digest.update(array.data if array.size else b"")
    return digest.hexdigest()


def _check_images(images: Images) -> None:
    pixels, labels = images.pixels, images.labels
    if pixels.dtype == torch.uint8 and pixels.dim() != 4:
        raise DataError(
            f"The uint8 pixels have shape {tuple(pixels.shape)}.",
            expected="shape (n, channels, height, width)",
            way_out="add a channel axis with pixels[:, None], or give float32 tensors that are already prepared",
        )
    if pixels.dtype not in (torch.uint8, torch.float32):
        raise DataError(
            f"The pixels have dtype {pixels.dtype}.",
            expected="torch.uint8 or torch.float32",
            way_out="convert them: uint8 on the scale 0..255, or float32 that is already prepared",
        )
    if len(pixels) != len(labels) or labels.dim() != 1 or labels.dtype != torch.int64:
        raise DataError(
            f"Got {len(pixels)} images with labels of shape {tuple(labels.shape)} and dtype {labels.dtype}.",
            expected="one int64 label per image",
            way_out="check that images and labels come from the same split",
        )
    if len(labels) and (int(labels.min()) < 0 or int(labels.max()) >= images.num_classes):
        raise DataError(
            f"Got labels from {int(labels.min())} to {int(labels.max())} with {images.num_classes} classes.",
            expected=f"labels in [0, {images.num_classes - 1}]",
            way_out="correct the labels, or name every class",
        )


@dataclass(frozen=True, eq=False)
class ImageSplits:
    """The splits of one data set, normalised by the statistics of its training images.

    Attributes:
        train: The images of pre-training, mask search and sparse training.
        test: The images that results are reported on.
        validation: Images that were taken from train before anything else, or None.
        name: Where the images came from, for people; it is not part of any identity.
    """

    train: Images
    test: Images
    validation: Images | None = None
    name: str = ""

    def named(self) -> dict[str, Images]:
        """Return the splits by name, in the order ``train``, ``test``, ``validation``; a missing one is left out."""
        splits = {"train": self.train, "test": self.test, "validation": self.validation}
        return {name: images for name, images in splits.items() if images is not None}

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the fingerprints of all splits."""
        parts = [images.fingerprint for images in self.named().values()]
        return hashlib.sha256("/".join(parts).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Scores:
    """Per-example scores of a training set: high means hard.

    Attributes:
        matrix: float32 of shape (models, n): one row per independently trained model.
        kind: Registered name of the score, for example ``"el2n"``.
        fingerprint: Fingerprint of the images that were scored, in their order; empty when unknown.
        provenance: How the scores were made: training recipe, step, BatchNorm mode and so on, JSON-able.
    """

    matrix: np.ndarray
    kind: str
    fingerprint: str = ""
    provenance: Mapping[str, object] = field(default_factory=dict)

    @cached_property
    def mean(self) -> np.ndarray:
        """float64 of shape (n,): mean over models."""
        mean: np.ndarray = np.asarray(self.matrix, dtype=np.float64).mean(axis=0)
        return mean

    def __len__(self) -> int:
        return int(self.matrix.shape[1])

    def check_belongs_to(self, images: Images) -> None:
        """Refuse scores of other images, or of the same images in another order.

        Raises:
            DataError: When the fingerprint or the length differs.
        """
        if len(self) != len(images):
            raise DataError(
                f"Got {len(self)} scores for {len(images)} images.",
                expected="one score per training example, in the order of the data set",
                way_out="score this data set, or choose the data set the scores belong to",
            )
        if self.fingerprint and self.fingerprint != images.fingerprint:
            raise DataError(
                f"The scores belong to images {self.fingerprint[:12]}, but these are images {images.fingerprint[:12]}.",
                expected="scores of the same images in the same order",
                way_out="score this data set again; an order cannot be repaired from scores alone",
            )
