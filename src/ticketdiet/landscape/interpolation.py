"""Writes points of the straight line between two networks into one module, in place.

Weights and BatchNorm buffers are mixed alike, as in Paul et al. (arXiv 2206.01278, section 4); the module is never
rebuilt.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ticketdiet.core.errors import UserError
from ticketdiet.core.values import Mask, Weights


class Interpolation:
    """Writes ``(1 - alpha) * a + alpha * b`` into the tensors of a module.

    At alpha 0 and 1 the tensors are bit-exact copies of ``a`` and ``b``. In between, tensors of integers (BatchNorm's
    ``num_batches_tracked``) come from ``a``, and exchanging ``a`` and ``b`` at alpha 1/2 changes no bit.

    Args:
        model: The module to write into; its parameters and buffers keep their storage.
        weights_a: ``state_dict`` names to tensors, on any device.
        weights_b: Likewise.
        mask: Names to tensors of 0 and 1 that apply in between (not at the ends), or None.

    Raises:
        UserError: Naming the first tensor that is missing, has another shape, or is not finite.
    """

    def __init__(self, model: nn.Module, weights_a: Weights, weights_b: Weights, *, mask: Mask | None = None) -> None:
        self._targets: dict[str, Tensor] = model.state_dict()
        check_weights(self._targets, weights_a, "a")
        check_weights(self._targets, weights_b, "b")
        self._a = {name: tensor.to(self._targets[name].device) for name, tensor in weights_a.items()}
        self._b = {name: tensor.to(self._targets[name].device) for name, tensor in weights_b.items()}
        mask = mask or {}
        check_mask_fits(self._targets, mask)
        self._mask = {n: kept.to(self._targets[n].device, self._targets[n].dtype) for n, kept in mask.items()}

    @torch.no_grad()
    def write(self, alpha: float) -> None:
        """Write the point at ``alpha`` in [0, 1]: 0 is ``a``, 1 is ``b``."""
        assert 0.0 <= alpha <= 1.0
        for name, target in self._targets.items():
            a, b = self._a[name], self._b[name]
            if alpha == 1.0:
                target.copy_(b)
                continue
            target.copy_(a)
            if alpha > 0.0 and target.is_floating_point():
                # Not lerp, which rounds differently when a and b are exchanged.
                target.mul_(1.0 - alpha).add_(b.to(target.dtype), alpha=alpha)
                if name in self._mask:
                    target.mul_(self._mask[name])


def midpoint_mask(mask_a: Mask | None, mask_b: Mask | None) -> Mask | None:
    """Return the mask that applies between two masked networks: the denser one.

    None is a dense network. Two different masks of equal density have no denser one; between them every weight
    that either keeps is kept, so that the answer does not depend on which is called ``a``.

    Args:
        mask_a: Mask of network a, or None when it is dense.
        mask_b: Mask of network b, likewise.

    Returns:
        One of the two, a union of both, or None for a dense network.

    Raises:
        UserError: When the masks differ in names or shapes; the first difference is named.
    """
    if mask_a is None or mask_b is None:
        return None
    check_same_shapes(mask_a, mask_b, ("mask a", "mask b"))
    kept_a, kept_b = (sum(int(kept.count_nonzero()) for kept in mask.values()) for mask in (mask_a, mask_b))
    if kept_a == kept_b:
        return {name: ((kept != 0) | (mask_b[name] != 0)).to(torch.uint8) for name, kept in mask_a.items()}
    return mask_a if kept_a > kept_b else mask_b


def check_same_shapes(
    ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], who: tuple[str, str] = ("a", "b")
) -> None:
    """Refuse mappings of tensors that differ in names or shapes.

    Args:
        ours: Tensors by name, in the order in which differences are looked for.
        theirs: Tensors by name.
        who: What to call the two in the message.

    Raises:
        UserError: Naming the first tensor that differs.
    """
    for name in (*ours, *theirs):
        first, second = (f"{tuple(side[name].shape)}" if name in side else "missing" for side in (ours, theirs))
        if first != second:
            raise UserError(
                f"The tensor {name!r} is {first} in {who[0]} and {second} in {who[1]}.",
                expected="two networks of the same shape",
                way_out="build both with the same model name, width, classes and image size",
            )


def check_weights(network: Mapping[str, Tensor], weights: Weights, who: str) -> None:
    """Refuse weights that do not fit a network, or are not all finite.

    Args:
        network: The network's ``state_dict``.
        weights: What shall be written into it.
        who: What to call the weights in the message.

    Raises:
        UserError: Naming the first tensor that is missing, has another shape, or holds NaN or infinite values.
    """
    check_same_shapes(network, weights, ("the network", who))
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            bad = int((~torch.isfinite(tensor)).sum())
            raise UserError(
                f"{bad} of the {tensor.numel()} values of the tensor {name!r} of {who} are NaN or infinite.",
                expected="finite weights",
                way_out="its training has diverged, so lower the learning rate and train again",
            )


def check_mask_fits(tensors: Mapping[str, Tensor], mask: Mask) -> None:
    """Refuse a mask that has entries for other tensors, or of other shapes.

    Args:
        tensors: Tensors of a network, by name.
        mask: Names to tensors of 0 and 1; not all of ``tensors`` need an entry.

    Raises:
        UserError: Naming the first entry that does not fit.
    """
    for name, kept in mask.items():
        if name not in tensors or tensors[name].shape != kept.shape:
            has = f"of shape {tuple(tensors[name].shape)}" if name in tensors else "missing"
            raise UserError(
                f"The mask of {name!r} has shape {tuple(kept.shape)}, and in the network this tensor is {has}.",
                expected="a mask of this network",
                way_out="give the mask that was found with these weights",
            )
