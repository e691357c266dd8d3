import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ticketdiet.core.errors import DataError
from ticketdiet.core.values import Images
from ticketdiet.data.parts import subset_splits


def numbered(count):
    """Images that say in their pixels which they are."""
    return Images(torch.arange(count, dtype=torch.float32)[:, None], torch.arange(count) % 3, tuple("abc"))


@given(st.integers(1, 30), st.data())
def test_every_image_is_in_exactly_one_part_in_the_order_of_the_data(count, data):
    chosen = data.draw(st.lists(st.integers(0, count - 1), unique=True))
    parts = subset_splits(numbered(count), np.array(chosen, dtype=np.int64))
    held = {name: images.pixels[:, 0].int().tolist() for name, images in parts.items()}
    assert held.get("subset", []) == sorted(chosen)
    assert held.get("rest", []) == sorted(set(range(count)) - set(chosen))
    assert all(len(images) for images in parts.values())


def test_parts_keep_labels_and_class_names():
    parts = subset_splits(numbered(7), torch.tensor([5, 1]))
    assert parts["subset"].labels.tolist() == [1, 2]
    assert parts["rest"].class_names == ("a", "b", "c")


def test_a_whole_set_has_no_rest():
    assert list(subset_splits(numbered(3), [0, 1, 2])) == ["subset"]


@pytest.mark.parametrize("wrong", [[0, 0], [7], [-1], [[1, 2]], [0.5]])
def test_what_is_no_subset_is_refused(wrong):
    with pytest.raises(DataError, match=r"distinct integers among the 7 candidates"):
        subset_splits(numbered(7), np.array(wrong))
