"""Measured barriers against numpy by hand, and laws."""

import copy
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import nn

from ticketdiet.core.errors import UnknownName, UserError
from ticketdiet.core.values import Images
from ticketdiet.landscape import measurement as subject
from ticketdiet.landscape.barrier import heights_above_chord
from ticketdiet.landscape.measurement import measure_barrier, measure_pairs
from ticketdiet.training import evaluation
from ticketdiet.training.batch_norm import recalibrate
from ticketdiet.training.evaluation import Evaluation, evaluate
from ticketdiet.training.modes import BatchNormPolicy

from .conftest import MakeNetwork, Pair, WeightsOf


def softmax_loss(x: np.ndarray, y: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    logits = x @ weight.T + bias
    logits -= logits.max(1, keepdims=True)
    return np.asarray(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(y)), y])


def test_two_linear_softmax_models_agree_with_numpy_by_hand() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 6)), rng.integers(0, 4, 30)
    (wa, ba), (wb, bb) = [(rng.normal(size=(4, 6)), rng.normal(size=4)) for _ in range(2)]
    to = lambda w, b: {"weight": torch.tensor(w).float(), "bias": torch.tensor(b).float()}  # noqa: E731
    images = Images(torch.tensor(x).float(), torch.tensor(y), tuple("abcd"))
    barrier = measure_barrier(nn.Linear(6, 4), to(wa, ba), to(wb, bb), images, alphas=(0.25, 0.5, 0.75))
    ends = [softmax_loss(x, y, wa, ba), softmax_loss(x, y, wb, bb)]
    inner = [softmax_loss(x, y, (1 - t) * wa + t * wb, (1 - t) * ba + t * bb) for t in (0.25, 0.5, 0.75)]
    expected = inner[1] - (ends[0] + ends[1]) / 2
    np.testing.assert_allclose(barrier.per_example.numpy(), expected, atol=1e-5)
    assert barrier.mean == pytest.approx(expected.mean(), abs=1e-6)
    chord = [(1 - t) * ends[0].mean() + t * ends[1].mean() for t in (0.25, 0.5, 0.75)]
    assert barrier.max == pytest.approx(max(i.mean() - c for i, c in zip(inner, chord, strict=True)), abs=1e-6)
    assert barrier.connected_fraction(0.0) == pytest.approx((expected <= 0).mean())
    assert barrier.alphas == (0.0, 0.25, 0.5, 0.75, 1.0)


def test_exchanging_the_networks_changes_nothing_but_the_direction(pair: Pair, images: Images) -> None:
    model, a, b = pair
    forth, back = measure_barrier(model, a, b, images), measure_barrier(model, b, a, images)
    assert torch.equal(forth.per_example, back.per_example)
    assert torch.equal(forth.losses, back.losses.flip(0))
    assert forth.error_barrier == pytest.approx(back.error_barrier)


@pytest.mark.parametrize("policy", get_args(BatchNormPolicy))
def test_a_network_has_no_barrier_to_itself(pair: Pair, images: Images, policy: BatchNormPolicy) -> None:
    model, a, _ = pair
    barrier = measure_barrier(model, a, a, images, batch_norm=policy)
    assert not barrier.per_example.any()
    assert barrier.connected_fraction(0.0) == 1
    assert barrier.mean == barrier.max == barrier.error_barrier == 0


def test_the_mean_of_the_examples_is_the_height_of_the_mean_at_the_midpoint(pair: Pair, images: Images) -> None:
    barrier = measure_barrier(*pair, images, alphas=(0.5,))
    assert barrier.mean == pytest.approx(barrier.max, abs=1e-12)
    assert barrier.mean == pytest.approx(float(heights_above_chord(barrier.loss, barrier.alphas)[1]), abs=1e-12)


def test_permuted_examples_have_permuted_barriers(pair: Pair, images: Images) -> None:
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(3))
    plain = measure_barrier(*pair, images).per_example
    torch.testing.assert_close(measure_barrier(*pair, images.take(order)).per_example, plain[order])


def test_the_ends_are_the_checkpoints_losses_to_the_bit(pair: Pair, images: Images) -> None:
    model, a, b = pair
    barrier = measure_barrier(model, a, b, images)
    for row, end in ((0, a), (-1, b)):
        alone = copy.deepcopy(model)
        assert torch.equal(barrier.losses[row], evaluate(alone, images, weights=end).losses)


