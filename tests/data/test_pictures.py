from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ticketdiet.core.errors import DataError
from ticketdiet.data.pictures import PictureReader, TargetSize

pytest.importorskip("PIL.Image")
Encode = Callable[[np.ndarray], bytes]
Draw = Callable[..., np.ndarray]


def test_grey_pictures_keep_one_channel(as_png: Encode, draw: Draw) -> None:
    pixels, reader = draw(3, 4, 5), PictureReader(3)
    read = reader.read(((str(i), as_png(picture)) for i, picture in enumerate(pixels)), 3)
    assert np.array_equal(reader.settle(read)[:, 0], pixels)


def test_one_coloured_picture_in_any_split_keeps_three_channels(as_png: Encode, draw: Draw) -> None:
    grey, coloured, reader = draw(4, 5), draw(4, 5, 3), PictureReader(2)
    first = reader.read([("grey", as_png(grey))], 1)
    reader.read([("coloured", as_png(coloured))], 1)
    assert reader.settle(first).shape == (1, 3, 4, 5)
    assert all(np.array_equal(channel, grey) for channel in reader.settle(first)[0])


def test_the_sizes_of_all_splits_have_to_agree(as_png: Encode, draw: Draw) -> None:
    reader = PictureReader(2)
    reader.read([("one", as_png(draw(4, 5)))], 1)
    with pytest.raises(DataError, match=r"at two has size 6x4 \(width x height\), but that at one has 5x4"):
        reader.read([("two", as_png(draw(4, 6)))], 1)


def test_progress_ends_with_the_total(as_png: Encode, draw: Draw) -> None:
    told: list[tuple[int, int]] = []
    reader = PictureReader(2, lambda done, total: told.append((done, total)))
    reader.read([("a", as_png(draw(2, 2))), ("b", as_png(draw(2, 2)))], 2)
    assert told == [(2, 2)]


@pytest.mark.parametrize(("height", "width"), [(20, 30), (33, 17), (12, 12), (5, 7)])
def test_pictures_of_several_sizes_are_scaled_and_cut_as_torchvision_does(
    as_png: Encode, draw: Draw, height: int, width: int
) -> None:
    transforms = pytest.importorskip("torchvision.transforms.v2")
    image = pytest.importorskip("PIL.Image")
    pixels = draw(height, width, 3)
    expected = transforms.Compose([transforms.Resize(12), transforms.CenterCrop(8)])(image.fromarray(pixels))
    read = PictureReader(1, size=TargetSize(12, 8)).read([("one", as_png(pixels))], 1)
    assert np.array_equal(read[0], np.asarray(expected).transpose(2, 0, 1))


def test_grey_pictures_of_several_sizes_stay_grey(as_png: Encode, draw: Draw) -> None:
    reader = PictureReader(2, size=TargetSize.of({"size": "4"}))
    read = reader.read([("a", as_png(draw(9, 5))), ("b", as_png(draw(4, 6)))], 2)
    assert reader.settle(read).shape == (2, 1, 4, 4)


@pytest.mark.parametrize(
    "options", [{"size": "0"}, {"size": "x"}, {"resize": "9"}, {"size": "9", "resize": "8"}, {"size": "99999"}]
)
def test_a_size_that_cannot_be_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(DataError, match="whole numbers of pixels"):
        TargetSize.of(options)


def test_without_options_pictures_keep_their_size() -> None:
    assert TargetSize.of({"train": "a"}) is None
    assert TargetSize.of({"size": "224", "resize": "256"}) == TargetSize(256, 224)


@pytest.mark.parametrize("threads", [1, 3])
def test_pictures_keep_their_order_whatever_the_number_of_threads(
    as_png: Encode, draw: Draw, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    pixels = draw(40, 5, 5, 3)
    encoded = [(str(i), as_png(picture)) for i, picture in enumerate(pixels)]
    assert np.array_equal(PictureReader(40).read(encoded, 40), pixels.transpose(0, 3, 1, 2))
    encoded[7], encoded[30] = ("seven", b"damaged"), ("thirty", b"damaged")
    with pytest.raises(DataError, match="picture at seven"):
        PictureReader(40).read(encoded, 40)
