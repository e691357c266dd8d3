"""What a network says of images: logits, losses, correctness, in eval mode and without augmentation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ticketdiet.core.pixels import PixelView
from ticketdiet.core.values import Images, Weights
from ticketdiet.kernels.line import SparseKernels, line_of
from ticketdiet.kernels.network import SparseNetwork, zeros_of
from ticketdiet.training.arithmetic import layout_for, reproducible
from ticketdiet.training.batches import prepare
from ticketdiet.training.distributed import ALONE, Ranks, present_ranks
from ticketdiet.training.prefetch import Prefetcher
from ticketdiet.training.recipe import Precision

CPU_BATCH, GPU_BATCH = 250, 2000  # images per forward pass: what stays in caches, and what fills a GPU
GPU_POSITIONS = GPU_BATCH * 64 * 64  # pixels per forward pass: larger images must still fit into a GPU's memory


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Per-example results, in the order of the images.

    Attributes:
        losses: float32 (n,): cross-entropy in nats.
        correct: bool (n,).
    """

    losses: Tensor
    correct: Tensor

    @property
    def loss(self) -> float:
        """Mean loss in nats."""
        return float(self.losses.double().mean())

    @property
    def accuracy(self) -> float:
        """Fraction of images classified correctly, in [0, 1]."""
        return float(self.correct.double().mean())


def evaluate(
    model: nn.Module,
    images: Images,
    *,
    weights: Weights | None = None,
    batch_size: int | None = None,
    precision: Precision = "float32",
    sparse_kernels: SparseKernels = "auto",
) -> Evaluation:
    """Evaluate a network in eval mode on un-augmented images.

    Args:
        model: A classifier; its mode is left as it was.
        images: What to classify; moved to the model's device when they are elsewhere.
        weights: Weights to load into ``model`` first (they stay loaded), or None.
        batch_size: Images per forward pass, which only affects speed and the last bits; default what suits the device.
        precision: ``"float32"``, or ``"bfloat16"`` autocast.
        sparse_kernels: Density up to which the kernels for sparse networks are used, as in a recipe; the density is
            that of the weights which are not 0.

    Returns:
        Losses and correctness of each image, on the CPU.
    """
    if weights is not None:
        model.load_state_dict(dict(weights))
    logits = predict_logits(model, images, batch_size=batch_size, precision=precision, sparse_kernels=sparse_kernels)
    labels = images.labels.cpu()
    return Evaluation(F.cross_entropy(logits, labels, reduction="none"), logits.argmax(1) == labels)


def predict_logits(
    model: nn.Module,
    images: Images,
    *,
    batch_size: int | None = None,
    precision: Precision = "float32",
    sparse_kernels: SparseKernels = "auto",
) -> Tensor:
    """Return the logits of a network in eval mode, float32 of shape (n, classes), on the CPU."""
    device, ranks = device_of(model), present_ranks()
    size = batch_size or _batch_that_suits(device, images.pixels.shape)
    with evaluating(model), torch.inference_mode(), autocast(device, precision):
        chunks = prepared_chunks(images, size, device, precision, ranks=ranks)
        network = forward_of(model, precision, sparse_kernels)
        parts = [network(inputs).float().cpu() for inputs, _ in chunks]
    return ranks.collect(parts)


def forward_of(model: nn.Module, precision: Precision, sparse_kernels: SparseKernels) -> Callable[[Tensor], Tensor]:
    """Return the forward pass of ``model`` as it is now, by the kernels for sparse networks where they apply."""
    if sparse_kernels == "off" or precision != "float32" or device_of(model).type != "cpu":
        return model
    return SparseNetwork(model, zeros_of(model), line_of(sparse_kernels))


def _batch_that_suits(device: torch.device, shape: tuple[int, ...]) -> int:
    if device.type == "cpu":
        return CPU_BATCH
    positions = shape[2] * shape[3] if len(shape) == 4 else 1
    return max(1, min(GPU_BATCH, GPU_POSITIONS // max(1, positions)))


def prepared_chunks(
    images: Images,
    batch_size: int,
    device: torch.device,
    precision: Precision = "float32",
    *,
    ranks: Ranks = ALONE,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (inputs, labels) of consecutive images, normalised and un-augmented, on ``device``.

    Args:
        images: What to cut into chunks.
        batch_size: Images per chunk.
        device: Where they are prepared.
        precision: Precision of the forward pass, which decides their order in memory.
        ranks: Who shares the chunks; each rank gets its part of them.

    Yields:
        float32 (chunk, ...) and int64 (chunk,).
    """
    layout = layout_for(device, precision)
    starts = ranks.own_part(range(0, len(images), batch_size))
    if isinstance(images.pixels, PixelView):
        view = images.pixels
        ahead = Prefetcher(lambda i: view.read(slice(starts[i], starts[i] + batch_size)), device, stop=len(starts))
        chunks: Iterable[Tensor] = (ahead.get(number) for number in range(len(starts)))
    else:
        chunks = (images.pixels[start : start + batch_size].to(device) for start in starts)
    for start, pixels in zip(starts, chunks, strict=True):
        yield prepare(pixels, images, layout), images.labels[start : start + batch_size].to(device)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Hold ``model`` in eval mode, and put each of its modules back as it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Return the context that computes in ``precision`` on ``device``; float32 is float32 proper on a GPU, too."""
    if precision == "float32":
        return nullcontext() if device.type == "cpu" else reproducible(device)
    return torch.autocast(device.type, dtype=torch.bfloat16)


def device_of(model: nn.Module) -> torch.device:
    """Return the device of the model's first parameter or buffer (the CPU if it has none)."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")
