"""Global magnitude pruning: remove a fraction of the weights still kept, the smallest in magnitude, over all layers.

``prune`` is the plain function; :mod:`ticketdiet.tickets.pruning_criteria` ranks by something else than magnitude and
uses the same cuts.

Two rules. ``exact`` removes exactly n = ceil(fraction * kept) weights; ties are broken by name and position.
``threshold`` is the published rule (the paper's code, after open_lth): the threshold is the n-th smallest magnitude
counting from 0, and only what lies strictly above is kept, so that n + 1 weights go, and every tie at the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from ticketdiet.core.errors import UserError, check_known
from ticketdiet.core.values import Mask, Weights
from ticketdiet.tickets.cutting import apportion
from ticketdiet.tickets.masks import check_mask

Rule = Literal["exact", "threshold"]
RULES = ("exact", "threshold")


def prune(weights: Weights, mask: Mask | None = None, fraction: float = 0.2, rule: Rule = "exact") -> dict[str, Tensor]:
    """Remove ``fraction`` of the kept weights, smallest magnitude first, globally.

    Args:
        weights: Name -> trained tensor; may hold more than the mask names.
        mask: Name -> tensor of 0 and 1, or None to start dense on every ``.weight`` of two or more dimensions.
        fraction: Fraction of the kept weights to remove, in (0, 1).
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
    return global_cut({name: weights[name].detach().cpu().abs() for name in mask}, mask, fraction, rule)


def global_cut(scores: Mapping[str, Tensor], mask: Mask, fraction: float, rule: Rule = "exact") -> dict[str, Tensor]:
    """Remove ``fraction`` of the kept weights, lowest score first, in one cut over all layers.

    Args:
        scores: Name of every masked tensor -> scores of its shape, high means keep; those of removed weights are not
            looked at.
        mask: Name -> tensor of 0 and 1, what is kept so far.
        fraction: Fraction of the kept weights to remove, in (0, 1).
        rule: ``"exact"`` or ``"threshold"``.

    Returns:
        The new mask: nested in the old one, same names, shapes, dtypes and devices.

    Raises:
        UserError: For scores of kept weights that are not finite.
    """
    names = sorted(mask)  # not the mapping's order: files reorder names, and ties must not care
    kept = torch.cat([_kept(name, scores[name], mask[name]) for name in names]) if names else torch.empty(0)
    keep = _exact(kept, math.ceil(fraction * len(kept))) if rule == "exact" else _threshold(kept, fraction)
    return _spread(keep, names, mask)


def layerwise_cut(scores: Mapping[str, Tensor], mask: Mask, fraction: float, rule: Rule = "exact") -> dict[str, Tensor]:
    """Remove ``fraction`` of the kept weights of every layer, lowest score first.

    Under ``"exact"`` the total is that of ``global_cut``, ``ceil(fraction * kept)``, and every layer is within one
    weight of its fraction. Under ``"threshold"`` every layer has a threshold of its own.

    Args:
        scores: As for ``global_cut``.
        mask: As for ``global_cut``.
        fraction: Fraction of the kept weights to remove, in (0, 1).
        rule: ``"exact"`` or ``"threshold"``.

    Returns:
        The new mask, as of ``global_cut``.

    Raises:
        UserError: For scores of kept weights that are not finite.
    """
    if rule == "threshold":
        return {name: global_cut(scores, {name: mask[name]}, fraction, rule)[name] for name in mask}
    sizes = {name: int(kept.count_nonzero()) for name, kept in mask.items()}
    quotas = {name: fraction * size for name, size in sizes.items()}
    counts = apportion(quotas, sizes, math.ceil(fraction * sum(sizes.values())))
    return {
        name: _spread(_exact(_kept(name, scores[name], kept), counts[name]), [name], {name: kept})[name]
        for name, kept in mask.items()
    }


def check_pruning(fraction: float, rule: str) -> None:
    """Refuse what ``prune`` would refuse, before a long training.

    Raises:
        UserError: For a fraction outside (0, 1).
        UnknownName: For another rule.
    """
    check_known("pruning rule", rule, RULES)
    if not 0 < fraction < 1:
        raise UserError(
            f"Got fraction={fraction} to prune.",
            expected="a number strictly between 0 and 1",
            way_out="for example fraction=0.2",
        )


def _dense_over(weights: Weights) -> dict[str, Tensor]:
    names = [name for name, value in weights.items() if name.endswith("weight") and value.dim() >= 2]
    if not names:
        raise UserError(
            f"No weight is prunable among: {', '.join(weights)}.",
            expected="a name that ends in 'weight', of two or more dimensions",
            way_out="give a mask of ones over what is prunable",
        )
    return {name: torch.ones(weights[name].shape, dtype=torch.uint8) for name in names}


def _kept(name: str, scores: Tensor, kept: Tensor) -> Tensor:
    found = scores.detach().cpu()[kept.cpu() != 0]
    if not bool(torch.isfinite(found).all()):
        raise UserError(
            f"The scores of the weights {name!r} are not all finite.",
            expected="finite scores, because NaN has no rank",
            way_out="prune weights of a training that did not diverge",
        )
    return found.to(torch.promote_types(found.dtype, torch.float32))


def _exact(scores: Tensor, count: int) -> Tensor:
    keep = torch.ones(len(scores), dtype=torch.bool)
    keep[scores.argsort(stable=True)[:count]] = False
    return keep


def _threshold(scores: Tensor, fraction: float) -> Tensor:
    place = min(math.ceil(fraction * len(scores)), len(scores) - 1)
    return scores > scores.sort().values[place] if len(scores) else scores > 0


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