def test_the_callers_network_stays_as_it_was(pair: Pair, images: Images, weights_of: WeightsOf) -> None:
    model, a, b = pair
    model.train()
    before = weights_of(model)
    for policy in get_args(BatchNormPolicy):
        measure_barrier(model, a, b, images, batch_norm=policy)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_batch_policy_is_what_train_mode_says_of_one_batch(pair: Pair, images: Images) -> None:
    model, a, b = pair
    barrier = measure_barrier(model, a, b, images, batch_norm="batch", batch_size=1000)
    model.load_state_dict(a)
    with torch.no_grad():
        logits = model.train()(images.pixels)
    torch.testing.assert_close(barrier.losses[0], nn.functional.cross_entropy(logits, images.labels, reduction="none"))


def test_without_batch_norm_all_policies_agree(network: MakeNetwork, weights_of: WeightsOf) -> None:
    a, b = (network(seed, "lenet_300_100", 9) for seed in (1, 2))
    generator = torch.Generator().manual_seed(0)
    images = Images(torch.randn(20, 3, 8, 8, generator=generator), torch.arange(20) % 5, tuple("abcde"))
    first, *others = (
        measure_barrier(a, weights_of(a), weights_of(b), images, batch_norm=policy).per_example
        for policy in get_args(BatchNormPolicy)
    )
    for other in others:
        torch.testing.assert_close(other, first, rtol=1e-5, atol=1e-6)


