"""Scores of one network, each against an oracle of its own."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from ticketdiet.core.errors import DataError, UnknownName
from ticketdiet.core.values import Images
from ticketdiet.scores.base import SCORES, Score, ScoreOptions, Subject
from ticketdiet.scores.catalog import score_names
from ticketdiet.scores.driver import score_model
from ticketdiet.scores.modes import SCORE_BATCH_NORMS
from ticketdiet.training.batches import prepare

from .conftest import SmallNet

NAMES = "aum barrier confidence el2n entropy file forgetting grand grand_last loss margin prototype random variance"


def _inputs(images: Images) -> torch.Tensor:
    return prepare(images.pixels, images)


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _probabilities(net: nn.Module, images: Images) -> np.ndarray:
    net.eval()
    with torch.no_grad():
        return _softmax(net(_inputs(images)).double().numpy())


def test_all_scores_are_listed_by_name() -> None:
    assert " ".join(score_names()) == NAMES


def test_every_score_says_which_way_it_points() -> None:
    for name in score_names():
        assert any(word in (SCORES.get(name).__doc__ or "") for word in ("means hard", "mean hard", "nothing is hard"))


def test_an_unknown_score_lists_the_known_ones(images: Images) -> None:
    with pytest.raises(UnknownName, match="el2n"):
        score_model("eln2", None, images)


def test_el2n_matches_a_hand_written_softmax(net: nn.Module, images: Images) -> None:
    errors = _probabilities(net, images) - np.eye(4)[images.labels.numpy()]
    expected = np.sqrt((errors**2).sum(axis=1))
    scores = score_model("el2n", net, images, batch_size=7, batch_norm="eval")
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_snapshots_of_loss_entropy_margin_and_confidence_match_hand_written_ones(
    net: nn.Module, images: Images
) -> None:
    probabilities, labels = _probabilities(net, images), images.labels.numpy()
    own = probabilities[np.arange(len(labels)), labels]
    other = np.where(np.eye(4)[labels] == 1, -1, probabilities).max(axis=1)
    expected = {
        "loss": -np.log(own),
        "entropy": -(probabilities * np.log(probabilities)).sum(axis=1),
        "margin": other - own,
        "confidence": 1 - own,
    }
    for kind, values in expected.items():
        np.testing.assert_allclose(score_model(kind, net, images, batch_norm="eval"), values, rtol=1e-4, atol=1e-6)


def test_grand_last_matches_autograd_of_the_last_layer(net: nn.Module, images: Images) -> None:
    net.eval()
    expected = []
    for x, y in zip(_inputs(images), images.labels, strict=True):
        loss = nn.functional.cross_entropy(net(x[None]), y[None])
        parts = torch.autograd.grad(loss, list(net.fc.parameters()))  # type: ignore[union-attr, arg-type]
        expected.append(torch.cat([part.flatten() for part in parts]).norm().item())
    np.testing.assert_allclose(score_model("grand_last", net, images, batch_norm="eval"), expected, rtol=1e-4)


def test_prototype_distance_is_zero_at_the_prototypes_and_seeded(net: nn.Module, images: Images) -> None:
    every = score_model("prototype", net, images, options=ScoreOptions(clusters=len(images)))
    np.testing.assert_allclose(every, 0, atol=1e-3)
    few = score_model("prototype", net, images, seed=3)
    assert (few == score_model("prototype", net, images, seed=3)).all()
    assert few.min() > 0


def test_prototype_matches_distances_to_the_mean_with_one_prototype(net: nn.Module, images: Images) -> None:
    seen: list[torch.Tensor] = []
    net.eval()
    net.fc.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))  # type: ignore[union-attr, operator]
    with torch.no_grad():
        net(_inputs(images))
    features = seen[0].numpy()
    expected = np.linalg.norm(features - features.mean(axis=0), axis=1)
    scores = score_model("prototype", net, images, options=ScoreOptions(clusters=1, batch_norm="eval"))
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-5)


def test_scoring_leaves_mode_and_buffers_as_they_were(net: nn.Module, images: Images) -> None:
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    for kind in ("el2n", "grand", "grand_last", "prototype", "loss"):
        score_model(kind, net, images)
    for mode in SCORE_BATCH_NORMS:
        score_model("el2n", net, images, batch_norm=mode)
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_lth_diet_normalises_each_class_by_itself_and_keeps_the_order(net: nn.Module, images: Images) -> None:
    scores = score_model("el2n", net, images, batch_norm="lth_diet", batch_size=1000)
    inputs, labels = _inputs(images), images.labels
    net.train()
    with torch.no_grad():
        probabilities = torch.softmax(net(inputs), dim=1)
    expected = torch.linalg.vector_norm(probabilities - torch.eye(4)[labels], dim=1)
    np.testing.assert_allclose(scores, expected, rtol=1e-4)
    by_class = score_model("el2n", net, images.take(np.flatnonzero(labels == 2)), batch_norm="lth_diet")
    order = torch.sort(labels, stable=True).indices
    sizes = torch.bincount(labels)
    first = images.take(order[sizes[:2].sum() : sizes[:3].sum()])
    np.testing.assert_allclose(score_model("el2n", net, first, batch_norm="lth_diet"), by_class, rtol=1e-4)


SNAPSHOTS = ("el2n", "grand_last", "prototype", "loss", "entropy", "margin", "confidence")


def _with_statistics_of(net: SmallNet, images: Images) -> SmallNet:
    """A copy whose BatchNorm holds mean and variance of what enters it, by hand: all 96 images are one batch."""
    copied = copy.deepcopy(net)
    with torch.no_grad():
        entering = copied.conv(_inputs(images))
    copied.bn.running_mean = entering.mean((0, 2, 3))
    copied.bn.running_var = entering.var((0, 2, 3), unbiased=True)
    return copied


@pytest.mark.parametrize("kind", [*SNAPSHOTS, "grand"])
def test_by_default_a_score_has_the_statistics_of_the_images_that_are_scored(
    kind: str, net: SmallNet, images: Images
) -> None:
    expected = score_model(kind, _with_statistics_of(net, images), images, batch_norm="eval", seed=1)
    lagging = score_model(kind, net, images, batch_norm="eval", seed=1)
    found = score_model(kind, net, images, seed=1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(found, lagging, rtol=1e-2)
    assert (score_model(kind, net, images, batch_norm="recalibrate", seed=1) == found).all()


@pytest.mark.parametrize("kind", [*SNAPSHOTS, "grand"])
def test_a_network_without_batch_norm_has_the_same_score_in_both_modes(kind: str, images: Images) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.LayerNorm(16), nn.Linear(16, 4))
    by_default, as_it_is = (score_model(kind, net, images, batch_norm=mode) for mode in (None, "eval"))  # type: ignore[arg-type]
    assert (by_default == as_it_is).all()


def test_a_score_of_one_network_knows_the_batch_norm_quirk_or_refuses_it(net: nn.Module, images: Images) -> None:
    for kind in SNAPSHOTS:
        quirk = score_model(kind, net, images, batch_norm="lth_diet", batch_size=32)
        assert (quirk != score_model(kind, net, images, batch_size=32)).any(), kind
    with pytest.raises(DataError, match="'grand' cannot be computed with batch_norm='lth_diet'"):
        score_model("grand", net, images, batch_norm="lth_diet")
    with pytest.raises(UnknownName, match="lth_diet"):
        score_model("el2n", net, images, batch_norm="lth")  # type: ignore[arg-type]


def test_bfloat16_scores_are_near_float32_ones(net: nn.Module, images: Images) -> None:
    exact, near = (score_model("el2n", net, images, precision=p) for p in ("float32", "bfloat16"))  # type: ignore[arg-type]
    np.testing.assert_allclose(near, exact, atol=0.05)


def test_a_barrier_score_is_the_given_numbers_averaged_over_pairs(images: Images) -> None:
    values = np.random.default_rng(0).normal(size=(3, len(images)))
    scores = score_model("barrier", None, images, options=ScoreOptions(values=values))
    np.testing.assert_allclose(scores, values.mean(axis=0), rtol=1e-5)
    with pytest.raises(DataError, match="no barriers"):
        score_model("barrier", None, images)
    with pytest.raises(DataError, match="shape"):
        score_model("barrier", None, images, options=ScoreOptions(values=values[:, :5]))
    values[:, 7] = np.inf
    with pytest.raises(DataError, match="inf at example 7"):
        score_model("barrier", None, images, options=ScoreOptions(values=values))


def test_random_scores_follow_the_seed(images: Images) -> None:
    first, again, other = (score_model("random", None, images, seed=seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("kind", ["forgetting", "aum", "variance"])
def test_scores_of_a_training_refuse_a_single_network(kind: str, net: nn.Module, images: Images) -> None:
    with pytest.raises(DataError, match="the record of a training"):
        score_model(kind, net, images)


def test_a_missing_network_is_refused(images: Images) -> None:
    with pytest.raises(DataError, match="no network"):
        score_model("el2n", None, images)


def test_a_diverged_network_is_refused(net: nn.Module, images: Images) -> None:
    with torch.no_grad():
        net.fc.bias[0] = torch.nan  # type: ignore[union-attr, index]
    with pytest.raises(DataError, match="no score, the first nan at example 0"):
        score_model("el2n", net, images)


def test_features_are_refused_of_a_network_without_a_last_linear_layer(images: Images) -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 8), nn.Flatten())
    assert score_model("el2n", net, images).shape == (96,)
    with pytest.raises(DataError, match="last linear layer"):
        score_model("grand_last", net, images)


def test_another_package_adds_a_score_with_one_verb(images: Images) -> None:
    class Brightness(Score):
        needs = "nothing"

        def score(self, subject: Subject) -> np.ndarray:
            return subject.images.pixels.float().mean((1, 2, 3)).numpy()

    SCORES._known["brightness"] = Brightness
    try:
        assert score_model("brightness", None, images).argmax() == images.pixels.float().mean((1, 2, 3)).argmax()
    finally:
        del SCORES._known["brightness"]
