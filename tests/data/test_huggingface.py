"""Data sets of the library ``datasets``: from disk, as objects and by name, without a network."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ticketdiet.core.errors import DataError, UserError
from ticketdiet.data.images import image_facts, load_images

datasets = pytest.importorskip("datasets")
pillow = pytest.importorskip("PIL.Image")
Draw = Callable[..., np.ndarray]


@pytest.fixture(autouse=True)
def quiet() -> None:
    datasets.disable_progress_bars()


@pytest.fixture
def arrays(draw: Draw) -> dict[str, np.ndarray]:
    return {"train": draw(12, 6, 6, 3), "test": draw(5, 6, 6, 3, seed=1)}


@pytest.fixture
def as_dict(arrays: dict[str, np.ndarray]) -> Callable[..., Any]:
    """A ``DatasetDict`` of the arrays."""

    def make(image: str = "img", label: Any = None, **more: list[Any]) -> Any:
        feature = label or datasets.ClassLabel(names=["cat", "dog", "eel"])
        features = {image: datasets.Image(), "label": feature, **{name: datasets.Value("int64") for name in more}}
        return datasets.DatasetDict(
            {
                split: datasets.Dataset.from_dict(
                    {
                        image: [pillow.fromarray(one) for one in pixels],
                        "label": [i % 3 for i in range(len(pixels))],
                        **{name: values[: len(pixels)] for name, values in more.items()},
                    },
                    features=datasets.Features(features),
                )
                for split, pixels in arrays.items()
            }
        )

    return make


def test_a_dataset_dict_is_a_source(as_dict: Callable[..., Any], arrays: dict[str, np.ndarray]) -> None:
    splits = load_images(as_dict())
    for split, images in splits.named().items():
        assert np.array_equal(images.pixels.numpy(), arrays[split].transpose(0, 3, 1, 2))
        assert images.labels.tolist() == [i % 3 for i in range(len(images))]
    assert splits.train.class_names == ("cat", "dog", "eel")
    assert load_images(as_dict()).fingerprint == load_images(as_dict(), cache=False).fingerprint == splits.fingerprint


def test_a_folder_that_save_to_disk_wrote_is_the_same_source(as_dict: Callable[..., Any], tmp_path: Path) -> None:
    given = as_dict()
    given.save_to_disk(tmp_path / "saved", num_shards={"train": 3, "test": 1})
    expected = load_images(given)
    assert load_images(f"hf:{tmp_path / 'saved'}").fingerprint == expected.fingerprint
    assert image_facts(f"hf:{tmp_path / 'saved'}").fingerprint == expected.fingerprint
    swapped = load_images(f"hf:{tmp_path / 'saved'}?train=test&test=train")
    assert swapped.train.fingerprint == expected.test.fingerprint


def test_changed_rows_are_other_images(as_dict: Callable[..., Any]) -> None:
    given = as_dict()
    shuffled = datasets.DatasetDict(train=given["train"].shuffle(seed=1), test=given["test"])
    before, after = load_images(given), load_images(shuffled)
    assert before.train.fingerprint != after.train.fingerprint
    assert before.test.fingerprint == after.test.fingerprint


def test_pictures_of_several_sizes_are_brought_to_one(as_dict: Callable[..., Any], tmp_path: Path) -> None:
    as_dict().save_to_disk(tmp_path / "saved")
    assert load_images(f"hf:{tmp_path / 'saved'}?size=4").train.pixels.shape == (12, 3, 4, 4)


def test_integers_without_names_count_the_classes(as_dict: Callable[..., Any]) -> None:
    splits = load_images(as_dict(label=datasets.Value("int32")))
    assert splits.train.class_names == ("0", "1", "2")


def test_a_column_that_cannot_be_told_is_asked_for(as_dict: Callable[..., Any], tmp_path: Path) -> None:
    as_dict(label=datasets.Value("int64"), other=list(range(12))).save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match=r"\?label=COLUMN; columns that fit: label, other"):
        load_images(f"hf:{tmp_path / 'saved'}")
    assert load_images(f"hf:{tmp_path / 'saved'}?label=label").train.num_classes == 3
    with pytest.raises(DataError, match="a column 'labels'"):
        load_images(f"hf:{tmp_path / 'saved'}?label=labels")


@pytest.mark.parametrize("given", [3, ["train"], {"train": np.zeros(3)}])
def test_other_objects_are_refused(given: Any) -> None:
    with pytest.raises(DataError, match="a DatasetDict with the splits train and test"):
        load_images(given)


def test_a_missing_split_is_named_with_those_that_are_there(as_dict: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no split 'test'[\s\S]*one of: train"):
        load_images({"train": as_dict()["train"]})
    as_dict()["train"].save_to_disk(tmp_path / "single")
    with pytest.raises(DataError, match=r"no split 'test'"):
        load_images(f"hf:{tmp_path / 'single'}")


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(DataError, match="that save_to_disk"):
        load_images(f"hf:{tmp_path}")


def test_a_name_is_loaded_by_the_library_and_only_downloaded_where_allowed(
    as_dict: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def load(name: str, config: str | None, download_config: Any) -> Any:
        asked.append((name, config, download_config is not None and download_config.local_files_only))
        if name == "absent":
            raise ConnectionError("Couldn't reach it")
        return as_dict()

    monkeypatch.setattr(datasets, "load_dataset", load)
    load_images("hf:some/set?config=plain")
    load_images("hf:some/set", download=False)
    with pytest.raises(DataError, match=r"'absent' is no folder here[\s\S]*ConnectionError"):
        load_images("hf:absent")
    assert asked == [("some/set", "plain", False), ("some/set", None, True), ("absent", None, False)]


def test_the_missing_library_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"ticketdiet\[datasets\]"):
        load_images(f"hf:{tmp_path}")
