from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ticketdiet.core.errors import DataError, UnknownName
from ticketdiet.core.values import Scores
from ticketdiet.data.subsets import choose_subset, random_like, subset_facts

SIZED = ("random", "easiest", "hardest", "window", "stratified", "mixture")
NESTING = ("random", "easiest", "hardest", "stratified", "mixture")


def _problem(count: int, levels: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores with many ties, and labels in equal shares."""
    generator = np.random.default_rng(seed)
    return generator.integers(0, levels, count).astype(np.float64), generator.permutation(np.arange(count) % classes)


def test_easiest_are_the_lowest_and_hardest_the_highest() -> None:
    scores = np.array([0.5, 0.1, 0.9, 0.3, np.inf])
    assert choose_subset(scores, "easiest", 2).tolist() == [1, 3]
    assert choose_subset(scores, "hardest", 2).tolist() == [2, 4]


def test_a_window_is_a_stretch_of_the_ascending_order() -> None:
    scores = np.array([5.0, 4, 3, 2, 1, 0])
    assert choose_subset(scores, "window", 2, offset=1).tolist() == [3, 4]
    everything = np.random.default_rng(0).integers(0, 4, 50)
    parts = [choose_subset(everything, "window", 10, offset=start) for start in range(0, 50, 10)]
    assert np.sort(np.concatenate(parts)).tolist() == list(range(50))


def test_easiest_and_hardest_split_tied_scores_without_overlap() -> None:
    scores, _ = _problem(100, 3, 2)
    easy, hard = choose_subset(scores, "easiest", 40), choose_subset(scores, "hardest", 60)
    assert np.sort(np.concatenate([easy, hard])).tolist() == list(range(100))


def test_ties_are_broken_by_the_seed_and_not_by_index() -> None:
    tied = np.zeros(1000)
    first, second = choose_subset(tied, "easiest", 100, seed=0), choose_subset(tied, "easiest", 100, seed=1)
    assert first.tolist() != second.tolist()
    assert 300 < first.mean() < 700


@pytest.mark.parametrize("given_as", [np.asarray, torch.as_tensor, list])
def test_scores_come_as_array_tensor_or_list(given_as: object) -> None:
    assert choose_subset(given_as([3.0, 1.0, 2.0]), "easiest", 1).tolist() == [1]  # type: ignore[operator]


def test_a_scores_value_is_averaged_over_its_models() -> None:
    value = Scores(np.array([[0.0, 1, 5], [5.0, 1, 0]], dtype=np.float32), "el2n")
    assert choose_subset(value, "easiest", 1).tolist() == [1]


@given(
    count=st.integers(20, 300),
    levels=st.sampled_from([1, 2, 7, 10**6]),
    kind=st.sampled_from(SIZED),
    balanced=st.booleans(),
    seed=st.integers(0, 5),
    data=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_every_subset_is_sorted_sized_deterministic_and_balanced_when_asked(
    count: int, levels: int, kind: str, balanced: bool, seed: int, data: st.DataObject
) -> None:
    classes = 4
    count -= count % classes
    scores, labels = _problem(count, levels, classes, seed)
    size = data.draw(st.integers(1, count))
    chosen = choose_subset(scores, kind, size, labels, balanced, seed)
    assert chosen.dtype == np.int64
    assert len(chosen) == size
    assert (np.diff(chosen) > 0).all()
    assert 0 <= chosen[0] <= chosen[-1] < count
    assert chosen.tolist() == choose_subset(scores, kind, size, labels, balanced, seed).tolist()
    if balanced:
        counts = np.bincount(labels[chosen], minlength=classes)
        assert counts.max() - counts.min() <= 1


@given(
    levels=st.sampled_from([1, 3, 10**6]),
    kind=st.sampled_from(NESTING),
    balanced=st.booleans(),
    strata=st.sampled_from([1, 7, 50]),
    mix=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    sizes=st.tuples(st.integers(1, 200), st.integers(1, 200)).map(sorted),
)
@settings(max_examples=150, deadline=None)
def test_a_larger_subset_contains_the_smaller_one_under_the_same_seed(
    levels: int, kind: str, balanced: bool, strata: int, mix: float, sizes: list[int]
) -> None:
    scores, labels = _problem(200, levels, 5)
    small, large = (
        choose_subset(scores, kind, size, labels, balanced, seed=3, strata=strata, mix=mix) for size in sizes
    )
    assert set(small) <= set(large)


@given(levels=st.sampled_from([1, 3, 10**6]), size=st.integers(1, 120), seed=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_unbalanced_easiest_matches_a_plain_sort(levels: int, size: int, seed: int) -> None:
    scores, _ = _problem(120, levels, 2, seed)
    chosen = choose_subset(scores, "easiest", size, seed=seed)
    assert sorted(scores[chosen]) == sorted(scores)[:size]


@pytest.mark.parametrize("levels", [1, 3, 10**6])
def test_stratified_takes_equally_from_every_quantile(levels: int) -> None:
    scores, _ = _problem(1000, levels, 2)
    chosen = choose_subset(scores, "stratified", 100, strata=10)
    if levels == 10**6:
        strata = np.argsort(np.argsort(scores))[chosen] // 100
        assert np.bincount(strata).tolist() == [10] * 10
    assert len(chosen) == 100


def test_strata_cut_through_ties_by_rank() -> None:
    scores = np.repeat([0.0, 1.0], [30, 70])
    chosen = choose_subset(scores, "stratified", 50, strata=4)
    # Stratum 2 holds 5 of the 30 zeros and 20 ones: 12 or 13 from each of the four, so 12 to 18 zeros.
    assert 12 <= (chosen < 30).sum() <= 18


def test_a_mixture_holds_the_easiest_and_random_others() -> None:
    scores = np.arange(1000.0)
    chosen = choose_subset(scores, "mixture", 100, mix=0.6)
    assert set(range(60)) <= set(chosen)
    assert len(chosen) == 100
    assert chosen.max() > 500


def test_a_share_takes_the_place_of_a_size() -> None:
    assert len(choose_subset(1000, "random", fraction=0.25)) == 250


def test_only_the_named_classes_are_candidates() -> None:
    labels = np.arange(100) % 10
    chosen = choose_subset(None, "random", 20, labels, classes=[2, 7])
    assert set(labels[chosen]) == {2, 7}
    assert choose_subset(None, "all", labels=labels, classes=[3]).tolist() == list(range(3, 100, 10))


def test_all_and_indices_need_no_size() -> None:
    assert choose_subset(5, "all").tolist() == [0, 1, 2, 3, 4]
    assert choose_subset(5, "indices", indices=[4, 0]).tolist() == [0, 4]


def test_which_class_gets_the_extra_example_is_seeded() -> None:
    labels = np.arange(100) % 10
    extras = [np.bincount(labels[choose_subset(None, "random", 11, labels, True, seed)]).argmax() for seed in range(20)]
    assert len(set(extras)) > 3


def test_a_balanced_window_shares_its_offset_out_over_the_classes() -> None:
    scores, labels = np.arange(100.0), np.arange(100) % 2
    chosen = choose_subset(scores, "window", 20, labels, True, offset=40)
    assert chosen.tolist() == list(range(40, 60))


def test_random_like_keeps_the_class_counts_of_its_reference() -> None:
    labels = np.random.default_rng(0).integers(0, 5, 500)
    reference = choose_subset(np.arange(500.0), "easiest", 77)
    control = random_like(reference, labels, seed=1)
    assert np.bincount(labels[control]).tolist() == np.bincount(labels[reference]).tolist()
    assert control.tolist() != reference.tolist()
    assert (np.diff(control) > 0).all()


def test_facts_say_what_a_subset_holds_and_misses() -> None:
    facts = subset_facts(np.array([0, 2]), [0, 1, 0, 2], [0.0, 1.0, 2.0, np.inf])
    assert facts.class_counts == (2, 0, 0)
    assert facts.class_totals == (2, 1, 1)
    assert facts.missing_classes == (1, 2)
    assert facts.fraction == 0.5
    assert facts.score_quantiles[0] == 0.0
    assert facts.score_quantiles[-1] == 2.0
    assert facts.all_quantiles[-1] == np.inf


BAD = {
    "a size above n": ({"scores": [1.0, 2.0], "size": 3}, "from 2 candidates"),
    "a size below one": ({"scores": [1.0, 2.0], "size": 0}, "size from 1 to 2"),
    "missing scores": ({"scores": 10, "kind": "easiest", "size": 3}, "no scores"),
    "missing labels": ({"scores": [1.0, 2.0], "size": 1, "balanced": True}, "no labels"),
    "nothing at all": ({"scores": None, "kind": "random", "size": 1}, "neither scores nor labels"),
    "a NaN": ({"scores": [1.0, float("nan")], "size": 1}, "first at example 1"),
    "minus infinity": ({"scores": [1.0, -float("inf")], "size": 1}, "NaN or -inf"),
    "a matrix of scores": ({"scores": np.zeros((2, 2)), "size": 1}, "shape"),
    "labels of another length": ({"scores": [1.0, 2.0], "size": 1, "labels": [0]}, "one score and one label"),
    "negative labels": ({"scores": [1.0], "size": 1, "labels": [-1], "balanced": True}, "from 0"),
    "a fraction above one": ({"scores": [1.0, 2.0], "fraction": 1.5}, "a fraction in"),
    "an empty fraction": ({"scores": [1.0, 2.0], "fraction": 0.01}, "A subset of 0"),
    "a window that overhangs": ({"scores": [1.0, 2.0], "kind": "window", "size": 2, "offset": 1}, "offset of at most"),
    "a negative offset": ({"scores": [1.0, 2.0], "kind": "window", "size": 1, "offset": -1}, "offset >= 0"),
    "a mix above one": ({"scores": [1.0, 2.0], "kind": "mixture", "size": 1, "mix": 2.0}, "mix in"),
    "no strata": ({"scores": [1.0, 2.0], "kind": "stratified", "size": 1, "strata": 0}, "strata in"),
    "absent classes": ({"scores": 2, "kind": "random", "size": 1, "labels": [0, 1], "classes": [0, 5]}, r"\[5\]"),
    "a class too small": (
        {"scores": 5, "kind": "random", "size": 4, "labels": [0, 0, 0, 0, 1], "balanced": True},
        "at most 2 examples over 2 classes",
    ),
    "an unbalanced all": ({"scores": 4, "kind": "all", "labels": [0, 0, 0, 1], "balanced": True}, "1 to 3 examples"),
    "missing indices": ({"scores": 3, "kind": "indices"}, "Got no indices"),
    "repeated indices": ({"scores": 3, "kind": "indices", "indices": [1, 1]}, "repeat"),
    "indices outside": ({"scores": 3, "kind": "indices", "indices": [1, 3]}, "index 3 is not"),
    "indices that are a mask": ({"scores": 2, "kind": "indices", "indices": [True, False]}, "np.flatnonzero"),
    "a fractional size": ({"scores": [1.0, 2.0], "size": 1.0}, r"size=1.0 of type float(.|\n)*an integer from 1 to 2"),
    "a size in letters": ({"scores": [1.0, 2.0], "size": "1"}, "size='1' of type str"),
    "no size": ({"scores": [1.0, 2.0], "size": None}, "size=None"),
    "a fraction in letters": ({"scores": [1.0, 2.0], "fraction": "a"}, "fraction='a'"),
    "a fractional seed": ({"scores": [1.0, 2.0], "size": 1, "seed": 1.5}, r"seed=1.5(.|\n)*an integer"),
    "a fractional offset": ({"scores": [1.0, 2.0], "kind": "window", "size": 1, "offset": 0.5}, "offset=0.5"),
    "a mix in letters": ({"scores": [1.0, 2.0], "kind": "mixture", "size": 1, "mix": "a"}, "mix='a'"),
    "one class alone": ({"scores": 2, "kind": "random", "size": 1, "labels": [0, 1], "classes": 1}, "classes=1"),
    "no examples": ({"scores": [], "size": 1}, r"0 scores\.(.|\n)*at least one example"),
    "no number of examples": ({"scores": 0, "kind": "random", "size": 1}, r"0 examples\."),
    "no labels at all": ({"scores": [1.0], "size": 1, "labels": []}, "labels are empty"),
    "ragged scores": ({"scores": [[1.0], [1.0, 2.0]], "size": 1}, "scores of type list, which cannot be converted"),
    "fewer labels than scores": ({"scores": [1.0, 2.0], "size": 1, "labels": [0]}, "2 scores and 1 labels"),
    "a balanced window beyond a class": (
        {
            "scores": np.arange(6.0),
            "kind": "window",
            "size": 4,
            "offset": 4,
            "labels": [0, 1] * 3,
            "balanced": True,
        },
        "offset=4 and size=4, of which class 0 has to give 4 examples, but it has only 3",
    ),
    "fractional indices": ({"scores": 3, "kind": "indices", "indices": [0.5]}, "distinct integers"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused_with_the_reason(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        choose_subset(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [np.int64(2), np.uint8(2)])
def test_a_size_may_be_an_integer_of_numpy(size: Any) -> None:
    assert choose_subset([3.0, 1.0, 2.0], "easiest", size).tolist() == [1, 2]


def test_an_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="easiest, hardest, indices, mixture, random, stratified, window"):
        choose_subset([1.0], "easyest", 1)
