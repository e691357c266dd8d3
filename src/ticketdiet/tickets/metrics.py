"""Metrics: numbers of a trained sparse network beside its accuracy and loss, by name.

A metric is a class with one verb, ``measure``, which sees the trained network, its mask, its rewinding point and the
images. A study lists metrics under ``measure.metrics``; they are measured on every network that an arm reports, without
training anything again, and stand in the rows.

Another package adds one with ``METRICS.register(name)`` or an entry point in the group ``ticketdiet.metrics``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from ticketdiet.core.options import BaseOptions, Configurable
from ticketdiet.core.registry import Registry
from ticketdiet.core.values import Images, Mask, Weights
from ticketdiet.kernels.line import SparseKernels
from ticketdiet.training.evaluation import predict_logits
from ticketdiet.training.recipe import Precision

METRICS: Registry[type[Metric]] = Registry("metric")


@dataclass(frozen=True, eq=False)
class MetricSubject:
    """What a metric looks at.

    Attributes:
        model: The network, holding the trained weights, in eval mode; it is to be left as it is.
        weights: The trained ``state_dict``, on the CPU.
        point_weights: The ``state_dict`` at the rewinding point, removed weights included, on the CPU.
        mask: Name -> tensor of 0 and 1.
        splits: Images by the name of their split, un-augmented, with the labels as they came.
        precision: Of forward passes.
        sparse_kernels: Density up to which forward passes use the kernels for sparse networks, as in a recipe.
        seed: Seed of whatever the metric draws.
    """

    model: nn.Module
    weights: Weights
    point_weights: Weights
    mask: Mask
    splits: Mapping[str, Images]
    precision: Precision = "float32"
    sparse_kernels: SparseKernels = "auto"
    seed: int = 0


class Metric(Configurable):
    """A metric. Override ``measure``; register the class under a name in ``METRICS``."""

    kind = "metric"

    def measure(self, subject: MetricSubject) -> Mapping[str, float]:
        """Return split -> value; the split ``""`` is for a number that belongs to the network alone."""
        raise NotImplementedError


@METRICS.register("calibration_error")
class CalibrationError(Metric):
    """Expected calibration error in [0, 1]: how far confidence is from accuracy (Guo et al. 2017, arXiv 1706.04599)."""

    class Options(BaseOptions):
        """How confidences are binned."""

        bins: int = Field(default=15, ge=1, le=10_000, description="Bins of equal width over [0, 1].")

    options: Options

    def measure(self, subject: MetricSubject) -> Mapping[str, float]:
        """Return the error on every split."""
        return {name: self._of(subject, images) for name, images in subject.splits.items()}

    def _of(self, subject: MetricSubject, images: Images) -> float:
        logits = predict_logits(
            subject.model, images, precision=subject.precision, sparse_kernels=subject.sparse_kernels
        )
        confidence, predicted = logits.double().softmax(1).max(1)
        correct = (predicted == images.labels.cpu()).double()
        bins = (confidence * self.options.bins).long().clamp_max(self.options.bins - 1)
        differences = torch.zeros(self.options.bins, dtype=torch.float64)
        differences.index_add_(0, bins, confidence - correct)
        return float(differences.abs().sum() / len(images))


@METRICS.register("dead_channels")
class DeadChannels(Metric):
    """Fraction of the output channels of masked layers that keep no incoming weight, in [0, 1]."""

    def measure(self, subject: MetricSubject) -> Mapping[str, float]:
        """Return the fraction."""
        alive = [_any_kept(kept) for kept in subject.mask.values()]
        total = sum(len(layer) for layer in alive)
        return {"": sum(int((~layer).sum()) for layer in alive) / total if total else 0.0}


@METRICS.register("distance")
class Distance(Metric):
    """Distance from the rewinding point divided by the norm of that point, over kept weights (L2)."""

    def measure(self, subject: MetricSubject) -> Mapping[str, float]:
        """Return the relative distance."""
        pairs = [(subject.weights[name], subject.point_weights[name], kept) for name, kept in subject.mask.items()]
        way = sum(float((((trained - point) * kept).double() ** 2).sum()) for trained, point, kept in pairs)
        length = sum(float(((point * kept).double() ** 2).sum()) for _, point, kept in pairs)
        return {"": (way / length) ** 0.5 if length else float("nan")}


def _any_kept(kept: Tensor) -> Tensor:
    return kept.flatten(1).bool().any(1)
