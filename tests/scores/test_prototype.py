"""Distances to prototypes, where they are known."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ticketdiet.core.values import Images
from ticketdiet.scores.base import ScoreOptions
from ticketdiet.scores.driver import score_with_model

from .conftest import SmallNet, prepared


def test_prototype_distance_is_zero_at_the_prototypes_and_seeded(net: nn.Module, images: Images) -> None:
    every = score_with_model("prototype", net, images, options=ScoreOptions(clusters=len(images)))
    np.testing.assert_allclose(every, 0, atol=1e-3)
    few = score_with_model("prototype", net, images, seed=3)
    assert (few == score_with_model("prototype", net, images, seed=3)).all()
    assert few.min() > 0


def test_prototype_matches_distances_to_the_mean_with_one_prototype(net: SmallNet, images: Images) -> None:
    seen: list[torch.Tensor] = []
    net.eval()
    net.fc.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        net(prepared(images))
    features = seen[0].numpy()
    expected = np.linalg.norm(features - features.mean(axis=0), axis=1)
    scores = score_with_model("prototype", net, images, options=ScoreOptions(clusters=1, batch_norm="eval"))
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-5)
