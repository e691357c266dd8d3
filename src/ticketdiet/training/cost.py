"""What training a network costs in arithmetic, counted and not guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ticketdiet.training.evaluation import device_of, evaluating

BACKWARD_OVER_FORWARD = 2


def layer_flops(model: nn.Module, shape: Sequence[int]) -> dict[str, int]:
    """Count the floating-point operations of one example's forward pass by layer, a multiply-add as two.

    Args:
        model: The network, on any device.
        shape: Shape of one example, without the batch.

    Returns:
        Name of the weight, as masks have it -> dense operations of the Conv2d and Linear layers that use it; other
        layers and biases are not counted. A layer that the forward pass does not use has none.
    """
    names = {id(weight): name for name, weight in model.named_parameters()}
    layers: dict[nn.Module, str] = {
        layer: names.get(id(layer.weight), f"{name}.weight".lstrip("."))
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    }
    counts = dict.fromkeys(layers.values(), 0)

    def count(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        weight = layer.weight
        assert isinstance(weight, Tensor)
        positions = output.numel() // weight.shape[0]
        counts[layers[layer]] += 2 * weight.numel() * positions

    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        with evaluating(model), torch.no_grad():
            model(torch.zeros(1, *shape, device=device_of(model)))
    finally:
        for hook in hooks:
            hook.remove()
    return counts


def forward_flops(model: nn.Module, shape: Sequence[int]) -> int:
    """Count the floating-point operations of one example's forward pass, a multiply-add as two.

    Args:
        model: The network, on any device.
        shape: Shape of one example, without the batch.

    Returns:
        Dense operations of Conv2d and Linear layers; others are not counted.
    """
    return sum(layer_flops(model, shape).values())


def kept_flops(layers: Mapping[str, int], densities: Mapping[str, float]) -> int:
    """Count the operations of one example's forward pass that a mask leaves.

    Args:
        layers: Dense operations by weight, as :func:`layer_flops` returns them.
        densities: Density by weight, in [0, 1]; a weight that is not named is dense.

    Returns:
        Operations on kept weights: each kept weight takes a multiply-add at every position of its layer's output.
    """
    return round(sum(flops * densities.get(name, 1.0) for name, flops in layers.items()))


def training_flops(forward: int, examples: int) -> int:
    """Operations of training on ``examples``: forward, and twice that backward."""
    return forward * (1 + BACKWARD_OVER_FORWARD) * examples
