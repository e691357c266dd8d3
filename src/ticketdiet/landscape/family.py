"""The barrier of a rewinding point: over a parent and the children that differ from it in SGD noise only.

The paper's scalar (arXiv 2206.01278, section 4) is the mean over examples and over all pairs: parent and each child,
and children among themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from ticketdiet.core.errors import UserError
from ticketdiet.core.values import Images, Mask, Scores, Weights
from ticketdiet.kernels.line import SparseKernels
from ticketdiet.landscape.barrier import PairBarrier
from ticketdiet.landscape.measurement import measure_pairs
from ticketdiet.training.batch_norm import RECALIBRATION_BATCHES
from ticketdiet.training.modes import BatchNormPolicy
from ticketdiet.training.recipe import Precision

PARENT = "parent"


@dataclass(frozen=True, eq=False)
class Family:
    """Barriers among a parent and its children, or among any networks that belong together.

    An example is connected when its barrier, averaged over the pairs, is at most the tolerance; single pairs are not
    counted.

    Attributes:
        pairs: Every pair, parent first; at least one, all on the same alphas and examples.
        batch_norm: BatchNorm policy.
    """

    pairs: tuple[PairBarrier, ...]
    batch_norm: str

    def __post_init__(self) -> None:
        assert len({(pair.alphas, pair.per_example.shape) for pair in self.pairs}) == 1

    @property
    def alphas(self) -> tuple[float, ...]:
        """Points of every line, ends included."""
        return self.pairs[0].alphas

    @cached_property
    def per_example(self) -> Tensor:
        """float64 (n,), nats: mean barrier of each example over the pairs."""
        total = torch.zeros(len(self.pairs[0].per_example), dtype=torch.float64)
        for pair in self.pairs:
            total += pair.per_example
        return total / len(self.pairs)

    @property
    def mean(self) -> float:
        """Mean barrier over pairs and examples, nats: the paper's scalar."""
        return _mean([pair.mean for pair in self.pairs])

    @property
    def max(self) -> float:
        """Mean over pairs of the largest height of the mean loss above the chord, nats."""
        return _mean([pair.max for pair in self.pairs])

    @property
    def error_barrier(self) -> float:
        """Mean over pairs of the error barrier, in [-1, 1]."""
        return _mean([pair.error_barrier for pair in self.pairs])

    def as_scores(self, images: Images) -> Scores:
        """Return the barriers as scores, one row per pair, usable wherever a score is.

        Args:
            images: What the family was measured on, for their fingerprint.

        Returns:
            The matrix (pairs, n) in nats.

        Raises:
            DataError: When there are not as many images as barriers.
        """
        matrix = torch.stack([pair.per_example for pair in self.pairs]).float().numpy()
        recipe = {"batch_norm": self.batch_norm, "pairs": [pair.name for pair in self.pairs]}
        scores = Scores(matrix, "barrier", images.fingerprint, recipe)
        scores.check_belongs_to(images)
        return scores


def measure_family(
    model: nn.Module,
    parent: Weights,
    children: Sequence[Weights],
    images: Images,
    alphas: Sequence[float] = (0.5,),
    batch_norm: BatchNormPolicy = "interpolate",
    *,
    mask: Mask | None = None,
    calibration: Images | None = None,
    batch_size: int | None = None,
    precision: Precision = "float32",
    recalibration_batches: int = RECALIBRATION_BATCHES,
    sparse_kernels: SparseKernels = "auto",
) -> Family:
    """Measure the barriers of all pairs among a parent and its children.

    Args:
        model: A module of their shape; a copy is used.
        parent: Trained weights of the rewinding point's own run.
        children: Trained weights of at least two more runs from the same point.
        images: What the loss is measured on, un-augmented.
        alphas: Points on each line; 0, 0.5 and 1 are added.
        batch_norm: BatchNorm policy, see :func:`~ticketdiet.landscape.measurement.measure_barrier`.
        mask: The mask under which all of them were trained, or None when they are dense.
        calibration: Images that ``"recalibrate"`` computes statistics on: training images when ``images`` are held out.
            Default ``images``.
        batch_size: Images per forward pass; default what suits the device, and 250 where it is part of the number.
        precision: ``"float32"`` or ``"bfloat16"``.
        recalibration_batches: Batches that ``"recalibrate"`` averages over.
        sparse_kernels: Density up to which the kernels for sparse networks are used, as in a recipe.

    Returns:
        The family; of each pair one number per example is kept, and no losses.

    Raises:
        UserError: For fewer than two children, and as :func:`~ticketdiet.landscape.measurement.measure_barrier`.
    """
    if len(children) < 2:
        raise UserError(
            f"The family has a parent and {len(children)} {'child' if len(children) == 1 else 'children'}.",
            expected="at least two children: the paper's mean is over parent-child and child-child pairs",
            way_out="set children: 2, or measure a single pair with measure_barrier",
        )
    networks = {PARENT: parent, **{f"child{index}": child for index, child in enumerate(children, start=1)}}
    pairs = measure_pairs(
        model,
        networks,
        images,
        alphas,
        batch_norm,
        masks=None if mask is None else dict.fromkeys(networks, mask),
        calibration=calibration,
        batch_size=batch_size,
        precision=precision,
        recalibration_batches=recalibration_batches,
        sparse_kernels=sparse_kernels,
    )
    return Family(tuple(pairs), batch_norm)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
