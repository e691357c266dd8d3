"""One .npz file: layout and mistakes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ticketdiet.core.errors import DataError
from ticketdiet.data.images import load_images

Draw = Callable[..., np.ndarray]


@pytest.fixture
def save(tmp_path: Path, draw: Draw) -> Callable[..., str]:
    def save(**changed: Any) -> str:
        arrays: dict[str, Any] = {
            "x_train": draw(4, 6, 5),
            "y_train": [0, 1, 1, 0],
            "x_test": draw(2, 6, 5),
            "y_test": [0, 2],
        }
        arrays |= changed
        np.savez(tmp_path / "set.npz", **{key: value for key, value in arrays.items() if value is not None})
        return f"npz:{tmp_path / 'set.npz'}"

    return save


def test_grey_images_get_a_channel_axis_and_numbers_for_names(save: Callable[..., str], draw: Draw) -> None:
    images = load_images(save(y_train=np.array([[0], [1], [1], [0]], dtype=np.uint8)))
    assert np.array_equal(images.train.pixels.numpy(), draw(4, 6, 5)[:, None])
    assert images.train.labels.tolist() == [0, 1, 1, 0]
    assert images.train.class_names == ("0", "1", "2")


def test_channels_come_last_in_the_file_and_second_in_memory(save: Callable[..., str], draw: Draw) -> None:
    images = load_images(save(x_train=draw(4, 6, 5, 3), x_test=draw(2, 6, 5, 3), class_names=["a", "b", "c"]))
    assert np.array_equal(images.train.pixels.numpy(), np.moveaxis(draw(4, 6, 5, 3), -1, 1))
    assert images.train.class_names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"y_test": None, "x_test": None}, r"lacks x_test, y_test; it contains: x_train, y_train"),
        ({"x_train": np.zeros((4, 6, 5))}, r"x_train .*float64(?s:.)*astype\('uint8'\)"),
        ({"x_train": np.zeros((4, 30), dtype=np.uint8)}, r"shape \(4, 30\)"),
        ({"x_train": np.zeros((0, 6, 5), dtype=np.uint8), "y_train": []}, r"shape \(0, 6, 5\)"),
        ({"x_test": np.zeros((2, 5, 5), dtype=np.uint8)}, r"x_train .*\(1, 6, 5\), but those of x_test \(1, 5, 5\)"),
        ({"y_train": [0, 1, 1]}, "3 labels for 4 images"),
        ({"y_train": [0.0, 1, 1, 0]}, "float64"),
        ({"y_train": [0, -1, 1, 0]}, "labels from -1 to 1"),
        ({"y_train": [0, 10**9, 1, 0]}, "labels from 0 to 1000000000"),
        ({"class_names": ["a", "b"]}, r"labels from 0 to 2 in y_test"),
        ({"y_train": np.array([0, 1, None, 0], dtype=object)}, "it contains pickled objects"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(save: Callable[..., str], changed: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        load_images(save(**changed))


def test_a_damaged_file_is_refused(save: Callable[..., str], tmp_path: Path) -> None:
    source = save()
    path = tmp_path / "set.npz"
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[150] ^= 255
    for damaged in (b"", b"not an archive", whole[: len(whole) // 2], bytes(flipped)):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"set\.npz cannot be read"):
            load_images(source)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match="single array"):
        load_images(source)
    with pytest.raises(DataError, match="is a folder"):
        load_images(f"npz:{tmp_path}")


def test_a_changed_byte_anywhere_is_read_or_refused_but_never_a_crash(save: Callable[..., str], tmp_path: Path) -> None:
    source, path = save(), tmp_path / "set.npz"
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        with contextlib.suppress(DataError):
            load_images(source, cache=False)
