"""Batches as a pure function of (order seed, augmentation seed, step), made on the device that holds the images.

Every epoch has one permutation of the examples and one draw of crops and flips, indexed by example, so that two
trainings that share the augmentation seed show an example the same crop in the same epoch whatever their order. A step
takes its slice: any batch is known without replaying earlier ones. The last incomplete batch of an epoch is dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ticketdiet.core.errors import DataError
from ticketdiet.core.pixels import PixelView
from ticketdiet.core.seeds import RunSeeds, numpy_generator
from ticketdiet.core.values import Images
from ticketdiet.training.arithmetic import layout_for
from ticketdiet.training.prefetch import Prefetcher
from ticketdiet.training.recipe import Recipe
from ticketdiet.training.resized_crop import draw_boxes, resized_crop


@dataclass(frozen=True, eq=False)
class Batch:
    """What one step sees.

    Attributes:
        inputs: float32 (batch, ...), normalised and augmented, channels-last where there are channels.
        labels: int64 (batch,).
        indices: int64 (batch,): positions in the data set.
    """

    inputs: Tensor
    labels: Tensor
    indices: Tensor


class BatchSource(Protocol):
    """Where the loop gets its batches."""

    def batch(self, step: int) -> Batch:
        """Return the batch of ``step``, counted from initialisation."""
        ...


@runtime_checkable
class CountsExamples(Protocol):
    """A source that knows from its order alone which examples its steps show."""

    def unique_examples(self, start_step: int, stop_step: int) -> int:
        """Return the number of different examples in the steps ``[start_step, stop_step)``."""
        ...


@dataclass(frozen=True, eq=False)
class _Epoch:
    number: int
    order: Tensor  # int64 (examples,): positions in the data set
    shift: Tensor  # int64 (images, 2): top and left of the crop
    flip: Tensor  # bool (images,)
    box: Tensor | None  # int64 (images, 4): top, left, height and width of the resized crop


class ImageBatches:
    """Batches from images that live whole on one device, or are streamed to it; both give the same bits.

    Args:
        images: The training images, on the device of the network. Those that are streamed have their labels there.
        recipe: Gives batch size, crops and flip.
        seeds: Gives the order and augmentation seeds.
        examples: int64 indices of the subset to train on, or None for all.

    Raises:
        DataError: When there are fewer examples than one batch, or indices that name no image.
    """

    def __init__(self, images: Images, recipe: Recipe, seeds: RunSeeds, examples: np.ndarray | None = None) -> None:
        self._images = images
        self._recipe = recipe
        self._seeds = seeds
        self._examples = np.arange(len(images)) if examples is None else _checked_examples(examples, len(images))
        self._epoch: _Epoch | None = None
        self.steps_per_epoch = len(self._examples) // recipe.batch_size
        self._augments = images.pixels.dtype == torch.uint8
        self._layout = layout_for(images.labels.device, recipe.precision)
        if self.steps_per_epoch == 0:
            raise DataError(
                f"Got {len(self._examples)} examples to train on in batches of {recipe.batch_size}.",
                expected="at least one whole batch (the last incomplete one is dropped)",
                way_out="give a larger subset, or a smaller batch_size",
            )
        self._orders = _Orders(self._examples, recipe.batch_size, seeds.order)
        self._ahead: Prefetcher | None = None
        if isinstance(images.pixels, PixelView):
            self._ahead = Prefetcher(_reader(images.pixels, self._orders), images.labels.device)

    def batch(self, step: int) -> Batch:
        """Return the batch of ``step``, counted from initialisation."""
        number, position = divmod(step, self.steps_per_epoch)
        if self._epoch is None or self._epoch.number != number:
            self._epoch = self._draw(number)
        size = self._recipe.batch_size
        indices = self._epoch.order[position * size : (position + 1) * size]
        pixels = self._images.pixels[indices] if self._ahead is None else self._ahead.get(step)
        if self._augments:
            pixels = prepare(self._augment(pixels, indices, self._epoch), self._images, self._layout)
        return Batch(pixels, self._images.labels[indices], indices)

    def unique_examples(self, start_step: int, stop_step: int) -> int:
        """Count the different examples that the steps in ``[start_step, stop_step)`` show, without making a batch."""
        shown = shown_examples(self._seeds.order, self._examples, self._recipe.batch_size, start_step, stop_step)
        return len(shown)

    def _draw(self, number: int) -> _Epoch:
        chance = numpy_generator(self._seeds.augmentation, "epoch", number)
        shift = chance.integers(0, 2 * self._recipe.crop_padding + 1, size=(len(self._images), 2))
        flip = chance.integers(0, 2, size=len(self._images)).astype(bool)
        device = self._images.labels.device
        order = self._orders.of(number).to(device)
        shift_there, flip_there = (torch.from_numpy(part).to(device) for part in (shift, flip))
        return _Epoch(number, order, shift_there, flip_there, self._boxes(number, device))

    def _boxes(self, number: int, device: torch.device) -> Tensor | None:
        area = self._recipe.resized_crop
        if area is None or not self._augments:
            return None
        chance = numpy_generator(self._seeds.augmentation, "resized_crop", number)
        height, width = self._images.pixels.shape[2:]
        return torch.from_numpy(draw_boxes(chance, len(self._images), height, width, area)).to(device)

    def _augment(self, pixels: Tensor, indices: Tensor, epoch: _Epoch) -> Tensor:
        if epoch.box is not None:
            pixels = resized_crop(pixels, epoch.box[indices])
        elif self._recipe.crop_padding:
            pixels = crop(pixels, epoch.shift[indices], self._recipe.crop_padding)
        if self._recipe.flip:
            pixels = torch.where(epoch.flip[indices][:, None, None, None], pixels.flip(-1), pixels)
        return pixels


class _Orders:
    """The order of the examples in each epoch; the last two are kept, for the step and for what is read ahead."""

    def __init__(self, examples: np.ndarray, batch_size: int, seed: int) -> None:
        self._examples, self._batch_size, self._seed = examples, batch_size, seed
        self._kept: dict[int, Tensor] = {}
        self._lock = threading.Lock()

    def of(self, epoch: int) -> Tensor:
        with self._lock:
            if epoch not in self._kept:
                drawn = torch.from_numpy(_order(self._seed, self._examples, epoch))
                last = list(self._kept.items())[-1:]
                self._kept = {**dict(last), epoch: drawn}
            return self._kept[epoch]

    def rows(self, step: int) -> Tensor:
        """Return the examples of ``step``, int64 (batch,)."""
        epoch, position = divmod(step, len(self._examples) // self._batch_size)
        return self.of(epoch)[position * self._batch_size : (position + 1) * self._batch_size]


def _reader(pixels: PixelView, orders: _Orders) -> Callable[[int], Tensor]:
    return lambda step: pixels.read(orders.rows(step))


def shown_examples(
    order_seed: int, examples: np.ndarray, batch_size: int, start_step: int, stop_step: int
) -> np.ndarray:
    """Return which examples the steps in ``[start_step, stop_step)`` of a training show, without making a batch.

    Args:
        order_seed: Seed of the data order.
        examples: int64 (m,): the different examples that are trained on, at least ``batch_size`` of them.
        batch_size: Examples per step; the last incomplete batch of an epoch is dropped.
        start_step: First step, counted from initialisation.
        stop_step: Step at which the training ends.

    Returns:
        int64, sorted: those of ``examples`` that are shown at least once.
    """
    per_epoch = len(examples) // batch_size
    seen = np.zeros(int(examples.max(initial=-1)) + 1, dtype=bool)
    for number in range(start_step // per_epoch, -(-stop_step // per_epoch)):
        first, last = max(start_step - number * per_epoch, 0), min(stop_step - number * per_epoch, per_epoch)
        seen[_order(order_seed, examples, number)[first * batch_size : last * batch_size]] = True
        if seen[examples].all():
            break
    return np.flatnonzero(seen)


def _order(seed: int, examples: np.ndarray, epoch: int) -> np.ndarray:
    return numpy_generator(seed, "epoch", epoch).permutation(examples)


def _checked_examples(examples: np.ndarray, count: int) -> np.ndarray:
    indices = np.asarray(examples)
    if indices.ndim != 1 or (indices.size and indices.dtype.kind not in "iu"):
        raise DataError(
            f"The examples to train on have shape {indices.shape} and dtype {indices.dtype}.",
            expected="indices: integers of shape (examples,)",
            way_out="make indices from a mask with np.flatnonzero(mask)",
        )
    if indices.size and (indices.min() < 0 or indices.max() >= count):
        raise DataError(
            f"Got indices of examples from {indices.min()} to {indices.max()} for {count} images.",
            expected=f"indices in [0, {count - 1}]",
            way_out="choose the subset from this data set",
        )
    return indices.astype(np.int64)


def crop(pixels: Tensor, shift: Tensor, padding: int) -> Tensor:
    """Cut a window of the original size from each zero-padded image.

    Args:
        pixels: (batch, channels, height, width).
        shift: int64 (batch, 2): top and left of each window in the padded image, in ``[0, 2 * padding]``.
        padding: Zeros on every side, in pixels.

    Returns:
        A tensor of the shape and dtype of ``pixels``.
    """
    height, width = pixels.shape[-2:]
    windows = F.pad(pixels, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)
    everyone = torch.arange(len(pixels), device=pixels.device)
    return windows[everyone, :, shift[:, 0], shift[:, 1]]


def prepare(pixels: Tensor, images: Images, layout: torch.memory_format = torch.channels_last) -> Tensor:
    """Turn pixels of ``images`` into what a network sees.

    Args:
        pixels: uint8 (batch, channels, height, width), or float32 (batch, ...), which is returned as it is.
        images: Gives mean and standard deviation per channel, on the scale 0..1.
        layout: Order of the result in memory.

    Returns:
        float32, normalised.
    """
    if pixels.dtype != torch.uint8:
        return pixels
    mean, scale = _normalisation(images.mean, images.std, pixels.device)
    return pixels.to(torch.float32, memory_format=layout).sub_(mean).mul_(scale)


@lru_cache(maxsize=64)
def _normalisation(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return what is subtracted and what is multiplied by, made once: on a GPU, making them waits for all its work."""
    with torch.inference_mode(False):  # they are used in training, too
        centre = torch.tensor(mean, device=device).mul_(255)[:, None, None]
        scale = torch.tensor(std, device=device).mul_(255).reciprocal_()[:, None, None]
    return centre, scale
