"""N:M structure: of every M consecutive weights that an output reads, at most N are kept.

Accelerators compute such layers faster, for example 2:4 on NVIDIA's (Mishra et al. 2021, arXiv 2104.08378; training
under it: Zhou et al. 2021, arXiv 2102.04010). The weights of a group belong to one output and to M consecutive inputs:
input channels at one position of the kernel for a convolution. Where M does not divide the number of inputs, the last
group is smaller, and at most N of it are kept too.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ticketdiet.core.values import Mask


def beyond_n_of_m(magnitudes: Tensor, kept: Tensor, n: int, m: int) -> Tensor:
    """Return which kept weights are not among the N largest kept ones of their group.

    Args:
        magnitudes: Magnitudes of a layer's weights, (outputs, inputs) or (outputs, inputs, height, width).
        kept: The mask of that layer: 0 and 1 in the same shape.
        n: The most weights that a group may keep.
        m: Consecutive inputs of a group.

    Returns:
        bool in the same shape: True for the surplus. Of equal magnitudes the first ones are surplus, as in pruning.
    """
    groups = _in_groups(torch.where(kept != 0, magnitudes, -1.0), m)
    order = groups.argsort(dim=-1, stable=True)
    surplus = torch.zeros_like(groups, dtype=torch.bool).scatter_(-1, order[..., : m - n], True)
    return _out_of_groups(surplus, magnitudes.shape) & (kept != 0)


def is_n_of_m(mask: Mask, n: int = 2, m: int = 4) -> bool:
    """Whether a mask keeps at most ``n`` of every ``m`` consecutive weights, in every layer.

    Args:
        mask: Name -> tensor of 0 and 1; its layers are linear or convolutions.
        n: The most weights that a group may keep.
        m: Consecutive inputs of a group.

    Returns:
        True when no group keeps more.
    """
    return all(int(_in_groups((kept != 0).double(), m).clamp_min(0).sum(-1).max()) <= n for kept in mask.values())


def _in_groups(weight: Tensor, m: int) -> Tensor:
    """Bring the inputs to the end, in groups of ``m``: (outputs, ..., groups, m), filled up with -1."""
    last = weight.movedim(1, -1)
    filled = F.pad(last, (0, -last.shape[-1] % m), value=-1.0)
    return filled.reshape(*filled.shape[:-1], -1, m)


def _out_of_groups(groups: Tensor, shape: torch.Size) -> Tensor:
    return groups.flatten(-2)[..., : shape[1]].movedim(-1, 1)
