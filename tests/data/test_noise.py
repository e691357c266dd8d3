"""Label noise: exact counts, laws, errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ticketdiet.core.errors import DataError, UnknownName
from ticketdiet.data.noise import NoiseKind, add_label_noise, noise_names, use_given_labels

labels_of = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(lambda values: np.array(values, dtype=np.int64))
fractions = st.floats(0, 1)
seeds = st.integers(0, 2**40)


@given(labels_of, fractions, seeds, st.sampled_from(["symmetric", "pair_flip"]))
def test_exactly_the_rounded_share_changes(labels: np.ndarray, fraction: float, seed: int, kind: NoiseKind) -> None:
    noisy = add_label_noise(labels, fraction=fraction, num_classes=5, kind=kind, seed=seed)
    assert noisy.changed.sum() == round(fraction * len(labels))
    assert np.array_equal(noisy.changed, noisy.labels != labels)
    assert np.array_equal(noisy.clean, labels)
    assert noisy.labels.min() >= 0
    assert noisy.labels.max() < 5


@given(labels_of, fractions, fractions, seeds, st.sampled_from(["symmetric", "symmetric_all", "pair_flip"]))
def test_more_noise_contains_less_noise(
    labels: np.ndarray, one: float, other: float, seed: int, kind: NoiseKind
) -> None:
    little, much = (
        add_label_noise(labels, fraction=fraction, num_classes=5, kind=kind, seed=seed)
        for fraction in sorted((one, other))
    )
    assert np.all(much.changed[little.changed])
    assert np.array_equal(much.labels[little.changed], little.labels[little.changed])


@given(labels_of, fractions, seeds)
def test_noise_is_a_function_of_its_seed_and_leaves_its_input_alone(
    labels: np.ndarray, fraction: float, seed: int
) -> None:
    before = labels.copy()
    first, second = (add_label_noise(labels, fraction=fraction, num_classes=5, seed=seed) for _ in range(2))
    assert np.array_equal(first.labels, second.labels)
    assert np.array_equal(labels, before)
    assert labels.flags.writeable


def test_symmetric_noise_is_uniform_over_the_other_labels() -> None:
    noisy = add_label_noise(np.full(40_000, 2), fraction=1, num_classes=5)
    counts = np.bincount(noisy.labels, minlength=5)
    assert counts[2] == 0
    np.testing.assert_allclose(counts[[0, 1, 3, 4]], 10_000, rtol=0.05)


def test_published_symmetric_noise_keeps_one_label_in_num_classes_by_chance() -> None:
    noisy = add_label_noise(np.full(40_000, 2), fraction=0.5, num_classes=5, kind="symmetric_all")
    assert noisy.changed.mean() == pytest.approx(0.5 * 4 / 5, rel=0.03)


def test_a_pair_flip_goes_to_the_next_class_and_round() -> None:
    noisy = add_label_noise(np.array([0, 1, 2]), fraction=1, num_classes=3, kind="pair_flip")
    assert noisy.labels.tolist() == [1, 2, 0]


def test_given_labels_come_from_an_array_or_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "people.npy", np.array([1, 1, 0], dtype=np.uint8))
    for given_labels in (tmp_path / "people.npy", str(tmp_path / "people.npy"), np.array([1, 1, 0])):
        noisy = use_given_labels(np.array([1, 0, 0]), given_labels, num_classes=2)
        assert noisy.labels.tolist() == [1, 1, 0]
        assert noisy.labels.dtype == np.int64
        assert noisy.changed.tolist() == [False, True, False]
        assert len(noisy) == 3


def test_the_clean_labels_are_a_copy() -> None:
    labels = np.array([0, 1])
    noisy = add_label_noise(labels, fraction=0.5, num_classes=2)
    labels[:] = 1
    assert noisy.clean.tolist() == [0, 1]


@pytest.mark.parametrize("as_given", [np.asarray, torch.as_tensor, list, tuple])
def test_labels_come_as_array_tensor_or_sequence(as_given: Callable[[object], Any]) -> None:
    clean, people = [0, 1, 2, 1], [0, 2, 2, 1]
    expected = add_label_noise(np.array(clean), fraction=0.5, num_classes=3, seed=4)
    noisy = add_label_noise(as_given(clean), fraction=0.5, num_classes=3, seed=4)
    assert np.array_equal(noisy.labels, expected.labels)
    assert use_given_labels(as_given(clean), as_given(people), num_classes=3).changed.tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_classes": "3"}, "num_classes='3'"),
        ({"num_classes": 2.5}, r"num_classes=2\.5"),
        ({"seed": 1.5}, r"seed=1\.5(.|\n)*an integer"),
        ({"seed": None}, "seed=None"),
        ({"labels": [[0], [1, 2]]}, "the labels of type list, which make no array"),
        ({"labels": torch.tensor([0.0, 1.0])}, "dtype float32"),
        ({"labels": []}, "shape"),
        ({"labels": torch.tensor([], dtype=torch.int64)}, "at least one"),
    ],
)
def test_what_is_no_label_class_count_or_seed_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        add_label_noise(**{"labels": [0, 1], "fraction": 0.5, "num_classes": 3, **changed})


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan"), "a", None, True])
def test_a_fraction_outside_zero_and_one_is_refused(fraction: Any) -> None:
    with pytest.raises(DataError, match="a share in"):
        add_label_noise(np.array([0, 1]), fraction=fraction, num_classes=2)


def test_other_mistakes_are_refused(tmp_path: Path) -> None:
    labels = np.array([0, 1, 2])
    with pytest.raises(UnknownName, match="pair_flip, symmetric, symmetric_all"):
        add_label_noise(labels, fraction=0.5, num_classes=3, kind="pairflip")
    with pytest.raises(DataError, match="labels from 0 to 2"):
        add_label_noise(labels, fraction=0.5, num_classes=2)
    with pytest.raises(DataError, match="2 or more"):
        add_label_noise(np.array([0]), fraction=0.5, num_classes=1)
    with pytest.raises(DataError, match="2 labels for 3 images"):
        use_given_labels(labels, np.array([0, 1]), num_classes=3)
    with pytest.raises(DataError, match="dtype float64"):
        use_given_labels(labels, np.array([0.0, 1.0, 2.0]), num_classes=3)
    with pytest.raises(DataError, match=r"nowhere\.npy cannot be read"):
        use_given_labels(labels, tmp_path / "nowhere.npy", num_classes=3)
    np.savez(tmp_path / "several.npz", labels)
    with pytest.raises(DataError, match="several arrays"):
        use_given_labels(labels, tmp_path / "several.npz", num_classes=3)
    np.save(tmp_path / "objects.npy", np.array([0, None, 1], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read"):
        use_given_labels(labels, tmp_path / "objects.npy", num_classes=3)
    assert noise_names() == ["pair_flip", "symmetric", "symmetric_all"]
