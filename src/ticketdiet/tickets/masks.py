"""Masks: which weights are kept. A plain mapping of prunable names to uint8 tensors of 0 (removed) and 1 (kept)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from ticketdiet.core.errors import UserError
from ticketdiet.core.values import Mask, Weights


def prunable_names(model: nn.Module, ignore: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the names of the prunable tensors: ``.weight`` of every Conv2d and Linear, first and last layer included.

    Never BatchNorm or biases. A tensor shared by two layers counts once, under its first name.

    Args:
        model: The network.
        ignore: Names among them to leave dense, for example ``["fc.weight"]``.

    Raises:
        UserError: When a name to ignore matches no prunable tensor, or nothing is left to prune.
    """
    owned = dict(model.named_parameters())
    kinds = (nn.Conv2d, nn.Linear)
    layers = [name for name, module in model.named_modules() if isinstance(module, kinds)]
    names = [f"{name}.weight".lstrip(".") for name in layers]
    names = [name for name in names if name in owned]
    ignored = set(ignore)
    for name in sorted(ignored - set(names)):
        raise UserError(
            f"The weights {name!r} cannot be ignored, because no prunable tensor has that name.",
            expected=f"names among: {', '.join(names)}",
            way_out="correct pruning.ignore",
        )
    kept = tuple(name for name in names if name not in ignored)
    if not kept:
        raise UserError(
            "The network has nothing to prune.",
            expected="at least one Conv2d or Linear layer that is not ignored",
            way_out="use another model, or a shorter pruning.ignore",
        )
    return kept


def dense_mask(model: nn.Module, ignore: Iterable[str] = ()) -> dict[str, Tensor]:
    """Return the mask that keeps everything prunable, on the CPU."""
    weights = dict(model.named_parameters())
    return {name: torch.ones(weights[name].shape, dtype=torch.uint8) for name in prunable_names(model, ignore)}


def count_kept(mask: Mask) -> int:
    """Number of weights kept."""
    return sum(int(kept.count_nonzero()) for kept in mask.values())


def density(mask: Mask) -> float:
    """Fraction of prunable weights kept, in [0, 1]."""
    return count_kept(mask) / max(1, sum(kept.numel() for kept in mask.values()))


def layer_densities(mask: Mask) -> dict[str, float]:
    """Density of each layer by name."""
    return {name: int(kept.count_nonzero()) / max(1, kept.numel()) for name, kept in mask.items()}


def empty_layers(mask: Mask) -> tuple[str, ...]:
    """Names of the layers with no weight kept: through them the network computes nothing but biases."""
    return tuple(name for name, kept in layer_densities(mask).items() if kept == 0)


def apply_mask(weights: Weights, mask: Mask) -> dict[str, Tensor]:
    """Return a copy of ``weights`` with the removed ones at exactly 0."""
    masked = {name: value.clone() for name, value in weights.items()}
    for name, kept in mask.items():
        masked[name].masked_fill_(kept.to(masked[name].device) == 0, 0)
    return masked


def check_mask(weights: Mapping[str, Tensor], mask: Mask) -> None:
    """Refuse a mask that does not fit the weights or holds anything but 0 and 1.

    Raises:
        UserError: Naming the first tensor that is wrong.
    """
    for name, kept in mask.items():
        if name not in weights:
            raise UserError(
                f"The mask {name!r} matches no weight.",
                expected=f"names among: {', '.join(weights)}",
                way_out="make the mask from these weights, for example with dense_mask(model)",
            )
        if weights[name].shape != kept.shape:
            raise UserError(
                f"The mask {name!r} has shape {tuple(kept.shape)}, but its weight has {tuple(weights[name].shape)}.",
                expected="equal shapes",
                way_out="make the mask from these weights",
            )
        if not bool(((kept == 0) | (kept == 1)).all()):
            raise UserError(
                f"The mask {name!r} contains other values than 0 and 1.",
                expected="a mask of 0 (removed) and 1 (kept)",
                way_out="compare it with a threshold",
            )
