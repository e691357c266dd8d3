"""Views of pixels stand for the tensor that would hold these images, whatever is done with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ticketdiet.core.pixels import PixelView
from ticketdiet.core.values import Images


@pytest.fixture
def pixels(tmp_path: Path) -> torch.Tensor:
    """uint8 (9, 2, 3, 3), mapped from a file."""
    drawn = np.random.default_rng(0).integers(0, 256, (9, 2, 3, 3), dtype=np.uint8)
    np.save(tmp_path / "pixels.npy", drawn)
    return torch.from_numpy(np.load(tmp_path / "pixels.npy", mmap_mode="c"))


def test_slices_and_indices_read_what_a_tensor_would_give(pixels: torch.Tensor) -> None:
    view, where = PixelView(pixels), torch.tensor([7, 0, 7, 3])
    for index in (
        slice(2, 5),
        slice(None),
        slice(8, 20),
        where,
        where.numpy(),
        4,
        (where, 1),
        (slice(0, 3), slice(0, 1)),
    ):
        assert torch.equal(view[index], pixels[index])


def test_a_choice_of_a_choice_is_that_of_the_tensor(pixels: torch.Tensor) -> None:
    first, second = torch.tensor([8, 1, 5, 5]), torch.tensor([3, 0, 0])
    chosen = PixelView(pixels).take(first).take(second)
    assert torch.equal(chosen.whole(), pixels[first][second])
    assert (len(chosen), chosen.shape, chosen.dim()) == (3, (3, 2, 3, 3), 4)


def test_a_change_follows_the_images_through_choices(pixels: torch.Tensor) -> None:
    added = torch.arange(9, dtype=torch.uint8)
    view = PixelView(pixels).changed(lambda shown, where: shown + added[where][:, None, None, None])
    expected = pixels + added[:, None, None, None]
    order = torch.tensor([6, 2, 4])
    assert torch.equal(view.take(order)[1:], expected[order][1:])
    assert torch.equal(view.changed(lambda shown, _: shown.flip(-1)).whole(), expected.flip(-1))


def test_functions_and_methods_of_tensors_see_all_the_images(pixels: torch.Tensor) -> None:
    view = PixelView(pixels).take(torch.tensor([1, 0]))
    assert torch.equal(torch.flip(view.as_tensor(), (0,)), pixels[:2])
    assert np.array_equal(view.numpy(), pixels[[1, 0]].numpy())
    assert view.float().sum() == pixels[:2].float().sum()


def test_operators_and_lists_of_views_see_all_the_images(pixels: torch.Tensor) -> None:
    view = PixelView(pixels).as_tensor()
    assert torch.equal(view / 255, pixels / 255)
    assert torch.equal(1 - view, 1 - pixels)
    assert torch.equal(view == pixels, torch.ones_like(pixels, dtype=torch.bool))
    assert torch.equal(view < 100, pixels < 100)
    assert torch.equal(torch.cat([view, view[:2]]), torch.cat([pixels, pixels[:2]]))
    assert torch.equal(torch.stack((view, view)), torch.stack((pixels, pixels)))


def test_streamed_images_have_the_fingerprint_of_the_images(pixels: torch.Tensor) -> None:
    images = Images(pixels, torch.arange(9) % 2, ("a", "b"), (0.5, 0.5), (1.0, 1.0))
    order = np.array([4, 4, 0, 8])
    streamed = images.streamed()
    assert replace(streamed).fingerprint == images.fingerprint == streamed.streamed().fingerprint
    assert streamed.take(order).fingerprint == images.take(order).fingerprint
    assert isinstance(streamed.take(order).pixels, PixelView)
    assert isinstance(streamed.to("cpu").pixels, PixelView)


def test_what_was_read_can_be_changed_without_changing_the_source(pixels: torch.Tensor) -> None:
    before = pixels.clone()
    PixelView(pixels)[:3].zero_()
    assert torch.equal(pixels, before)
