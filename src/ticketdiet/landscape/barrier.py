"""Barriers between two networks: how far the loss rises above the chord on the straight line between them.

Following Paul et al. (arXiv 2206.01278, section 4) and Frankle et al. (arXiv 1912.05671): cross-entropy in nats, eval
mode, un-augmented images; negative values are kept. A network's own losses are computed once, however many pairs it is
part of. Of the images on which the loss is measured nothing is learned: statistics are recalibrated on training images.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn

from ticketdiet.core.errors import UserError
from ticketdiet.core.seeds import numpy_generator
from ticketdiet.core.values import Images, Mask, Weights
from ticketdiet.landscape.interpolation import Interpolation, midpoint_mask
from ticketdiet.landscape.tolerance import DEFAULT_TOLERANCE as DEFAULT_TOLERANCE
from ticketdiet.training.batch_norm import (
    RECALIBRATION_BATCH_SIZE,
    RECALIBRATION_BATCHES,
    BatchNormPolicy,
    batch_statistics,
    check_policy,
    even_batches,
    recalibrate,
)
from ticketdiet.training.evaluation import Evaluation, evaluate
from ticketdiet.training.recipe import Precision

STATISTICS_BATCH = RECALIBRATION_BATCH_SIZE  # images per batch where the statistics of a batch are part of the number


def heights_above_chord(values: Tensor, alphas: Sequence[float]) -> Tensor:
    """Return how far each row lies above the straight line between the first and the last row.

    Args:
        values: (alphas, ...), losses or errors along the line.
        alphas: Where the rows are; the first is 0, the last 1.

    Returns:
        float64 (alphas, ...); the first and last row are 0.
    """
    exact = values.double()
    at = torch.tensor(alphas, dtype=torch.float64).view(-1, *[1] * (exact.dim() - 1))
    return exact - ((1 - at) * exact[0] + at * exact[-1])


def connected_within(per_example: Tensor, tolerance: float) -> Tensor:
    """Say which examples are connected: barrier at most ``tolerance`` nats. bool of the shape of ``per_example``.

    Raises:
        UserError: When the tolerance is negative or not a number.
    """
    if not tolerance >= 0:
        raise UserError(
            f"tolerance {tolerance}.",
            expected="a number of nats, at least 0",
            way_out=f"{DEFAULT_TOLERANCE:g} is the usual one",
        )
    return per_example <= tolerance


class _HasBarriers(Protocol):
    @property
    def per_example(self) -> Tensor: ...


class PerExampleBarriers:
    """Which examples are connected, for classes whose ``per_example`` holds a barrier of each, nats."""

    def connected(self: _HasBarriers, tolerance: float = DEFAULT_TOLERANCE) -> Tensor:
        """Which examples have a barrier of at most ``tolerance`` nats. bool of the shape of ``per_example``.

        Raises:
            UserError: When the tolerance is negative.
        """
        return connected_within(self.per_example, tolerance)

    def connected_share(self: _HasBarriers, tolerance: float = DEFAULT_TOLERANCE) -> float:
        """Share of examples that are connected within ``tolerance`` nats, in [0, 1].

        Raises:
            UserError: When the tolerance is negative.
        """
        return float(connected_within(self.per_example, tolerance).double().mean())


@dataclass(frozen=True, eq=False)
class Barrier(PerExampleBarriers):
    """Losses on the line between networks a and b, per example, in the order of the images.

    Attributes:
        alphas: Ascending, with both ends: 0 is network a, 1 is network b.
        losses: float32 (alphas, n): cross-entropy in nats.
        correct: bool (alphas, n).
        batch_norm: Policy under which all of them, ends included, were computed.
    """

    alphas: tuple[float, ...]
    losses: Tensor
    correct: Tensor
    batch_norm: str = "interpolate"

    @cached_property
    def per_example(self) -> Tensor:
        """float64 (n,), nats: loss at the midpoint minus the mean loss of the ends; may be negative."""
        middle = self.losses[self.alphas.index(0.5)].double()
        return middle - (self.losses[0].double() + self.losses[-1].double()) / 2

    @cached_property
    def heights(self) -> Tensor:
        """float64 (alphas,), nats: mean loss above the chord."""
        return heights_above_chord(self.losses.double().mean(1), self.alphas)

    @property
    def mean(self) -> float:
        """Mean over examples of ``per_example``, nats: the paper's barrier of a pair."""
        return float(self.per_example.mean())

    @property
    def max(self) -> float:
        """Largest height of the mean loss above the chord strictly between the ends, nats; may be negative."""
        return float(self.heights[1:-1].max())

    @property
    def error_barrier(self) -> float:
        """Largest height of the error rate above its chord strictly between the ends, as a share in [-1, 1]."""
        errors = 1 - self.correct.double().mean(1)
        return float(heights_above_chord(errors, self.alphas)[1:-1].max())


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
) -> Barrier:
    """Measure the barrier between two networks of one shape.

    Args:
        model: A module of that shape; a copy of it is used, it stays as it is. The copy lives on its device.
        weights_a: ``state_dict`` of network a, buffers included.
        weights_b: Likewise of b.
        images: What the loss is measured on, un-augmented.
        alphas: Points on the line; 0, 0.5 and 1 are added when they are not there.
        batch_norm: ``"interpolate"`` mixes running statistics as weights (the ends are the networks as stored);
            ``"recalibrate"`` computes them anew at every alpha, ends included; ``"batch"`` uses those of each batch, in
            which the images come in a fixed pseudo-random order.
        mask_a: Mask of network a, or None when it is dense.
        mask_b: Likewise of b. In between holds the denser one.
        calibration: Images that ``"recalibrate"`` computes statistics on; give training images when ``images`` are held
            out. Default ``images``.
        batch_size: Images per forward pass; default what suits the device. Under ``"batch"`` and ``"recalibrate"`` the
            batches whose statistics are used are part of the number: their default is 250 on every device, and the size
            is lowered until all are of about the same size.
        precision: ``"float32"`` or ``"bfloat16"``.
        recalibration_batches: Batches that ``"recalibrate"`` averages over.

    Returns:
        Losses and correctness per alpha and example, and what follows from them.

    Raises:
        UserError: For networks of different shape, weights that are not finite (both name the tensor), alphas outside
            [0, 1], no images, or an unknown policy.
    """
    bench = _Bench(model, images, batch_norm, calibration, batch_size, precision, recalibration_batches)
    points = sweep_points(alphas)
    line = bench.between(weights_a, weights_b, midpoint_mask(mask_a, mask_b))
    return _assemble(points, [bench.at(line, alpha) for alpha in points], batch_norm)


