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

from ticketdiet.core.errors import DataError, UnknownName, UserError
from ticketdiet.data.noise import (
    NOISES,
    FractionNoise,
    LabelNoise,
    add_label_noise,
    make_noisy,
    noise_names,
    use_given_labels,
)

labels_of = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(lambda values: np.array(values, dtype=np.int64))
fractions = st.floats(0, 1)
seeds = st.integers(0, 2**40)


@given(labels_of, fractions, seeds, st.sampled_from(["symmetric", "pair_flip"]))
def test_exactly_the_rounded_share_changes(labels: np.ndarray, fraction: float, seed: int, kind: str) -> None:
    noisy = add_label_noise(labels, fraction=fraction, num_classes=5, kind=kind, seed=seed)
    assert noisy.changed.sum() == round(fraction * len(labels))
    assert np.array_equal(noisy.changed, noisy.labels != labels)
    assert np.array_equal(noisy.clean, labels)
    assert noisy.labels.min() >= 0
    assert noisy.labels.max() < 5


@given(labels_of, fractions, fractions, seeds, st.sampled_from(["symmetric", "symmetric_all", "pair_flip"]))
def test_more_noise_contains_less_noise(labels: np.ndarray, one: float, other: float, seed: int, kind: str) -> None:
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
        ({"labels": [[0], [1, 2]]}, "the labels of type list, which cannot be converted"),
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
    with pytest.raises(DataError, match="a fraction in"):
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
    assert noise_names() == ["file", "pair_flip", "symmetric", "symmetric_all"]


@pytest.mark.parametrize("kind", ["symmetric", "symmetric_all", "pair_flip"])
def test_noise_by_name_with_options_is_the_noise_of_the_function(kind: str) -> None:
    labels = np.arange(60) % 4
    expected = add_label_noise(labels, fraction=0.4, num_classes=4, kind=kind, seed=3)
    found = make_noisy(labels, kind, num_classes=4, seed=3, options={"fraction": 0.4})
    assert np.array_equal(found.labels, expected.labels)
    assert np.array_equal(found.changed, expected.changed)


def test_noise_of_a_file_is_its_labels_whatever_the_seed(tmp_path: Path) -> None:
    np.save(tmp_path / "people.npy", np.array([1, 1, 0]))
    options = {"path": str(tmp_path / "people.npy")}
    assert not NOISES.get("file").is_drawn
    for seed in (0, 1):
        found = make_noisy([1, 0, 0], "file", num_classes=2, seed=seed, options=options)
        assert (found.labels.tolist(), found.changed.tolist()) == ([1, 1, 0], [False, True, False])
    with pytest.raises(DataError, match=r"Got 3 labels for 2 images in .*people\.npy"):
        make_noisy([1, 0], "file", num_classes=2, options=options)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("symmetric", {"fracton": 0.5}, "label noise 'symmetric' has no option 'fracton'.*did you mean 'fraction'"),
        ("symmetric", {"fraction": 2}, "got 2 for its option 'fraction'"),
        ("file", {}, "label noise 'file' lacks its option 'path'"),
        ("file", {"path": "x.npy", "fraction": 0.5}, "label noise 'file' has no option 'fraction'"),
    ],
)
def test_an_option_that_a_kind_does_not_take_is_refused(kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"(?s){message}"):
        make_noisy([0, 1], kind, num_classes=2, options=options)


class ToZero(FractionNoise):
    def replacements(self, clean: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
        return np.zeros_like(clean)


class Outside(LabelNoise):
    def labels(self, clean: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
        clean += num_classes
        return clean


def test_a_kind_of_another_package_is_used_and_checked() -> None:
    labels = np.arange(40) % 4
    with NOISES.temporarily("to_zero", ToZero):
        noisy = add_label_noise(labels, fraction=0.5, num_classes=4, kind="to_zero")
        assert "to_zero" in noise_names()
    chosen = add_label_noise(labels, fraction=0.5, num_classes=4).changed
    assert np.array_equal(noisy.labels, np.where(chosen, 0, labels))
    with NOISES.temporarily("outside", Outside), pytest.raises(DataError, match="label noise 'outside'"):
        make_noisy(labels, "outside", num_classes=4)
    assert labels.max() == 3
