"""What a forward pass costs, counted and not guessed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ticketdiet.training.evaluation import device_of, evaluating

BACKWARD_OVER_FORWARD = 2


def forward_flops(model: nn.Module, shape: Sequence[int]) -> int:
    """Count the floating-point operations of one example's forward pass, a multiply-add as two.

    Args:
        model: The network, on any device.
        shape: Shape of one example, without the batch.

    Returns:
        Operations of Conv2d and Linear layers; others are not counted. A dense count: unstructured sparsity saves none
        of them on today's kernels.
    """
    counts: list[int] = []

    def count(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        weight = layer.weight
        assert isinstance(weight, Tensor)
        positions = output.numel() // weight.shape[0]
        counts.append(2 * weight.numel() * positions)

    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        with evaluating(model), torch.no_grad():
            model(torch.zeros(1, *shape, device=device_of(model)))
    finally:
        for hook in hooks:
            hook.remove()
    return sum(counts)


def training_flops(forward: int, examples: int) -> int:
    """Operations of training on ``examples``: forward, and twice that backward."""
    return forward * (1 + BACKWARD_OVER_FORWARD) * examples