def stripes(count: int = 600) -> Images:
    """Images of two classes that differ in mean and scale, so that a batch of one class normalises itself away."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 2
    pixels = torch.randn(count, 3, 8, 8, generator=generator) * (1 + 3 * labels)[:, None, None, None]
    return Images(pixels + 2 * labels[:, None, None, None], labels, tuple("abcde"))


def test_under_the_batch_policy_images_sorted_by_class_have_the_losses_of_mixed_ones(pair: Pair) -> None:
    mixed = stripes()
    by_class = mixed.labels.argsort(stable=True)
    model, a, b = pair
    plain, of_sorted = (
        measure_barrier(model, a, b, images, batch_norm="batch", batch_size=100).losses
        for images in (mixed, mixed.take(by_class))
    )
    in_order = plain[:, by_class]
    spread = in_order.double().std(1)
    # Batches of one class have statistics of their own; random ones differ by their sampling error alone.
    assert bool(((of_sorted - in_order).abs().double().mean(1) < 0.2 * spread).all())
    for label in (0, 1):
        chosen = mixed.labels[by_class] == label
        torch.testing.assert_close(of_sorted[:, chosen].mean(1), in_order[:, chosen].mean(1), rtol=0.02, atol=0.02)


def test_the_batch_policy_returns_the_examples_in_the_order_of_the_images(pair: Pair) -> None:
    images, model = stripes(90), pair[0]
    found = measure_barrier(*pair, images, batch_norm="batch", batch_size=90)  # one batch: order decides nothing
    model.load_state_dict(pair[1])
    with torch.no_grad():
        logits = model.train()(images.pixels)
    torch.testing.assert_close(found.losses[0], nn.functional.cross_entropy(logits, images.labels, reduction="none"))
    assert torch.equal(found.correct[0], logits.argmax(1) == images.labels)


@pytest.mark.parametrize("position", [0, -1])
def test_statistics_are_recalibrated_on_the_calibration_images_and_not_on_those_measured(
    pair: Pair, position: int
) -> None:
    train = stripes()
    one_class = train.take((train.labels == 1).nonzero()[:, 0])
    found = measure_barrier(*pair, one_class, batch_norm="recalibrate", calibration=train)
    alone = copy.deepcopy(pair[0])
    alone.load_state_dict(pair[1:][position])
    recalibrate(alone, train)
    assert torch.equal(found.losses[position], evaluate(alone, one_class).losses)
    on_themselves = measure_barrier(*pair, one_class, batch_norm="recalibrate")
    assert not torch.allclose(on_themselves.losses, found.losses, atol=0.1)


def test_the_batch_size_follows_the_device_unless_it_is_part_of_the_number(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, sizes = pair[0], set[int]()
    images = stripes(500)
    model.register_forward_pre_hook(lambda _, inputs: sizes.add(len(inputs[0])))
    of_policy: dict[BatchNormPolicy, set[int]] = {
        "interpolate": {70, 10},
        "batch": {250},
        "recalibrate": {70, 10, 250},
    }
    for policy, expected in of_policy.items():
        sizes.clear()
        monkeypatch.setattr(evaluation, "CPU_BATCH", 70)
        list(measure_pairs(model, {"a": pair[1], "b": pair[2]}, images, batch_norm=policy))
        assert sizes == expected


def test_the_denser_mask_applies_at_the_midpoint(pair: Pair, images: Images) -> None:
    model, a, b = pair
    full = {"fc.weight": torch.ones(5, 16)}
    empty = {"fc.weight": torch.zeros(5, 16)}
    plain = measure_barrier(model, a, b, images).losses
    assert torch.equal(measure_barrier(model, a, b, images, mask_a=empty, mask_b=full).losses, plain)
    both = measure_barrier(model, a, b, images, mask_a=empty, mask_b=empty).losses
    assert torch.equal(both[[0, 2]], plain[[0, 2]])
    assert not torch.equal(both[1], plain[1])


def test_pairs_are_the_single_barriers_with_each_network_evaluated_once(
    pair: Pair, images: Images, monkeypatch: pytest.MonkeyPatch, network: MakeNetwork, weights_of: WeightsOf
) -> None:
    model, a, b = pair
    c = weights_of(network(3))
    alone = [measure_barrier(model, x, y, images) for x, y in ((a, b), (a, c), (b, c))]
    looks = []

    def counted(*args: Any, **options: Any) -> Evaluation:
        looks.append(1)
        return evaluate(*args, **options)

    monkeypatch.setattr(subject, "evaluate", counted)
    found = list(measure_pairs(model, {"a": a, "b": b, "c": c}, images))
    assert [(pair.a, pair.b) for pair in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    for kept, single in zip(found, alone, strict=True):
        assert kept.alphas == single.alphas
        assert torch.equal(kept.per_example, single.per_example)
        assert torch.equal(kept.loss, single.losses.double().mean(1))
        assert torch.equal(kept.error, 1 - single.correct.double().mean(1))
    assert len(looks) == 3 + 3


def test_bfloat16_is_near_float32(pair: Pair, images: Images) -> None:
    exact, coarse = (measure_barrier(*pair, images, precision=p) for p in ("float32", "bfloat16"))
    assert coarse.mean == pytest.approx(exact.mean, abs=0.1 + 0.1 * abs(exact.mean))


def test_a_negative_tolerance_is_refused(pair: Pair, images: Images) -> None:
    with pytest.raises(UserError, match=r"tolerance is -0\.1"):
        measure_barrier(*pair, images).connected_fraction(-0.1)


@pytest.mark.parametrize("alpha", [-0.1, 1.5, float("nan")])
def test_a_point_outside_the_line_is_refused(pair: Pair, images: Images, alpha: float) -> None:
    with pytest.raises(UserError, match="alpha"):
        measure_barrier(*pair, images, alphas=(alpha,))


def test_an_unknown_policy_and_an_empty_data_set_are_refused(pair: Pair, images: Images) -> None:
    with pytest.raises(UnknownName, match="recalibrate"):
        measure_barrier(*pair, images, batch_norm="recalibrat")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no images"):
        measure_barrier(*pair, images.take(torch.tensor([], dtype=torch.int64)))


@pytest.mark.cuda
@pytest.mark.parametrize("policy", get_args(BatchNormPolicy))
def test_a_barrier_on_a_gpu_is_that_on_the_cpu(pair: Pair, images: Images, policy: BatchNormPolicy) -> None:
    model, a, b = pair
    on_cpu = measure_barrier(model, a, b, images, alphas=(0.25,), batch_norm=policy)
    on_gpu = measure_barrier(copy.deepcopy(model).cuda(), a, b, images, alphas=(0.25,), batch_norm=policy)
    assert on_gpu.losses.device.type == on_gpu.per_example.device.type == "cpu"
    torch.testing.assert_close(on_gpu.losses, on_cpu.losses, rtol=1e-4, atol=1e-4)
