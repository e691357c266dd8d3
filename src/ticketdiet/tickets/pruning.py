"""Global magnitude pruning: remove a fraction of the weights still kept, the smallest in magnitude, over all layers.

Two rules. ``exact`` removes exactly n = ceil(fraction * kept) weights; ties are broken by name and position.
``threshold`` is the published rule (the paper's code, after open_lth): the threshold is the n-th smallest magnitude
counting from 0, and only what lies strictly above is kept, so that n + 1 weights go, and every tie at the threshold.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ticketdiet.core.errors import UnknownName, UserError
from ticketdiet.core.values import Mask, Weights
from ticketdiet.tickets.masks import check_mask

Rule = Literal["exact", "threshold"]
RULES = ("exact", "threshold")


def prune(weights: Weights, mask: Mask | None = None, fraction: float = 0.2, rule: Rule = "exact") -> dict[str, Tensor]:
    """Remove ``fraction`` of the kept weights, smallest magnitude first, globally.

    Args:
        weights: Name -> trained tensor; may hold more than the mask names.
        mask: Name -> tensor of 0 and 1, or None to start dense on every ``.weight`` of two or more dimensions.
        fraction: Share of the kept weights to remove, in (0, 1).
        rule: ``"exact"`` or ``"threshold"``.

    Returns:
        The new mask: nested in the old one, same names, shapes and dtypes (uint8 if there was none).

    Raises:
        UserError: For a fraction outside (0, 1), a mask that does not fit, nothing to prune, or weights not finite.
        UnknownName: For another rule.
    """
    check_pruning(fraction, rule)
    mask = _dense_over(weights) if mask is None else mask
    check_mask(weights, mask)
    names = sorted(mask)  # not the mapping's order: files reorder names, and ties must not care
    magnitudes = (
        torch.cat([_magnitudes(name, weights[name], mask[name]) for name in names]) if names else torch.empty(0)
    )
    keep = _exact(magnitudes, fraction) if rule == "exact" else _threshold(magnitudes, fraction)
    return _spread(keep, names, mask)


def check_pruning(fraction: float, rule: str) -> None:
    """Refuse what ``prune`` would refuse, before a long training.

    Raises:
        UserError: For a fraction outside (0, 1).
        UnknownName: For another rule.
    """
    if rule not in RULES:
        raise UnknownName.of("pruning rule", rule, RULES)
    if not 0 < fraction < 1:
        raise UserError(
            f"pruning fraction {fraction}.", expected="a number strictly between 0 and 1", way_out="0.2, say"
        )


def _dense_over(weights: Weights) -> dict[str, Tensor]:
    names = [name for name, value in weights.items() if name.endswith("weight") and value.dim() >= 2]
    if not names:
        raise UserError(
            f"no prunable weight among: {', '.join(weights)}.",
            expected="a name that ends in 'weight', of two or more dimensions",
            way_out="say what is prunable by a mask of ones",
        )
    return {name: torch.ones(weights[name].shape, dtype=torch.uint8) for name in names}


def _magnitudes(name: str, weight: Tensor, kept: Tensor) -> Tensor:
    magnitudes = weight.detach().cpu().abs()[kept.cpu() != 0]
    if not bool(torch.isfinite(magnitudes).all()):
        raise UserError(
            f"weights {name!r} are not all finite.",
            expected="finite weights: NaN has no magnitude",
            way_out="prune weights of a training that did not diverge",
        )
    return magnitudes.to(torch.promote_types(magnitudes.dtype, torch.float32))


def _exact(magnitudes: Tensor, fraction: float) -> Tensor:
    keep = torch.ones(len(magnitudes), dtype=torch.bool)
    keep[magnitudes.argsort(stable=True)[: math.ceil(fraction * len(magnitudes))]] = False
    return keep


def _threshold(magnitudes: Tensor, fraction: float) -> Tensor:
    place = min(math.ceil(fraction * len(magnitudes)), len(magnitudes) - 1)
    return magnitudes > magnitudes.sort().values[place] if len(magnitudes) else magnitudes > 0


def _spread(keep: Tensor, names: list[str], mask: Mask) -> dict[str, Tensor]:
    """Put the decisions over the kept weights, in the order of ``names``, back into masks."""
    pruned, start = {}, 0
    for name in names:
        old = mask[name]
        where = old.cpu() != 0
        count = int(where.count_nonzero())
        new = torch.zeros(old.shape, dtype=old.dtype)
        new[where] = keep[start : start + count].to(old.dtype)
        pruned[name], start = new.to(old.device), start + count
    return {name: pruned[name] for name in mask}
