"""Losses that a training minimises: from logits and labels to one number per example.

Evaluation, barriers and scores are in cross-entropy whatever the loss of the training, so that networks which were
trained on different losses can be compared.

Another package adds one with ``LOSSES.register(name)`` or an entry point in the group ``ticketdiet.losses``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ticketdiet.core.options import BaseOptions, Configurable
from ticketdiet.core.registry import Registry

LOSSES: Registry[type[Loss]] = Registry("loss", "losses")


class Loss(Configurable):
    """What a training minimises. Override ``per_example``; register the class under a name in ``LOSSES``.

    Args:
        recipe: Keys of the recipe that the class ``uses``, by name.
        options: Options of the class (``loss_options`` of a recipe).

    Attributes:
        uses: Keys of ``Recipe`` that only some losses read: of ``label_smoothing``.
    """

    kind = "loss"
    uses: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, recipe: Mapping[str, Any], options: Mapping[str, object] | None = None) -> None:
        super().__init__(options)
        self.recipe = recipe

    def per_example(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each example.

        Args:
            logits: float32 (batch, classes), with the graph behind them.
            labels: int64 (batch,).

        Returns:
            float32 (batch,).
        """
        raise NotImplementedError

    def mean(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over the batch, a float32 scalar: what the training takes the gradient of."""
        return self.per_example(logits, labels).mean()


@LOSSES.register("cross_entropy")
class CrossEntropy(Loss):
    """Cross-entropy in nats, with the recipe's ``label_smoothing``."""

    uses = frozenset({"label_smoothing"})

    def per_example(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropies."""
        smoothing = self.recipe["label_smoothing"]
        return F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)

    def mean(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return their mean in one operation."""
        return F.cross_entropy(logits, labels, label_smoothing=self.recipe["label_smoothing"])


@LOSSES.register("squared_error")
class SquaredError(Loss):
    """Squared error between logits and one-hot labels (Hui and Belkin 2021, arXiv 2006.07322).

    Mean over the C classes of ``weight * (z_y - target)**2`` for the label y and ``z_c**2`` for the others. They take
    1 and 1, and larger numbers for many classes (their section on rescaling). There is no softmax.
    """

    class Options(BaseOptions):
        """Rescaling for many classes."""

        weight: float = Field(default=1.0, gt=0, allow_inf_nan=False, description="Weight of the label's own error.")
        target: float = Field(default=1.0, gt=0, allow_inf_nan=False, description="Logit that the label should have.")

    options: Options

    def per_example(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean squared error over the classes of each example."""
        one_hot = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
        weights = 1 + (self.options.weight - 1) * one_hot
        return (weights * (logits - self.options.target * one_hot).square()).mean(1)


@LOSSES.register("focal")
class Focal(Loss):
    """Focal loss ``-(1 - p)**gamma * log(p)`` of the label's probability p (Lin et al. 2017, arXiv 1708.02002).

    Without their factor per class. With ``gamma`` of 0 it is the cross-entropy.
    """

    class Options(BaseOptions):
        """How much easy examples are played down."""

        gamma: float = Field(default=2.0, ge=0, allow_inf_nan=False, description="0: cross-entropy; the paper has 2.")

    options: Options

    def per_example(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the focal losses."""
        log_p = logits.log_softmax(1).gather(1, labels[:, None]).squeeze(1)
        # Where p rounds to 1 the power has no finite slope for gamma below 1; the clamp makes the slope 0 there.
        wrong = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
        return -wrong.pow(self.options.gamma) * log_p
