"""A folder a class: order, merging, colour, mistakes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ticketdiet.core.errors import DataError
from ticketdiet.data.images import image_facts, load_images

pytest.importorskip("PIL")
Write = Callable[..., None]
Draw = Callable[..., np.ndarray]


@pytest.fixture
def pictures(draw: Draw) -> dict[str, np.ndarray]:
    names = [
        *("train/cat/b.png", "train/cat/a.png", "train/ant/z.PNG"),
        *("valid/cat/c.png", "valid/ant/y.png", "test/cat/d.png", "test/ant/x.png"),
    ]
    return {name: draw(4, 4, seed=seed) for seed, name in enumerate(names)}


def test_order_is_by_class_then_by_file_name(tmp_path: Path, write_folder: Write, pictures: dict) -> None:
    write_folder(tmp_path, pictures)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "train" / ".hidden").mkdir()
    images = load_images(f"folder:{tmp_path}")
    expected = ["train/ant/z.PNG", "train/cat/a.png", "train/cat/b.png"]
    assert images.train.class_names == ("ant", "cat")
    assert images.train.labels.tolist() == [0, 1, 1]
    assert np.array_equal(images.train.pixels.numpy(), np.stack([pictures[name] for name in expected])[:, None])


def test_split_folders_are_merged_in_the_order_given(tmp_path: Path, write_folder: Write, pictures: dict) -> None:
    write_folder(tmp_path, pictures)
    images = load_images(f"folder:{tmp_path}?train=train,valid&test=test")
    expected = ["train/ant/z.PNG", "train/cat/a.png", "train/cat/b.png", "valid/ant/y.png", "valid/cat/c.png"]
    assert np.array_equal(images.train.pixels[:, 0].numpy(), np.stack([pictures[name] for name in expected]))
    other = image_facts(f"folder:{tmp_path}?train=valid,train")
    assert other.splits["train"].count == 5
    assert other.fingerprint != images.fingerprint


def test_one_colour_image_makes_the_whole_set_colour(
    tmp_path: Path, write_folder: Write, pictures: dict, draw: Draw
) -> None:
    write_folder(tmp_path, {**pictures, "test/cat/d.png": draw(4, 4, 3)})
    images = load_images(f"folder:{tmp_path}")
    assert images.train.pixels.shape[1] == images.test.pixels.shape[1] == 3
    assert np.array_equal(images.train.pixels[0].numpy(), np.stack([pictures["train/ant/z.PNG"]] * 3))


def test_images_of_mixed_size_name_both_files_and_sizes(
    tmp_path: Path, write_folder: Write, pictures: dict, draw: Draw
) -> None:
    write_folder(tmp_path, {**pictures, "test/cat/d.png": draw(6, 5)})
    with pytest.raises(DataError, match=r"d\.png has size 5x6 .*, but .*z\.PNG has 4x4"):
        load_images(f"folder:{tmp_path}")


def test_a_truncated_picture_is_named(tmp_path: Path, write_folder: Write, pictures: dict) -> None:
    write_folder(tmp_path, pictures)
    file = tmp_path / "train" / "cat" / "b.png"
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(DataError, match=r"b\.png cannot be read"):
        load_images(f"folder:{tmp_path}")


def test_folders_that_do_not_fit_are_refused(tmp_path: Path, write_folder: Write, pictures: dict) -> None:
    write_folder(tmp_path, pictures)
    with pytest.raises(DataError, match="contains: test, train, valid"):
        load_images(f"folder:{tmp_path}?test=val")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no class folders"):
        load_images(f"folder:{tmp_path}?train=empty")
    (tmp_path / "test" / "dog").mkdir()
    with pytest.raises(DataError, match="differ by dog"):
        load_images(f"folder:{tmp_path}")
    (tmp_path / "train" / "dog").mkdir()
    with pytest.raises(DataError, match=r"train/dog contains no images(?s:.)*\.png"):
        load_images(f"folder:{tmp_path}")
    with pytest.raises(DataError, match="is a file"):
        load_images(f"folder:{tmp_path / 'train' / 'cat' / 'a.png'}")
    with pytest.raises(DataError, match="option 'split'"):
        load_images(f"folder:{tmp_path}?split=train")


def test_a_path_may_hold_a_question_mark(tmp_path: Path, write_folder: Write, pictures: dict) -> None:
    write_folder(tmp_path / "why?", pictures)
    assert len(load_images(f"folder:{tmp_path}/why?").train) == 3
    assert len(load_images(f"folder:{tmp_path}/why??train=valid").train) == 2


def test_pictures_of_several_sizes_are_brought_to_one_where_that_is_asked_for(
    tmp_path: Path, write_folder: Write, draw: Draw
) -> None:
    names = [f"{split}/{kind}/1.png" for split in ("train", "val") for kind in "ab"]
    write_folder(tmp_path, {name: draw(9 + i, 12, 3, seed=i) for i, name in enumerate(names)})
    loaded = {size: load_images(f"folder:{tmp_path}?test=val&size={size}") for size in (4, 8)}
    assert [splits.train.pixels.shape for splits in loaded.values()] == [(2, 3, 4, 4), (2, 3, 8, 8)]
    larger = load_images(f"folder:{tmp_path}?test=val&resize=9&size=8")
    assert larger.fingerprint != loaded[8].fingerprint
