"""The forward pass that scores are computed from: BatchNorm statistics, features, and what it leaves behind."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from ticketdiet.core.errors import DataError
from ticketdiet.core.values import Images
from ticketdiet.scores.base import ScoreOptions
from ticketdiet.scores.driver import score_with_model
from ticketdiet.scores.modes import SCORE_BATCH_NORMS

from .conftest import SNAPSHOTS, SmallNet, prepared


def test_scoring_leaves_mode_and_buffers_as_they_were(net: nn.Module, images: Images) -> None:
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    for kind in ("el2n", "grand", "grand_last", "prototype", "loss"):
        score_with_model(kind, net, images)
    for mode in SCORE_BATCH_NORMS:
        score_with_model("el2n", net, images, options=ScoreOptions(batch_norm=mode))
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_lth_diet_normalises_each_class_by_itself_and_keeps_the_order(net: nn.Module, images: Images) -> None:
    scores = score_with_model("el2n", net, images, options=ScoreOptions(batch_norm="lth_diet", batch_size=1000))
    inputs, labels = prepared(images), images.labels
    net.train()
    with torch.no_grad():
        probabilities = torch.softmax(net(inputs), dim=1)
    expected = torch.linalg.vector_norm(probabilities - torch.eye(4)[labels], dim=1)
    np.testing.assert_allclose(scores, expected, rtol=1e-4)
    by_class = score_with_model(
        "el2n", net, images.take(np.flatnonzero(labels == 2)), options=ScoreOptions(batch_norm="lth_diet")
    )
    order = torch.sort(labels, stable=True).indices
    sizes = torch.bincount(labels)
    first = images.take(order[sizes[:2].sum() : sizes[:3].sum()])
    np.testing.assert_allclose(
        score_with_model("el2n", net, first, options=ScoreOptions(batch_norm="lth_diet")), by_class, rtol=1e-4
    )


def _with_statistics_of(net: SmallNet, images: Images) -> SmallNet:
    """A copy whose BatchNorm holds mean and variance of what enters it, by hand: all 96 images are one batch."""
    copied = copy.deepcopy(net)
    with torch.no_grad():
        entering = copied.conv(prepared(images))
    copied.bn.running_mean = entering.mean((0, 2, 3))
    copied.bn.running_var = entering.var((0, 2, 3), unbiased=True)
    return copied


@pytest.mark.parametrize("kind", [*SNAPSHOTS, "grand"])
def test_by_default_a_score_has_the_statistics_of_the_images_that_are_scored(
    kind: str, net: SmallNet, images: Images
) -> None:
    expected = score_with_model(
        kind, _with_statistics_of(net, images), images, seed=1, options=ScoreOptions(batch_norm="eval")
    )
    lagging = score_with_model(kind, net, images, seed=1, options=ScoreOptions(batch_norm="eval"))
    found = score_with_model(kind, net, images, seed=1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(found, lagging, rtol=1e-2)
    assert (score_with_model(kind, net, images, seed=1, options=ScoreOptions(batch_norm="recalibrate")) == found).all()


@pytest.mark.parametrize("kind", [*SNAPSHOTS, "grand"])
def test_a_network_without_batch_norm_has_the_same_score_in_both_modes(kind: str, images: Images) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.LayerNorm(16), nn.Linear(16, 4))
    by_default, as_it_is = (
        score_with_model(kind, net, images, options=ScoreOptions(batch_norm=mode)) for mode in (None, "eval")
    )
    assert (by_default == as_it_is).all()


def test_features_are_refused_of_a_network_without_a_last_linear_layer(images: Images) -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 8), nn.Flatten())
    assert score_with_model("el2n", net, images).shape == (96,)
    with pytest.raises(DataError, match="last linear layer"):
        score_with_model("grand_last", net, images)


@pytest.mark.cuda
@pytest.mark.parametrize("images_on", ["cpu", "cuda"])
@pytest.mark.parametrize("kind", ["el2n", "grand", "grand_last", "loss"])
def test_a_score_on_a_gpu_is_that_on_the_cpu_wherever_the_images_are(
    kind: str, images_on: str, net: SmallNet, images: Images
) -> None:
    on_cpu = score_with_model(kind, net, images)
    on_gpu = score_with_model(kind, copy.deepcopy(net).cuda(), images.to(torch.device(images_on)))
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-3, atol=1e-4)
