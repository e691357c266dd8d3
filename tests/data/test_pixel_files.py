"""Pixels are decoded straight into the files of the cache, with the same content as in memory."""

from __future__ import annotations

import errno
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ticketdiet.data import pixel_files
from ticketdiet.data.images import load_images
from ticketdiet.data.pixel_files import PixelFiles, images_per_chunk, in_memory

Draw = Callable[..., np.ndarray]


def _unexpected(error: OSError) -> None:
    raise AssertionError("the folder can be written") from error


def test_an_array_becomes_the_file_it_was_made_in(tmp_path: Path, draw: Draw) -> None:
    files, content = PixelFiles(tmp_path, refused=_unexpected), draw(5, 3, 4, 4)
    made, other = files(content.shape), files((2, 1, 4, 4))
    made[:] = content
    assert files.move(torch.from_numpy(made).numpy(), tmp_path / "train_pixels.npy")
    files.discard_scratch()
    assert [path.name for path in tmp_path.iterdir()] == ["train_pixels.npy"]
    assert np.array_equal(np.load(tmp_path / "train_pixels.npy"), content)
    assert not files.move(in_memory((5, 3, 4, 4)), tmp_path / "none.npy")
    assert other.shape == (2, 1, 4, 4)


def test_without_room_on_the_disk_the_array_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pixel_files, "_reserve", full)
    told: list[OSError] = []
    made = PixelFiles(tmp_path, told.append)((4, 1, 2, 2))
    assert not isinstance(made, np.memmap)
    assert told[0].errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("calls", [True, False])
def test_the_whole_file_has_its_place_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: bool) -> None:
    if not calls:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    made = PixelFiles(tmp_path, refused=_unexpected)((300, 3, 32, 32))
    stat = os.stat(str(made.filename))  # type: ignore[attr-defined]
    assert stat.st_blocks * 512 >= stat.st_size == made.nbytes + made.offset  # type: ignore[attr-defined]


def test_no_more_than_a_chunk_of_images_is_held_at_once() -> None:
    assert images_per_chunk((10**6, 3, 64, 64)) == pixel_files.CHUNK_BYTES // (3 * 64 * 64)
    assert images_per_chunk((10, 3, 10**5, 10**5)) == 1
    assert images_per_chunk((0, 3, 0, 0)) == pixel_files.CHUNK_BYTES


@pytest.mark.parametrize("channels", [(), (3,)])
def test_a_folder_of_pictures_is_the_same_from_the_files_as_in_memory(
    tmp_path: Path,
    draw: Draw,
    write_folder: Callable[..., None],
    channels: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pixel_files, "CHUNK_BYTES", 300)  # a few images
    names = [f"{split}/{kind}/{i}.png" for split in ("train", "test") for kind in "ab" for i in range(9)]
    write_folder(tmp_path / "set", {name: draw(8, 8, *channels, seed=i) for i, name in enumerate(names)})
    choices: tuple[dict[str, Any], ...] = (
        {},
        {"limit": 7},
        {"resolution": 4},
        {"validation": 5, "limit": 9, "resolution": 2},
    )
    for options in choices:
        streamed = load_images(f"folder:{tmp_path / 'set'}", cache=tmp_path / "cache", **options)
        expected = load_images(f"folder:{tmp_path / 'set'}", cache=False, **options)
        assert streamed.fingerprint == expected.fingerprint
        assert (streamed.train.mean, streamed.train.std) == (expected.train.mean, expected.train.std)
    folders = list((tmp_path / "cache" / "images").iterdir())
    assert all(not path.name.startswith(".") for path in folders)
    assert all(not list(path.glob("scratch-*")) for path in folders)


def test_decoding_holds_little_memory_whatever_the_number_of_pictures(
    tmp_path: Path, draw: Draw, write_folder: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_files, "CHUNK_BYTES", 1 << 16)
    pixels = draw(128, 128, 3)  # 49 152 bytes
    write_folder(tmp_path / "set", {f"{split}/a/{i}.png": pixels for split in ("train", "test") for i in range(150)})
    load_images(f"folder:{tmp_path / 'set'}", limit=2, cache=tmp_path / "first")  # what is imported at first use
    tracemalloc.start()
    try:
        load_images(f"folder:{tmp_path / 'set'}", limit=140, cache=tmp_path / "second")
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 2 << 20  # the pictures are 14.7 MB, and those that are kept 6.9 MB
