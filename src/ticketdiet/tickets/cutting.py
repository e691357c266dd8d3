"""From one score per weight to a mask of exactly the wanted size: the cut that every criterion shares.

Counts are exact and ties are broken by name and position, so that a mask is a pure function of the scores: what comes
first in the order of sorted names is removed first, as in :func:`ticketdiet.tickets.pruning.prune`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ticketdiet.core.errors import UserError, check_known

Scope = Literal["global", "layer"]


def mask_from_scores(scores: Mapping[str, Tensor], density: float, *, scope: Scope = "global") -> dict[str, Tensor]:
    """Keep the weights of the highest scores: exactly ``round(density * weights)``, halves to even.

    The density of an IMP level, ``density(mask)``, gives back exactly that level's number of weights.

    Args:
        scores: Prunable name -> finite tensor of the shape of its weight; high means keep.
        density: Fraction of all weights to keep, in (0, 1].
        scope: ``"global"``: one cut over all layers. ``"layer"``: every layer keeps the same fraction, within one
            weight of it, and the total is exact all the same.

    Returns:
        Name -> uint8 tensor of 0 and 1 on the CPU, in the order of ``scores``.

    Raises:
        UserError: For a density outside (0, 1] or so small that nothing is kept, or scores that are not finite.
        UnknownName: For another scope.
    """
    check_known("scope", scope, get_args(Scope))
    sizes = {name: values.numel() for name, values in scores.items()}
    keep = kept_count(density, sum(sizes.values()))
    if scope == "layer":
        return mask_from_counts(scores, apportion({name: density * size for name, size in sizes.items()}, sizes, keep))
    names = sorted(scores)
    kept = _keep_highest(np.concatenate([_flat(name, scores[name]) for name in names]), keep)
    parts = dict(zip(names, np.split(kept, np.cumsum([sizes[name] for name in names])[:-1]), strict=True))
    return {name: _shaped(parts[name], scores[name]) for name in scores}


def mask_from_counts(scores: Mapping[str, Tensor], counts: Mapping[str, int]) -> dict[str, Tensor]:
    """Keep the ``counts[name]`` weights of the highest scores of each layer; see ``mask_from_scores``."""
    return {name: _shaped(_keep_highest(_flat(name, values), counts[name]), values) for name, values in scores.items()}


def kept_count(density: float, total: int) -> int:
    """Return how many of ``total`` weights a density keeps: ``round(density * total)``, halves to even.

    Raises:
        UserError: For a density outside (0, 1], or one that keeps nothing.
    """
    keep = round(density * total) if 0 < density <= 1 else 0
    if keep == 0:
        raise UserError(
            f"Got density={density} for {total} weights.",
            expected="a fraction in (0, 1] that keeps at least one weight",
            way_out="give the fraction to keep, not the fraction to remove; 0.1 keeps a tenth",
        )
    return keep


def apportion(quotas: Mapping[str, float], sizes: Mapping[str, int], total: int) -> dict[str, int]:
    """Round quotas to whole counts of a given sum: rounded down, then the largest remainders get one more.

    Args:
        quotas: Name -> wanted count, at least 0; they sum to about ``total``.
        sizes: Name -> the most it can hold.
        total: What the counts sum to exactly; at most the sum of the sizes.

    Returns:
        Name -> count, at most its size; ties of remainders go by name.
    """
    assert total <= sum(sizes.values())
    counts = {name: min(sizes[name], int(quota)) for name, quota in quotas.items()}
    by_remainder = sorted(quotas, key=lambda name: (counts[name] - quotas[name], name))
    while (left := total - sum(counts.values())) != 0:
        step = 1 if left > 0 else -1
        room = [name for name in by_remainder[::step] if 0 <= counts[name] + step <= sizes[name]]
        for name in room[: abs(left)]:
            counts[name] += step
    return counts


def _flat(name: str, scores: Tensor) -> np.ndarray:
    values: np.ndarray = scores.detach().to("cpu", torch.float64).flatten().numpy()
    if not np.isfinite(values).all():
        raise UserError(
            f"The scores of the weights {name!r} are not all finite.",
            expected="finite scores, because NaN has no rank",
            way_out="judge weights of a training that did not diverge",
        )
    return values


def _keep_highest(values: np.ndarray, keep: int) -> np.ndarray:
    """Return bool (n,), True for the ``keep`` highest; of those that tie at the cut, the last ones stay."""
    remove = len(values) - keep
    if remove == 0:
        return np.ones(len(values), dtype=bool)
    cut = np.partition(values, remove - 1)[remove - 1]
    gone = values < cut
    ties = np.flatnonzero(values == cut)
    gone[ties[: remove - int(np.count_nonzero(gone))]] = True
    kept: np.ndarray = ~gone
    return kept


def _shaped(kept: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(kept.astype(np.uint8)).reshape(like.shape)


def erk_counts(shapes: Mapping[str, Sequence[int]], density: float) -> dict[str, int]:
    """Return how many weights each layer keeps under the Erdos-Renyi-Kernel distribution.

    Evci et al. 2020 (arXiv 1911.11134), section 3: the density of a layer is proportional to the sum of its dimensions
    over their product, ``(n_in + n_out + width + height) / (n_in * n_out * width * height)``, and without the kernel
    for a linear layer, so that its *number* of weights is proportional to the sum. Layers that would hold more than
    all their weights are dense, and the factor is found again for the others. Small layers keep larger fractions.

    Args:
        shapes: Prunable name -> shape.
        density: Fraction of all weights to keep, in (0, 1].

    Returns:
        Name -> count; they sum to ``round(density * weights)``.

    Raises:
        UserError: For a density outside (0, 1], or one that keeps nothing.
    """
    sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
    total = sum(sizes.values())
    keep = kept_count(density, total)
    dense: set[str] = set()
    while True:
        sparse = {name: sum(shape) for name, shape in shapes.items() if name not in dense}
        left = keep - sum(sizes[name] for name in dense)
        factor = left / sum(sparse.values()) if sparse else 0.0
        full = {name for name, dimensions in sparse.items() if factor * dimensions > sizes[name]}
        if not full:
            break
        dense |= full
    quotas = {name: float(sizes[name]) if name in dense else factor * sparse[name] for name in shapes}
    return apportion(quotas, sizes, keep)
