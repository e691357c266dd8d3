"""EL2N against a softmax written by hand."""

from __future__ import annotations

import numpy as np
from torch import nn

from ticketdiet.core.values import Images
from ticketdiet.scores.base import ScoreOptions
from ticketdiet.scores.driver import score_with_model

from .conftest import probabilities_of


def test_el2n_matches_a_hand_written_softmax(net: nn.Module, images: Images) -> None:
    errors = probabilities_of(net, images) - np.eye(4)[images.labels.numpy()]
    expected = np.sqrt((errors**2).sum(axis=1))
    scores = score_with_model("el2n", net, images, options=ScoreOptions(batch_size=7, batch_norm="eval"))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_bfloat16_scores_are_near_float32_ones(net: nn.Module, images: Images) -> None:
    exact, near = (
        score_with_model("el2n", net, images, options=ScoreOptions(precision=p)) for p in ("float32", "bfloat16")
    )
    np.testing.assert_allclose(near, exact, atol=0.05)