@dataclass(frozen=True, eq=False)
class PairBarrier:
    """The barrier of one pair among several networks.

    Attributes:
        a: Name of the first network.
        b: Name of the second.
        barrier: Between them.
    """

    a: str
    b: str
    barrier: Barrier


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

    Raises:
        UserError: As :func:`measure_barrier`.
    """
    bench = _Bench(model, images, batch_norm, calibration, batch_size, precision, recalibration_batches)
    points = sweep_points(alphas)
    known_masks = masks or {}
    ends = {name: bench.at(bench.between(weights, weights, None), 0.0) for name, weights in networks.items()}
    for a, b in itertools.combinations(networks, 2):
        mask = midpoint_mask(known_masks.get(a), known_masks.get(b))
        line = bench.between(networks[a], networks[b], mask)
        inner = [bench.at(line, alpha) for alpha in points[1:-1]]
        yield PairBarrier(a, b, _assemble(points, [ends[a], *inner, ends[b]], batch_norm))


def sweep_points(alphas: Sequence[float]) -> tuple[float, ...]:
    """Return ``alphas`` sorted, each once, with 0, 0.5 and 1.

    Raises:
        UserError: For a point outside [0, 1] or NaN.
    """
    for alpha in alphas:
        if not 0.0 <= alpha <= 1.0:
            raise UserError(f"alpha {alpha}.", expected="points in [0, 1]", way_out="0 is network a, 1 is network b")
    return tuple(sorted({0.0, 0.5, 1.0, *map(float, alphas)}))


class _Bench:
    """One copy of the module, into which every point of every line is written, and how it is looked at there."""

    def __init__(
        self,
        model: nn.Module,
        images: Images,
        batch_norm: BatchNormPolicy,
        calibration: Images | None,
        batch_size: int | None,
        precision: Precision,
        recalibration_batches: int,
    ) -> None:
        check_policy(batch_norm)
        if len(images) == 0:
            raise UserError("no images.", expected="at least one image to measure the loss on")
        if min(1 if batch_size is None else batch_size, recalibration_batches) < 1:
            raise UserError(
                f"batch_size {batch_size} and recalibration_batches {recalibration_batches}.", expected="at least 1"
            )
        self._model = copy.deepcopy(model).requires_grad_(False)
        self._images, self._policy, self._precision = images, batch_norm, precision
        self._calibration = images if calibration is None else calibration
        self._batch_size, self._recalibration_batches = batch_size, recalibration_batches
        if batch_norm == "batch":
            self._shuffled, self._place = _shuffled(images)

    def between(self, weights_a: Weights, weights_b: Weights, mask: Mask | None) -> Interpolation:
        return Interpolation(self._model, weights_a, weights_b, mask=mask)

    def at(self, line: Interpolation, alpha: float) -> Evaluation:
        line.write(alpha)
        if self._policy == "batch":
            return self._look_by_batch()
        if self._policy == "recalibrate":
            recalibrate(
                self._model,
                self._calibration,
                batches=self._recalibration_batches,
                batch_size=self._batch_size or STATISTICS_BATCH,
                precision=self._precision,
            )
        return evaluate(self._model, self._images, batch_size=self._batch_size, precision=self._precision)

    def _look_by_batch(self) -> Evaluation:
        size = even_batches(len(self._images), self._batch_size or STATISTICS_BATCH)
        with batch_statistics(self._model):
            found = evaluate(self._model, self._shuffled, batch_size=size, precision=self._precision)
        return Evaluation(found.losses[self._place], found.correct[self._place])


def _shuffled(images: Images) -> tuple[Images, Tensor]:
    """Return the images in a fixed pseudo-random order, and the place of each image in it."""
    order = torch.from_numpy(numpy_generator(0, "batch_statistics").permutation(len(images)))
    return images.take(order), order.argsort()


def _assemble(points: tuple[float, ...], looks: Sequence[Evaluation], policy: str) -> Barrier:
    losses = torch.stack([look.losses for look in looks])
    return Barrier(points, losses, torch.stack([look.correct for look in looks]), policy)
