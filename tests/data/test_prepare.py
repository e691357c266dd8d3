"""Pooling, proportional choice, validation: laws and hand-made oracles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketdiet.core.errors import DataError
from ticketdiet.data.prepare import average_pool, channel_statistics, choose_limit, proportional_order, take_validation

labels_of = st.lists(st.integers(0, 4), min_size=1, max_size=80).map(lambda values: np.array(values, dtype=np.int64))
seeds = st.integers(0, 2**40)


@given(labels_of, seeds)
def test_every_beginning_of_the_order_holds_the_classes_in_proportion_within_one(labels: np.ndarray, seed: int) -> None:
    order = proportional_order(labels, seed, "limit")
    assert sorted(order) == list(range(len(labels)))
    shares = np.bincount(labels, minlength=5) / len(labels)
    for count in range(len(labels) + 1):
        held = np.bincount(labels[order[:count]], minlength=5)
        # Each class is within one half of the same cut; the cut itself is off by half the classes over n at most.
        assert np.all(np.abs(held - shares * count) <= 0.5 + shares * 2.5 + 1e-9)


@given(labels_of, seeds, st.data())
def test_a_smaller_limit_is_contained_in_a_larger_one(labels: np.ndarray, seed: int, data: st.DataObject) -> None:
    large = data.draw(st.integers(1, len(labels)))
    small = data.draw(st.integers(1, large))
    chosen = choose_limit(labels, small, seed), choose_limit(labels, large, seed)
    assert set(chosen[0]) <= set(chosen[1])
    assert list(chosen[1]) == sorted(chosen[1])
    assert len(chosen[1]) == large


@given(labels_of, seeds)
def test_no_limit_keeps_everything(labels: np.ndarray, seed: int) -> None:
    assert choose_limit(labels, None, seed).tolist() == list(range(len(labels)))


@given(st.integers(4, 200), st.floats(0.05, 0.9), seeds)
def test_validation_and_the_rest_are_a_partition_of_the_exact_share(n: int, share: float, seed: int) -> None:
    count = round(share * n)
    if count in (0, n):
        return
    kept, aside = take_validation(np.arange(n) % 3, share, seed)
    assert len(aside) == count
    assert sorted([*kept, *aside]) == list(range(n))


def test_a_share_and_its_count_choose_the_same_validation() -> None:
    labels = np.arange(100) % 7
    assert take_validation(labels, 0.2, 5)[1].tolist() == take_validation(labels, 20, 5)[1].tolist()


@given(st.sampled_from([1, 2, 3, 4, 6, 12]), st.integers(0, 1000))
def test_pooling_is_the_mean_of_blocks_rounded_halves_up(resolution: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (3, 2, 12, 24), dtype=np.uint8)
    factor = 12 // resolution
    blocks = pixels.reshape(3, 2, resolution, factor, 24 // factor, factor).astype(np.float64)
    expected = np.floor(blocks.mean(axis=(3, 5)) + 0.5 + 1e-12)
    assert np.array_equal(average_pool(pixels, resolution), expected)


def test_pooling_agrees_with_torch() -> None:
    import torch

    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
    pooled = torch.nn.functional.avg_pool2d(torch.from_numpy(pixels).double(), 2)
    assert np.array_equal(average_pool(pixels, 16), torch.floor(pooled + 0.5).numpy())


def test_pooling_refuses_a_width_that_does_not_fit() -> None:
    with pytest.raises(DataError, match="one of: 2, 4"):
        average_pool(np.zeros((1, 1, 4, 6), dtype=np.uint8), 1)


def test_statistics_are_those_of_numpy() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5000, 2, 3, 3), dtype=np.uint8)
    mean, std = channel_statistics(pixels)
    np.testing.assert_allclose(mean, (pixels / 255).mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, (pixels / 255).std(axis=(0, 2, 3)), rtol=1e-12)
