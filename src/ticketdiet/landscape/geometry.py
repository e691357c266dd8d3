"""Cheap geometry of saved weights: distances, angles, signs, and how much two masks have in common."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ticketdiet.core.errors import UserError
from ticketdiet.core.values import Mask, Weights
from ticketdiet.landscape.interpolation import check_same_shapes

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Distance:
    """How far b is from a.

    Attributes:
        l2: Euclidean distance.
        relative: ``l2`` over the norm of a; NaN when a is zero.
        cosine: Cosine between a and b as vectors from 0; NaN when either is zero.
    """

    l2: float
    relative: float
    cosine: float


@dataclass(frozen=True, eq=False)
class SignChanges:
    """Fraction of weights whose sign differs; a zero has no sign and counts as unchanged.

    Attributes:
        fraction: Over all weights that were compared, in [0, 1]; NaN when there are none.
        by_tensor: Likewise of each tensor.
    """

    fraction: float
    by_tensor: Mapping[str, float]


@dataclass(frozen=True)
class Overlap:
    """What two masks have in common; NaN where a mask keeps nothing.

    Attributes:
        jaccard: Weights that both keep over weights that either keeps.
        fraction: Weights that both keep over those that the sparser keeps.
        fraction_by_chance_layerwise: Mean of ``fraction`` when the weights of one mask are drawn at random within each
            layer, as many as it keeps there: the overlap that layer densities alone give. It is the baseline to compare
            with.
        fraction_by_chance_uniform: Mean of ``fraction`` when the weights of the denser mask are drawn at random over
            all layers together: its density. Any two masks with uneven layers overlap more.
        kept_a: Weights that a keeps.
        kept_b: Weights that b keeps.
    """

    jaccard: float
    fraction: float
    fraction_by_chance_layerwise: float
    fraction_by_chance_uniform: float
    kept_a: int
    kept_b: int


@dataclass(frozen=True, eq=False)
class MaskOverlap:
    """Overlap of two masks.

    Attributes:
        overall: Over all tensors together.
        by_tensor: Of each tensor; within one both expectations by chance are the density of the denser mask there.
    """

    overall: Overlap
    by_tensor: Mapping[str, Overlap]


def distance(a: Weights, b: Weights, *, names: Sequence[str] | None = None, mask: Mask | None = None) -> Distance:
    """Measure the distance between two networks.

    Args:
        a: Weights, for example at initialisation.
        b: Weights of the same shape.
        names: Tensors to compare; by default all floating-point ones but BatchNorm's running statistics.
        mask: Only weights that it keeps; tensors without an entry count whole. None for all.

    Returns:
        Euclidean and relative distance, and the cosine.

    Raises:
        UserError: Naming the first tensor that differs in shape, or that a name does not match.
    """
    x, y = (torch.cat(list(parts.values())) for parts in _compared((a, b), names, mask))
    l2, norm_a, norm_b = (float(v.norm()) for v in (y - x, x, y))
    cosine = float(x @ y) / (norm_a * norm_b) if norm_a and norm_b else math.nan
    return Distance(
        l2, l2 / norm_a if norm_a else math.nan, max(-1.0, min(1.0, cosine)) if cosine == cosine else cosine
    )


def angle_between(
    origin: Weights, a: Weights, b: Weights, *, names: Sequence[str] | None = None, mask: Mask | None = None
) -> float:
    """Return the angle in degrees, in [0, 180], between the ways from ``origin`` to ``a`` and to ``b``.

    Args:
        origin: Weights, for example at the rewinding point.
        a: Weights of one child.
        b: Weights of another.
        names: As in :func:`distance`.
        mask: As in :func:`distance`.

    Returns:
        The angle; NaN when a or b is where the origin is.

    Raises:
        UserError: As :func:`distance`.
    """
    start, x, y = (torch.cat(list(parts.values())) for parts in _compared((origin, a, b), names, mask))
    u, v = x - start, y - start
    if not (u.any() and v.any()):
        return math.nan
    u, v = u / u.norm(), v / v.norm()
    # Kahan's form keeps its precision for nearly parallel vectors, where the arc cosine loses half the digits.
    return math.degrees(2 * math.atan2(float((u - v).norm()), float((u + v).norm())))


def sign_changes(
    a: Weights, b: Weights, *, names: Sequence[str] | None = None, mask: Mask | None = None
) -> SignChanges:
    """Return the fraction of weights that are positive in one network and negative in the other.

    Args:
        a: Weights, for example at initialisation.
        b: Weights of the same shape.
        names: As in :func:`distance`.
        mask: As in :func:`distance`.

    Returns:
        The fraction over all compared weights, and of each tensor.

    Raises:
        UserError: As :func:`distance`.
    """
    x, y = _compared((a, b), names, mask)
    changed = {name: torch.sign(x[name]) * torch.sign(y[name]) < 0 for name in x}
    total = sum(flags.numel() for flags in changed.values())
    by_tensor = {name: _ratio(int(flags.sum()), flags.numel()) for name, flags in changed.items()}
    return SignChanges(_ratio(sum(int(flags.sum()) for flags in changed.values()), total), by_tensor)


def mask_overlap(a: Mask, b: Mask) -> MaskOverlap:
    """Compare two masks, for example of two replicates or arms.

    Args:
        a: Prunable names to tensors of 0 and 1.
        b: Likewise, with the same names and shapes.

    Returns:
        The overlap over all tensors together, and of each.

    Raises:
        UserError: Naming the first tensor that differs.
    """
    check_same_shapes(a, b, ("mask a", "mask b"))
    counts = {name: _count(kept != 0, b[name] != 0) for name, kept in a.items()}
    return MaskOverlap(_overlap(list(counts.values())), {name: _overlap([each]) for name, each in counts.items()})


@dataclass(frozen=True)
class _Count:
    """Of one tensor: weights kept by a, by b and by both, and how many there are."""

    a: int
    b: int
    both: int
    total: int


def _count(a: Tensor, b: Tensor) -> _Count:
    return _Count(int(a.sum()), int(b.sum()), int((a & b.to(a.device)).sum()), a.numel())


def _overlap(layers: Sequence[_Count]) -> Overlap:
    kept_a, kept_b, both = (sum(getattr(layer, name) for layer in layers) for name in ("a", "b", "both"))
    # In a layer of n weights the number that both keep is hypergeometric, with mean a * b / n.
    expected = math.fsum(layer.a * layer.b / layer.total for layer in layers if layer.total)
    return Overlap(
        jaccard=_ratio(both, kept_a + kept_b - both),
        fraction=_ratio(both, min(kept_a, kept_b)),
        fraction_by_chance_layerwise=_ratio(expected, min(kept_a, kept_b)),
        fraction_by_chance_uniform=_ratio(max(kept_a, kept_b), sum(layer.total for layer in layers)),
        kept_a=kept_a,
        kept_b=kept_b,
    )


def _ratio(part: float, whole: int) -> float:
    return part / whole if whole else math.nan


def _compared(
    networks: Sequence[Weights], names: Sequence[str] | None, mask: Mask | None
) -> Iterable[dict[str, Tensor]]:
    """Return the compared weights of each network, flat, in float64 on the CPU."""
    first = networks[0]
    for other in networks[1:]:
        check_same_shapes(first, other)
    if names is None:
        names = [n for n, t in first.items() if t.is_floating_point() and not n.endswith(_STATISTICS)]
    for name in (*names, *(mask or {})):
        if name not in first:
            raise UserError(
                f"There is no tensor {name!r}.", expected="names of the network's tensors", way_out="see weights.keys()"
            )
    kept = {name: where.cpu().flatten() != 0 for name, where in (mask or {}).items()}
    return [{name: _flat(network[name], kept.get(name)) for name in names} for network in networks]


def _flat(tensor: Tensor, kept: Tensor | None) -> Tensor:
    flat = tensor.detach().double().cpu().flatten()
    return flat if kept is None else flat[kept]
