"""Which statistics BatchNorm normalises by when a network is looked at, and how they are measured again.

Running statistics lag behind the weights: they move by a tenth per step, so for some hundred steps of fast change they
describe weights of the past. Between two networks, mixed statistics fit neither, which can make a barrier by itself
(Jordan et al., arXiv 2211.08403). The paper uses the running statistics and interpolates them; the other policies tell
whether a number belongs to the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ticketdiet.core.errors import UserError, check_known
from ticketdiet.core.seeds import numpy_generator
from ticketdiet.core.values import Images
from ticketdiet.kernels.line import SparseKernels
from ticketdiet.training.evaluation import autocast, device_of, evaluating, forward_of, prepared_chunks
from ticketdiet.training.modes import BATCH_NORM_POLICIES, Precision

RECALIBRATION_BATCHES, RECALIBRATION_BATCH_SIZE = 10, 250


def check_policy(policy: str) -> None:
    """Refuse an unknown policy.

    Raises:
        UnknownName: Listing the known ones.
    """
    check_known("BatchNorm policy", policy, BATCH_NORM_POLICIES)


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """Return the BatchNorm layers of ``model`` that keep running statistics."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


def recalibrate(
    model: nn.Module,
    images: Images,
    *,
    batches: int = RECALIBRATION_BATCHES,
    batch_size: int = RECALIBRATION_BATCH_SIZE,
    precision: Precision = "float32",
    sparse_kernels: SparseKernels = "auto",
) -> None:
    """Set the running statistics of ``model``, in place, to those of ``batches`` batches of un-augmented images.

    They are reset first, and averaged over the batches with equal weight. Everything but BatchNorm stays in eval mode.
    The images are taken in a fixed pseudo-random order, so that a data set sorted by class does no harm, and in batches
    of nearly equal size.

    Args:
        model: Any module; without BatchNorm nothing happens.
        images: Where the batches come from; when there are more than needed, the first in that order are taken.
        batches: Number of batches; fewer if the images do not suffice.
        batch_size: Images per batch at most.
        precision: ``"float32"`` or ``"bfloat16"``.
        sparse_kernels: As in a recipe.

    Raises:
        UserError: When there are fewer than two images, which have no variance.
    """
    layers = batch_norms(model)
    if not layers:
        return
    if len(images) < 2:
        raise UserError(
            f"BatchNorm cannot be recalibrated on {len(images)} image(s).",
            expected="at least two images, which have a variance",
            way_out="give more images, or leave the running statistics as they are",
        )
    order = numpy_generator(0, "recalibration").permutation(len(images))
    images = images.take(order[: batches * batch_size])
    size = even_batches(len(images), batch_size)
    momenta = [layer.momentum for layer in layers]
    device = device_of(model)
    with evaluating(model), torch.no_grad(), autocast(device, precision):
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None
            layer.train()
        network = forward_of(model, precision, sparse_kernels)
        for inputs, _ in prepared_chunks(images, size, device):
            network(inputs)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


@contextmanager
def recalibrated(
    model: nn.Module,
    images: Images,
    *,
    batches: int = RECALIBRATION_BATCHES,
    batch_size: int = RECALIBRATION_BATCH_SIZE,
    precision: Precision = "float32",
    sparse_kernels: SparseKernels = "auto",
) -> Iterator[None]:
    """Let ``model`` have recalibrated statistics inside the block, and its own again after it; see ``recalibrate``."""
    buffers = [buffer for layer in batch_norms(model) for buffer in layer.buffers()]
    kept = [buffer.clone() for buffer in buffers]
    try:
        recalibrate(
            model, images, batches=batches, batch_size=batch_size, precision=precision, sparse_kernels=sparse_kernels
        )
        yield
    finally:
        for buffer, before in zip(buffers, kept, strict=True):
            buffer.copy_(before)


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Let BatchNorm use each batch's own statistics, in eval mode and without touching the running ones."""
    layers = batch_norms(model)
    kept = [(layer.running_mean, layer.running_var) for layer in layers]
    for layer in layers:
        layer.running_mean = layer.running_var = None
    try:
        yield
    finally:
        for layer, (mean, var) in zip(layers, kept, strict=True):
            layer.running_mean, layer.running_var = mean, var


def even_batches(count: int, batch_size: int) -> int:
    """Return the batch size near ``batch_size`` that cuts ``count`` images into batches of about equal size.

    It is at most ``batch_size``, unless that would leave a batch of a single image, which has no variance.
    """
    size = -(-count // -(-count // batch_size))
    while count > 1 and (size == 1 or count % size == 1):
        size += 1
    return size
