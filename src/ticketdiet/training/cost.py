"""What a forward pass costs, counted and not guessed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ticketdiet.training.evaluation import evaluating

BACKWARD_OVER_FORWARD = 2


def forward_flops(model: nn.Module, shape: Sequence[int]) -> int:
    """Count the floating-point operations of one example's forward pass, a multiply-add as two.

    Args:
        model: The network, on any device.
        shape: Shape of one example, without the batch.

    Returns:
        Operations of convolutions and matrix products; elementwise ones are not counted. A dense count: unstructured
        sparsity saves none of them on today's kernels.
    """
    parameter = next(model.parameters(), torch.empty(0))
    with evaluating(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, *shape, device=parameter.device))
    return int(counter.get_total_flops())


def training_flops(forward: int, examples: int) -> int:
    """Operations of training on ``examples``: forward, and twice that backward."""
    return forward * (1 + BACKWARD_OVER_FORWARD) * examples
