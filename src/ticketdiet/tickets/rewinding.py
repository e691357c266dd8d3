"""Rewinding: weights and BatchNorm buffers go back to the rewinding point, under a mask, without optimiser state."""

from __future__ import annotations

from torch import nn

from ticketdiet.core.errors import UserError
from ticketdiet.core.values import Mask, Weights
from ticketdiet.tickets.masks import apply_mask, check_mask


def rewind(model: nn.Module, weights: Weights, mask: Mask | None = None) -> nn.Module:
    """Load the rewinding point into ``model``, with the removed weights at exactly 0.

    Args:
        model: The network; changed in place.
        weights: The ``state_dict`` at the rewinding point, buffers included.
        mask: Name -> tensor of 0 and 1, or None for the dense network.

    Returns:
        ``model``, for chaining.

    Raises:
        UserError: Naming the first tensor that is missing, superfluous or of another shape.
    """
    _check_same_network(model, weights)
    if mask is not None:
        check_mask(weights, mask)
        weights = apply_mask(weights, mask)
    model.load_state_dict(dict(weights))
    return model


def _check_same_network(model: nn.Module, weights: Weights) -> None:
    own = model.state_dict()
    for name in (*own, *weights):
        here = tuple(own[name].shape) if name in own else "nothing"
        there = tuple(weights[name].shape) if name in weights else "nothing"
        if here != there:
            raise UserError(
                f"The tensor {name!r} is {here} in the network and {there} in the weights.",
                expected="weights of this architecture",
                way_out="build the model with the name, width and classes the weights were trained with",
            )
