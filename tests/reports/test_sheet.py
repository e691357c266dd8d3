"""The sheet of sample images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ticketdiet.core.errors import DataError
from ticketdiet.core.values import Images
from ticketdiet.reports.sheet import draw_mosaic, sample_indices, sample_sheet


def numbered(labels: list[int], channels: int = 1) -> Images:
    """Image i is 2 x 3 pixels of value i."""
    pixels = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None].repeat(1, channels, 2, 3)
    return Images(pixels, torch.tensor(labels), ("ant", "bee", "cow"))


def test_every_row_shows_different_images_of_its_class() -> None:
    labels = np.random.default_rng(0).integers(0, 3, 100)
    chosen = sample_indices(labels, 3, 8, seed=1)
    for label, row in enumerate(chosen):
        assert set(labels[row]) == {label}
        assert len(set(row)) == 8
    assert not np.array_equal(chosen, sample_indices(labels, 3, 8, seed=2))
    assert np.array_equal(chosen[:, :3], sample_indices(labels, 3, 3, seed=1))


def test_a_class_with_too_few_images_ends_in_blanks() -> None:
    assert sample_indices(np.array([0, 2, 2]), 3, 2, seed=0)[:2].tolist() == [[0, -1], [-1, -1]]


def test_a_mosaic_puts_every_image_in_its_place_on_white() -> None:
    mosaic = draw_mosaic(numbered([0, 1, 2]).pixels.numpy(), np.array([[2, 0], [-1, 1]]))
    expected = np.full((5, 7), 255)
    expected[0:2, 0:3], expected[0:2, 4:7], expected[3:5, 4:7] = 2, 0, 1
    assert mosaic.tolist() == np.repeat(expected[..., None], 3, axis=2).tolist()
    coloured = numbered([0, 1], channels=3).pixels.numpy()
    assert draw_mosaic(coloured, np.array([[1]])).tolist() == np.ones((2, 3, 3)).tolist()


def test_the_sheet_is_a_figure_with_a_row_for_every_class(tmp_path: Path) -> None:
    figure = sample_sheet(numbered([0, 1, 2, 1]), per_class=2)
    figure.savefig(tmp_path / "sheet.png")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["ant", "bee", "cow"]
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_shown_is_refused() -> None:
    prepared = Images(torch.zeros(2, 1, 2, 2), torch.tensor([0, 1]), ("a", "b"))
    with pytest.raises(DataError, match="before they are prepared"):
        sample_sheet(prepared)
    with pytest.raises(DataError, match="1 or 3"):
        sample_sheet(numbered([0, 1], channels=2))
    with pytest.raises(DataError, match="per_class=0"):
        sample_sheet(numbered([0]), per_class=0)
