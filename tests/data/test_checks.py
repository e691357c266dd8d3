import numpy as np
import pytest
import torch

from ticketdiet.core.errors import DataError
from ticketdiet.data.checks import (
    as_array,
    candidates,
    check_indices,
    check_labels,
    check_scores,
    count_examples,
    is_integer,
    is_number,
    size_of,
)


@pytest.mark.parametrize(
    ("value", "integer", "number"),
    [(1, True, True), (np.int8(1), True, True), (1.0, False, True), (np.float32(1), False, True)]
    + [(value, False, False) for value in (True, "1", None, np.array([1]))],
)
def test_integers_and_numbers_are_those_of_python_and_numpy_without_bools(value, integer, number):
    assert (is_integer(value), is_number(value)) == (integer, number)


def test_tensors_arrays_and_sequences_become_arrays():
    for values in (torch.tensor([1, 2], requires_grad=False), np.array([1, 2]), [1, 2], (1, 2)):
        assert as_array(values, "values").tolist() == [1, 2]


def test_scores_become_floats_and_may_be_infinite():
    assert check_scores([3, 1], "easiest", needed=True).dtype == np.float64
    assert check_scores(np.array([1.0, np.inf], np.float32), "easiest", needed=True).dtype == np.float32
    assert check_scores(None, "random", needed=False) is None


def test_labels_may_be_missing_only_where_nothing_needs_them():
    assert check_labels(None, needed=False) is None
    with pytest.raises(DataError, match="no labels"):
        check_labels(None, needed=True)


def test_examples_are_counted_from_whatever_was_given():
    assert count_examples(7, None, None) == 7
    assert count_examples(None, None, np.zeros(3, int)) == 3
    with pytest.raises(DataError, match="2 scores and 3 labels"):
        count_examples(None, np.zeros(2), np.zeros(3, int))


def test_candidates_are_the_examples_of_the_named_classes():
    labels = np.array([2, 0, 1, 2])
    assert candidates(4, labels, [2, 1]).tolist() == [0, 2, 3]
    assert candidates(4, None, None).tolist() == [0, 1, 2, 3]


def test_a_fraction_is_rounded_to_the_nearest_number_halves_up():
    assert [size_of(0, fraction, 10) for fraction in (0.1, 0.14, 0.15, 1)] == [1, 1, 2, 10]


def test_indices_come_back_sorted_and_may_be_none_where_that_is_allowed():
    assert check_indices([3, 1], np.arange(4)).tolist() == [1, 3]
    assert check_indices([], np.arange(4), at_least=0).tolist() == []
    with pytest.raises(DataError, match="at least one"):
        check_indices([], np.arange(4))
