"""Scores as detectors of wrong labels, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from ticketdiet.core.errors import DataError
from ticketdiet.scores.noise import judge_noise_detection


def test_noise_detection_matches_sklearn() -> None:
    generator = np.random.default_rng(0)
    changed = generator.random(300) < 0.2
    values = np.round(generator.normal(size=300) + changed, 1)
    found = judge_noise_detection(values, changed)
    assert found.auroc == pytest.approx(roc_auc_score(changed, values))
    assert found.changed == found.size == changed.sum()
    assert found.precision > found.base_rate


def test_perfect_scores_find_all_noise_and_reversed_ones_none() -> None:
    changed = np.arange(50) < 10
    values = np.where(changed, np.inf, 0.0)
    perfect = judge_noise_detection(values, torch.from_numpy(changed))
    assert (perfect.auroc, perfect.precision) == (1, 1)
    worst = judge_noise_detection(-changed.astype(float), changed, size=5)
    assert (worst.auroc, worst.precision) == (0, 0)


@pytest.mark.parametrize("mask", [np.zeros(4, bool), np.ones(4, bool), np.zeros(3, bool), np.arange(4)])
def test_masks_that_say_nothing_are_refused(mask: np.ndarray) -> None:
    with pytest.raises(DataError, match="some changed and some not"):
        judge_noise_detection(np.arange(4.0), mask)
