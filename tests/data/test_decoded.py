import os

import numpy as np
import pytest

from ticketdiet.core.errors import DataError
from ticketdiet.data.decoded import check_same_size, checked_labels, stamp_files


def test_labels_of_one_column_are_flattened_to_int64():
    labels = checked_labels(np.array([[2], [0]], dtype=np.uint8), 2, "y", 3)
    assert (labels.tolist(), labels.dtype) == ([2, 0], np.dtype(np.int64))


@pytest.mark.parametrize(
    ("labels", "count", "says"),
    [
        (np.array([0.5]), 1, "dtype float64 in y"),
        (np.zeros((2, 2), int), 2, r"shape \(2, 2\)"),
        (np.array([0, 1]), 3, "2 labels for 3 images in y"),
        (np.array([], int), 0, "at least one image"),
        (np.array([0, 3]), 2, r"from 0 to 3 in y(.|\n)*\[0, 2\]"),
        (np.array([-1, 0]), 2, "from -1 to 0"),
    ],
)
def test_labels_that_do_not_fit_are_refused_by_name(labels, count, says):
    with pytest.raises(DataError, match=says):
        checked_labels(labels, count, "y", 3)


def test_without_a_number_of_classes_only_absurd_labels_are_refused():
    assert checked_labels(np.array([65_535]), 1, "y").tolist() == [65_535]
    with pytest.raises(DataError, match="65536"):
        checked_labels(np.array([65_536]), 1, "y")


def test_images_of_two_sizes_are_refused_with_both_names():
    check_same_size(np.zeros((2, 1, 4, 4)), "train", np.zeros((5, 1, 4, 4)), "test")
    with pytest.raises(DataError, match=r"images of train have shape \(1, 4, 4\), but those of test \(3, 4, 4\)"):
        check_same_size(np.zeros((2, 1, 4, 4)), "train", np.zeros((2, 3, 4, 4)), "test")


def test_a_stamp_changes_with_size_and_time(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    os.utime(path, ns=(5, 5))
    assert stamp_files([path]) == [[str(path), 3, 5]]
    os.utime(path, ns=(6, 6))
    assert stamp_files([path]) == [[str(path), 3, 6]]
