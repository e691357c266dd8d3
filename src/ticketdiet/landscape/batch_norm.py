"""What BatchNorm's running statistics should be between two networks: three policies.

Mixed statistics fit no network in between, which can make a barrier by itself (Jordan et al., arXiv 2211.08403). The
paper interpolates them; the other two policies tell whether a barrier is in the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ticketdiet.core.errors import UnknownName
from ticketdiet.core.seeds import numpy_generator
from ticketdiet.core.values import Images
from ticketdiet.training.evaluation import autocast, device_of, evaluating, prepared_chunks
from ticketdiet.training.recipe import Precision

BatchNormPolicy = Literal["interpolate", "recalibrate", "batch"]
BATCH_NORM_POLICIES: tuple[str, ...] = get_args(BatchNormPolicy)


def check_policy(policy: str) -> None:
    """Refuse an unknown policy.

    Raises:
        UnknownName: Listing the known ones.
    """
    if policy not in BATCH_NORM_POLICIES:
        raise UnknownName.of("BatchNorm policy", policy, BATCH_NORM_POLICIES)


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """Return the BatchNorm layers of ``model`` that keep running statistics."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


def recalibrate(
    model: nn.Module, images: Images, *, batches: int, batch_size: int, precision: Precision = "float32"
) -> None:
    """Set the running statistics of ``model``, in place, to those of ``batches`` batches of un-augmented images.

    They are reset first, and averaged over the batches with equal weight. Everything but BatchNorm stays in eval mode.

    Args:
        model: Any module; without BatchNorm nothing happens.
        images: Where the batches come from. When they are more than is needed, a fixed pseudo-random choice is taken,
            so that images sorted by class do no harm.
        batches: Number of batches; fewer if the images do not suffice.
        batch_size: Images a batch.
        precision: ``"float32"`` or ``"bfloat16"``.
    """
    layers = batch_norms(model)
    if not layers:
        return
    if len(images) > batches * batch_size:
        order = numpy_generator(0, "recalibration").permutation(len(images))
        images = images.take(order[: batches * batch_size])
    momenta = [layer.momentum for layer in layers]
    device = device_of(model)
    with evaluating(model), torch.no_grad(), autocast(device, precision):
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None
            layer.train()
        for inputs, _ in prepared_chunks(images, batch_size, device):
            model(inputs)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


@contextmanager
def recalibrated(
    model: nn.Module, images: Images, *, batches: int, batch_size: int, precision: Precision = "float32"
) -> Iterator[None]:
    """Let ``model`` have recalibrated statistics inside the block, and its own again after it; see ``recalibrate``."""
    buffers = [buffer for layer in batch_norms(model) for buffer in layer.buffers()]
    kept = [buffer.clone() for buffer in buffers]
    try:
        recalibrate(model, images, batches=batches, batch_size=batch_size, precision=precision)
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
    """Return the largest batch size up to ``batch_size`` that cuts ``count`` images into batches of about equal size.

    A last batch of a few images would have statistics of its own.
    """
    return -(-count // -(-count // batch_size))
