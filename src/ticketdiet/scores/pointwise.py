"""Quantities of single examples that follow from logits: scores and recorders are made of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Pointwise:
    """Per-example quantities of one forward pass, float32 of shape (n,) unless said otherwise.

    Attributes:
        loss: Cross-entropy in nats.
        entropy: Entropy of the predicted distribution in nats.
        confidence: Probability of the labelled class.
        margin: Probability of the labelled class minus the highest other probability, in [-1, 1].
        logit_margin: Logit of the labelled class minus the highest other logit.
        correct: bool (n,): whether the labelled class has the highest logit.
    """

    loss: Tensor
    entropy: Tensor
    confidence: Tensor
    margin: Tensor
    logit_margin: Tensor
    correct: Tensor


def error_vectors(logits: Tensor, labels: Tensor) -> Tensor:
    """Return softmax(f(x)) - onehot(y) of each example, float (n, classes).

    Args:
        logits: Float of shape (n, classes).
        labels: int64 of shape (n,).

    Returns:
        A new tensor of the dtype of ``logits``.
    """
    errors = torch.softmax(logits, dim=1)
    errors[torch.arange(len(errors)), labels] -= 1
    return errors


def pointwise(logits: Tensor, labels: Tensor) -> Pointwise:
    """Compute the quantities of each example.

    Args:
        logits: Float of shape (n, classes).
        labels: int64 of shape (n,).

    Returns:
        All quantities, detached.
    """
    log_probabilities = torch.log_softmax(logits.detach().float(), dim=1)
    probabilities = log_probabilities.exp()
    own = labels[:, None]
    loss = -log_probabilities.gather(1, own)[:, 0]
    confidence = probabilities.gather(1, own)[:, 0]
    others = log_probabilities.scatter(1, own, -torch.inf).amax(dim=1)
    return Pointwise(
        loss=loss,
        # 0 log 0 is 0 in xlogy; a plain product gives NaN.
        entropy=-torch.special.xlogy(probabilities, probabilities).sum(dim=1),
        confidence=confidence,
        margin=confidence - others.exp(),
        logit_margin=-loss - others,
        correct=logits.argmax(dim=1) == labels,
    )
