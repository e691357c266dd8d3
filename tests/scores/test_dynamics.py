"""Scores of training dynamics of a single network, against numpy; test_recorder has those of a training."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from ticketdiet.core.errors import DataError
from ticketdiet.core.values import Images
from ticketdiet.scores.base import ScoreOptions
from ticketdiet.scores.driver import score_with_model

from .conftest import probabilities_of


def test_snapshots_of_loss_entropy_margin_and_confidence_match_hand_written_ones(
    net: nn.Module, images: Images
) -> None:
    probabilities, labels = probabilities_of(net, images), images.labels.numpy()
    own = probabilities[np.arange(len(labels)), labels]
    other = np.where(np.eye(4)[labels] == 1, -1, probabilities).max(axis=1)
    expected = {
        "loss": -np.log(own),
        "entropy": -(probabilities * np.log(probabilities)).sum(axis=1),
        "margin": other - own,
        "confidence": 1 - own,
    }
    for kind, values in expected.items():
        np.testing.assert_allclose(
            score_with_model(kind, net, images, options=ScoreOptions(batch_norm="eval")), values, rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize("kind", ["forgetting", "aum", "variance"])
def test_scores_of_a_training_refuse_a_single_network(kind: str, net: nn.Module, images: Images) -> None:
    with pytest.raises(DataError, match="the record of a training"):
        score_with_model(kind, net, images)
