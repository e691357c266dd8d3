"""One forward pass over un-augmented images: logits, and the features before the last linear layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ticketdiet.core.errors import DataError
from ticketdiet.core.values import Images
from ticketdiet.scores.base import ScoreOptions
from ticketdiet.training.batch_norm import recalibrated
from ticketdiet.training.distributed import present_ranks
from ticketdiet.training.evaluation import autocast, device_of, evaluating, prepared_chunks


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a network gives, in the order of the images, on the CPU.

    Attributes:
        logits: float32 (n, classes).
        features: float32 (n, features): inputs of the last linear layer; (n, 0) unless asked for.
    """

    logits: Tensor
    features: Tensor


def run_forward(model: nn.Module, images: Images, options: ScoreOptions, *, with_features: bool = False) -> Outputs:
    """Run ``model`` over ``images``; its mode and buffers are left as they were.

    Args:
        model: A classifier.
        images: What to run over, un-augmented.
        options: Batch size, precision and BatchNorm mode, by default ``"recalibrate"``. ``"lth_diet"`` sorts the images
            by class and lets BatchNorm normalise each such batch by itself, so that batches are of one class and the
            numbers depend on batch size.
        with_features: Keep the inputs of the last linear layer too.

    Returns:
        Logits, and features if asked for.

    Raises:
        DataError: When features are asked of a network whose logits do not come from a linear layer.
    """
    if options.batch_norm != "lth_diet":
        with statistics(model, images, options), evaluating(model):
            return _run(model, images, options, with_features)
    order = torch.sort(images.labels.cpu(), stable=True).indices
    back = torch.argsort(order)
    with evaluating(model), _batch_norm_training(model):
        sorted_ = _run(model, images.take(order), options, with_features)
    return Outputs(sorted_.logits[back], sorted_.features[back])


def statistics(model: nn.Module, images: Images, options: ScoreOptions) -> AbstractContextManager[object]:
    """Return the context in which BatchNorm has the running statistics of the mode, and its own again after it.

    Args:
        model: A classifier; without BatchNorm nothing happens.
        images: What is scored, and what the statistics are measured on.
        options: Precision and BatchNorm mode: ``"eval"`` keeps the statistics that training left.

    Returns:
        The context; the statistics are measured when it is entered.
    """
    return (
        nullcontext()
        if options.batch_norm == "eval"
        else recalibrated(model, images, precision=options.precision, sparse_kernels="off")
    )


def _run(model: nn.Module, images: Images, options: ScoreOptions, with_features: bool) -> Outputs:
    device, ranks = device_of(model), present_ranks()
    logits, features = [], []
    with torch.no_grad(), autocast(device, options.precision), watch_last_linear(model) as seen:
        for inputs, _ in prepared_chunks(images, options.batch_size, device, ranks=ranks):
            output = model(inputs)
            logits.append(output.float().cpu())
            features.append(features_of(seen, output).cpu() if with_features else torch.empty(len(inputs), 0))
            seen.clear()
    return Outputs(ranks.collect(logits), ranks.collect(features))


@contextmanager
def watch_last_linear(model: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Collect (input, output) of the last linear layer at each forward pass; the caller empties the list.

    Args:
        model: Any module; without a linear layer the list stays empty.

    Yields:
        The list.
    """
    seen: list[tuple[Tensor, Tensor]] = []
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not layers:
        yield seen
        return

    def keep(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append((inputs[0], output))

    handle = layers[-1].register_forward_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


def features_of(seen: list[tuple[Tensor, Tensor]], output: Tensor) -> Tensor:
    """Return float32 (batch, features): the input of the linear layer that made ``output``.

    Args:
        seen: What ``watch_last_linear`` collected in one forward pass.
        output: Logits of that pass, (batch, classes).

    Returns:
        The input of the layer, detached.

    Raises:
        DataError: When no linear layer made it.
    """
    if len(seen) != 1 or seen[0][1].shape != output.shape or seen[0][0].dim() != 2:
        raise DataError(
            "The logits of the network do not come from its last linear layer.",
            expected="an nn.Linear, called once, as the last layer",
            way_out="choose a score that needs no features, such as el2n or grand",
        )
    return seen[0][0].detach().float()


@contextmanager
def _batch_norm_training(model: nn.Module) -> Iterator[None]:
    layers = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    kept = [(buffer, buffer.clone()) for layer in layers for buffer in layer.buffers()]
    for layer in layers:
        layer.train()
    try:
        yield
    finally:
        for buffer, value in kept:
            buffer.copy_(value)
