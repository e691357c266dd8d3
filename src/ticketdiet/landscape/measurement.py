"""Measures barriers: a network's losses at points of the straight line between two networks.

Losses are measured in eval mode on un-augmented images. A network's own losses are computed once, however many pairs it
is part of. The images on which the loss is measured do not change the network: statistics are recalibrated on training
images.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from ticketdiet.core.errors import UserError
from ticketdiet.core.seeds import numpy_generator
from ticketdiet.core.values import Images, Mask, Weights
from ticketdiet.kernels.line import SparseKernels
from ticketdiet.landscape.barrier import Barrier, PairBarrier
from ticketdiet.landscape.interpolation import Interpolation, midpoint_mask
from ticketdiet.training.batch_norm import (
    RECALIBRATION_BATCH_SIZE,
    RECALIBRATION_BATCHES,
    batch_statistics,
    check_policy,
    even_batches,
    recalibrate,
)
from ticketdiet.training.evaluation import Evaluation, evaluate
from ticketdiet.training.modes import BatchNormPolicy, Precision

STATISTICS_BATCH = RECALIBRATION_BATCH_SIZE  # images per batch where the statistics of a batch are part of the number


def measure_barrier(
    model: nn.Module,
    weights_a: Weights,
    weights_b: Weights,
    images: Images,
    alphas: Sequence[float] = (0.5,),
    batch_norm: BatchNormPolicy = "interpolate",
    *,
    mask_a: Mask | None = None,
    mask_b: Mask | None = None,
    calibration: Images | None = None,
    batch_size: int | None = None,
    precision: Precision = "float32",
    recalibration_batches: int = RECALIBRATION_BATCHES,
    sparse_kernels: SparseKernels = "auto",
) -> Barrier:
    """Measure the barrier between two networks of one shape.

    Args:
        model: A module of that shape; a copy of it is used, it stays as it is. The copy lives on its device.
        weights_a: ``state_dict`` of network a, buffers included.
        weights_b: Likewise of b.
        images: What the loss is measured on, un-augmented.
        alphas: Points on the line; 0, 0.5 and 1 are added when they are not there.
        batch_norm: ``"interpolate"`` mixes running statistics as weights (the ends are the networks as stored);
            ``"recalibrate"`` measures them again at every alpha, ends included; ``"batch"`` uses those of each batch,
            in which the images come in a fixed pseudo-random order.
        mask_a: Mask of network a, or None when it is dense.
        mask_b: Likewise of b. In between, the denser one applies.
        calibration: Images that ``"recalibrate"`` computes statistics on; give training images when ``images`` are held
            out. Default ``images``.
        batch_size: Images per forward pass; default what suits the device. Under ``"batch"`` and ``"recalibrate"`` the
            batches whose statistics are used are part of the number: their default is 250 on every device, and the size
            is lowered until all are of about the same size.
        precision: ``"float32"`` or ``"bfloat16"``.
        recalibration_batches: Batches that ``"recalibrate"`` averages over.
        sparse_kernels: Density up to which the kernels for sparse networks are used, as in a recipe.

    Returns:
        Losses and correctness per alpha and example, and what follows from them.

    Raises:
        UserError: For networks of different shape, weights that are not finite (both name the tensor), alphas outside
            [0, 1], no images, or an unknown policy.
    """
    probe = _Probe(model, images, batch_norm, calibration, batch_size, precision, recalibration_batches, sparse_kernels)
    points = sweep_points(alphas)
    line = probe.between(weights_a, weights_b, midpoint_mask(mask_a, mask_b))
    return _assemble(points, [probe.at(line, alpha) for alpha in points], batch_norm)


def measure_pairs(
    model: nn.Module,
    networks: Mapping[str, Weights],
    images: Images,
    alphas: Sequence[float] = (0.5,),
    batch_norm: BatchNormPolicy = "interpolate",
    *,
    masks: Mapping[str, Mask] | None = None,
    calibration: Images | None = None,
    batch_size: int | None = None,
    precision: Precision = "float32",
    recalibration_batches: int = RECALIBRATION_BATCHES,
    sparse_kernels: SparseKernels = "auto",
) -> Iterator[PairBarrier]:
    """Yield the barrier of every pair of ``networks``, one at a time: memory does not grow with the number of pairs.

    Args:
        model: As in :func:`measure_barrier`.
        networks: Weights by name; pairs come in the order of ``itertools.combinations``.
        images: As in :func:`measure_barrier`, like all that follows.
        alphas: Points on each line.
        batch_norm: BatchNorm policy.
        masks: Masks by name of network; one that is not there is dense.
        calibration: Images that ``"recalibrate"`` computes statistics on.
        batch_size: Images per forward pass.
        precision: ``"float32"`` or ``"bfloat16"``.
        recalibration_batches: Batches that ``"recalibrate"`` averages over.
        sparse_kernels: Density up to which the kernels for sparse networks are used, as in a recipe.

    Yields:
        What is kept of each pair: one number per example, and the curves of mean loss and error.

    Raises:
        UserError: As :func:`measure_barrier`.
    """
    probe = _Probe(model, images, batch_norm, calibration, batch_size, precision, recalibration_batches, sparse_kernels)
    points = sweep_points(alphas)
    known_masks = masks or {}
    ends = {name: probe.at(probe.between(weights, weights, None), 0.0) for name, weights in networks.items()}
    for a, b in itertools.combinations(networks, 2):
        mask = midpoint_mask(known_masks.get(a), known_masks.get(b))
        line = probe.between(networks[a], networks[b], mask)
        inner = [probe.at(line, alpha) for alpha in points[1:-1]]
        yield PairBarrier.of(a, b, _assemble(points, [ends[a], *inner, ends[b]], batch_norm))


def sweep_points(alphas: Sequence[float]) -> tuple[float, ...]:
    """Return ``alphas`` sorted, each once, with 0, 0.5 and 1.

    Args:
        alphas: Points on the line, in any order.

    Returns:
        Where a line is measured; the first point is 0, the last 1.

    Raises:
        UserError: For a point outside [0, 1] or NaN.
    """
    for alpha in alphas:
        if not 0.0 <= alpha <= 1.0:
            raise UserError(
                f"The point alpha={alpha} is not between the networks.",
                expected="points in [0, 1]",
                way_out="0 is network a, 1 is network b",
            )
    return tuple(sorted({0.0, 0.5, 1.0, *map(float, alphas)}))


class _Probe:
    """One copy of the module, into which every point of every line is written to be evaluated there."""

    def __init__(
        self,
        model: nn.Module,
        images: Images,
        batch_norm: BatchNormPolicy,
        calibration: Images | None,
        batch_size: int | None,
        precision: Precision,
        recalibration_batches: int,
        sparse_kernels: SparseKernels,
    ) -> None:
        check_policy(batch_norm)
        if len(images) == 0:
            raise UserError(
                "There are no images.",
                expected="at least one image to measure the loss on",
                way_out="give another data set or split",
            )
        if min(1 if batch_size is None else batch_size, recalibration_batches) < 1:
            raise UserError(
                f"The batch_size is {batch_size}, with {recalibration_batches} recalibration_batches.",
                expected="at least 1 of each",
                way_out="leave them out for the defaults",
            )
        self._model = copy.deepcopy(model).requires_grad_(False)
        self._images, self._policy, self._precision, self._kernels = images, batch_norm, precision, sparse_kernels
        self._calibration = images if calibration is None else calibration
        self._batch_size, self._recalibration_batches = batch_size, recalibration_batches
        if batch_norm == "batch":
            self._shuffled, self._place = _shuffled(images)

    def between(self, weights_a: Weights, weights_b: Weights, mask: Mask | None) -> Interpolation:
        return Interpolation(self._model, weights_a, weights_b, mask=mask)

    def at(self, line: Interpolation, alpha: float) -> Evaluation:
        line.write(alpha)
        if self._policy == "batch":
            return self._evaluate_by_batch()
        if self._policy == "recalibrate":
            recalibrate(
                self._model,
                self._calibration,
                batches=self._recalibration_batches,
                batch_size=self._batch_size or STATISTICS_BATCH,
                precision=self._precision,
                sparse_kernels=self._kernels,
            )
        return self._evaluate(self._images, self._batch_size)

    def _evaluate(self, images: Images, batch_size: int | None) -> Evaluation:
        return evaluate(
            self._model,
            images,
            batch_size=batch_size,
            precision=self._precision,
            sparse_kernels=self._kernels,
        )

    def _evaluate_by_batch(self) -> Evaluation:
        size = even_batches(len(self._images), self._batch_size or STATISTICS_BATCH)
        with batch_statistics(self._model):
            found = self._evaluate(self._shuffled, size)
        return Evaluation(found.losses[self._place], found.correct[self._place])


def _shuffled(images: Images) -> tuple[Images, Tensor]:
    """Return the images in a fixed pseudo-random order, and the place of each image in that order."""
    order = torch.from_numpy(numpy_generator(0, "batch_statistics").permutation(len(images)))
    return images.take(order), order.argsort()


def _assemble(points: tuple[float, ...], evaluations: Sequence[Evaluation], policy: str) -> Barrier:
    losses = torch.stack([found.losses for found in evaluations])
    return Barrier(points, losses, torch.stack([found.correct for found in evaluations]), policy)
