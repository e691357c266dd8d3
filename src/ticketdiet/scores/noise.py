"""Judges scores as detectors of wrong labels, where it is known which labels were changed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ticketdiet.core.errors import DataError
from ticketdiet.core.values import Scores
from ticketdiet.data.subsets import choose_subset


@dataclass(frozen=True)
class NoiseDetection:
    """How well high scores point at changed labels.

    Attributes:
        auroc: Probability that a changed example scores above an unchanged one, ties counted half; 0.5 is chance.
        precision: Fraction of changed labels among the hardest ``size``.
        base_rate: Fraction of changed labels among all: the precision of chance.
        size: How many of the hardest were looked at.
        changed: Number of changed labels.
    """

    auroc: float
    precision: float
    base_rate: float
    size: int
    changed: int


def judge_noise_detection(
    scores: Scores | np.ndarray, changed: np.ndarray | Tensor, *, size: int | None = None, seed: int = 0
) -> NoiseDetection:
    """Judge scores by the labels that are known to be wrong.

    Args:
        scores: One score per example, high means hard; +inf is allowed.
        changed: bool (n,): which labels were changed.
        size: How many of the hardest to look at; default as many as were changed.
        seed: Seed of ties.

    Returns:
        Area under the ROC curve, and precision among the hardest.

    Raises:
        DataError: When the mask does not fit, or changes none or all labels.
    """
    from scipy.stats import rankdata

    values = scores.mean if isinstance(scores, Scores) else np.asarray(scores)
    mask = np.asarray(changed)
    count = int(np.count_nonzero(mask))
    if mask.shape != values.shape or mask.dtype != bool or not 0 < count < len(values):
        raise DataError(
            f"The mask {mask.shape} of dtype {mask.dtype} has {count} changed labels, for scores {values.shape}.",
            expected="one bool per example, some changed and some not",
            way_out="compare the noisy labels with the clean ones: changed = noisy != clean",
        )
    hardest = choose_subset(values, "hardest", count if size is None else size, seed=seed)
    above = float(rankdata(values)[mask].sum()) - count * (count + 1) / 2
    return NoiseDetection(
        auroc=above / (count * (len(values) - count)),
        precision=float(mask[hardest].mean()),
        base_rate=count / len(values),
        size=len(hardest),
        changed=count,
    )
