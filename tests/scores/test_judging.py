"""Stability, noise detection, the permuted control and the agreement of gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from torch import nn

from ticketdiet.core.errors import DataError, UnknownName
from ticketdiet.core.values import Images, Scores
from ticketdiet.scores.agreement import AgreementBatchNorm, gradient_agreement
from ticketdiet.scores.given import permute_scores
from ticketdiet.scores.noise import judge_noise_detection
from ticketdiet.scores.stability import rank_stability, spearman
from ticketdiet.training.batches import prepare

from .conftest import SmallNet


def _noisy_scores(models: int, noise: float) -> Scores:
    generator = np.random.default_rng(0)
    truth = generator.normal(size=400)
    return Scores((truth + noise * generator.normal(size=(models, 400))).astype(np.float32), "el2n")


def test_stability_grows_with_the_number_of_models_and_ends_at_one() -> None:
    rows = rank_stability(_noisy_scores(6, 0.7), size=100)
    assert [row.models for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[0].spearman < rows[2].spearman < rows[5].spearman
    assert rows[5].spearman == pytest.approx(1)
    assert rows[5].overlap == 1
    assert rows[3].held_out_spearman is None
    assert rows[0].held_out_spearman is not None
    assert rows[0].held_out_spearman < rows[0].spearman


def test_models_that_agree_are_stable_at_once() -> None:
    rows = rank_stability(_noisy_scores(4, 0.0), size=50, models=(1, 2))
    assert all(row.spearman == pytest.approx(1) and row.overlap == 1 for row in rows)


def test_spearman_matches_scipy_and_knows_infinity_and_constants() -> None:
    a, b = np.random.default_rng(0).integers(0, 9, (2, 100)).astype(float)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert spearman(np.array([1.0, 2, np.inf]), np.array([0.0, 5, 6])) == pytest.approx(1)
    assert spearman(np.ones(5), np.arange(5.0)) == 0


def test_stability_of_a_single_model_is_refused() -> None:
    with pytest.raises(DataError, match="two networks or more"):
        rank_stability(_noisy_scores(1, 0.1), size=10)


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


def test_permuted_scores_keep_their_distribution_and_lose_their_examples() -> None:
    scores = _noisy_scores(3, 0.1)
    permuted = permute_scores(scores, seed=1)
    assert np.sort(permuted.mean).tolist() == np.sort(scores.mean).tolist()
    assert abs(spearman(permuted.mean, scores.mean)) < 0.2
    assert permuted.recipe["permuted"] == 1
    assert (permute_scores(scores, seed=1).matrix == permuted.matrix).all()


@pytest.mark.parametrize("batch_norm", ["recalibrate", "eval"])
def test_agreement_matches_cosines_of_plain_gradients(
    net: SmallNet, images: Images, batch_norm: AgreementBatchNorm
) -> None:
    everything = np.arange(len(images))
    (found,) = gradient_agreement(
        net, images, {"all": everything[:12]}, batches=3, batch_size=4, seed=2, batch_norm=batch_norm
    )
    if batch_norm == "recalibrate":  # by hand: all 96 images are one batch
        with torch.no_grad():
            entering = net.conv(prepare(images.pixels, images))
        net.bn.running_mean, net.bn.running_var = entering.mean((0, 2, 3)), entering.var((0, 2, 3), unbiased=True)
    # The oracle: the three disjoint batches that the seed deals, one plain backward pass each, in float64:
    # in float32 its strided convolution of few channels could corrupt memory (see training/convolutions.py).
    from ticketdiet.core.seeds import numpy_generator

    dealt, gradients = numpy_generator(2, "agreement").permutation(everything[:12]), []
    exact = net.double().eval()
    for where in np.split(dealt, 3):
        exact.zero_grad()
        batch = images.take(where)
        nn.functional.cross_entropy(exact(prepare(batch.pixels, batch).double()), batch.labels).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in exact.parameters() if p.grad is not None]))
    assert (found.batches, found.rounds, found.batch_norm) == (3, 1, batch_norm)
    stacked = torch.nn.functional.normalize(torch.stack(gradients), dim=1)
    cosines = stacked @ stacked.T
    assert found.mean_cosine == pytest.approx(float((cosines.sum() - 3) / 6), abs=1e-5)
    assert found.mean_norm == pytest.approx(float(torch.stack(gradients).norm(dim=1).mean()), rel=1e-4)


def test_equal_examples_agree_fully_and_the_network_is_left_alone(net: nn.Module, images: Images) -> None:
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    same = images.take(np.zeros(32, dtype=np.int64))
    (found,) = gradient_agreement(net, same, {"same": np.arange(32)}, batches=4, batch_size=16)
    assert found.mean_cosine == pytest.approx(1, abs=1e-6)
    assert (found.batches, found.rounds) == (2, 2)
    assert net.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_the_size_of_a_subset_does_not_make_its_batches_agree() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (1024,), generator=generator)
    images = Images(torch.randn(1024, 200, generator=generator), labels, ("a", "b"))
    chance = nn.Linear(200, 2, bias=False)
    nn.init.zeros_(
        chance.weight
    )  # at even odds the gradients of noise are noise: disjoint batches have nothing in common
    few, every = gradient_agreement(chance, images, {"few": np.arange(64), "all": np.arange(1024)}, batch_size=16)
    assert (few.batches, few.rounds) == (every.batches, every.rounds) == (4, 5)
    assert abs(few.mean_cosine) < 0.05  # with a quarter of the examples in common it would be a quarter
    assert abs(every.mean_cosine) < 0.05


def test_an_unknown_mode_of_agreement_is_refused(net: nn.Module, images: Images) -> None:
    with pytest.raises(UnknownName, match="recalibrate"):
        gradient_agreement(net, images, {"all": np.arange(96)}, batch_size=16, batch_norm="batch")  # type: ignore[arg-type]


def test_a_subset_smaller_than_a_batch_is_refused(net: nn.Module, images: Images) -> None:
    with pytest.raises(DataError, match="smallest subset"):
        gradient_agreement(net, images, {"few": np.arange(20)}, batch_size=16)
