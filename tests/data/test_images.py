"""From a name to splits: digits, options, statistics, facts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ticketdiet.core.errors import DataError
from ticketdiet.data.images import image_facts, kept_examples, load_images


def test_mean_and_std_are_those_of_the_final_training_images_in_every_split(npz_path: Path) -> None:
    images = load_images(f"npz:{npz_path}", resolution=4, limit=30, validation=10)
    pixels = images.train.pixels.numpy().astype(np.float64) / 255
    assert images.validation is not None
    np.testing.assert_allclose(images.train.mean, pixels.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(images.train.std, pixels.std(axis=(0, 2, 3)), rtol=1e-12)
    for other in (images.test, images.validation):
        assert (other.mean, other.std) == (images.train.mean, images.train.std)


def test_validation_limit_and_rest_are_disjoint_parts_of_train_in_its_order(npz_path: Path) -> None:
    whole = load_images(f"npz:{npz_path}")
    images = load_images(f"npz:{npz_path}", limit=40, validation=0.2, seed=3)
    assert images.validation is not None
    order = [bytes(pixels.numpy()) for pixels in whole.train.pixels]
    train, aside = (
        [order.index(bytes(pixels.numpy())) for pixels in split.pixels] for split in (images.train, images.validation)
    )
    assert (len(train), len(aside)) == (40, 12)
    assert train == sorted(train)
    assert aside == sorted(aside)
    assert not set(train) & set(aside)
    assert torch.equal(images.train.labels, whole.train.labels[train])
    assert images.test.fingerprint == whole.test.fingerprint


def test_the_kept_examples_lead_back_to_the_order_of_the_data_set(npz_path: Path) -> None:
    whole, name = load_images(f"npz:{npz_path}").train, f"npz:{npz_path}"
    part = load_images(name, limit=40, validation=0.2, seed=3).train
    kept = kept_examples(name, limit=40, validation=0.2, seed=3)
    assert kept.total == len(whole)
    assert torch.equal(whole.pixels[kept.indices], part.pixels)
    spread = kept.spread(np.arange(80.0).reshape(2, 40))
    assert spread.shape == (2, len(whole))
    assert np.array_equal(spread[:, kept.indices], np.arange(80.0).reshape(2, 40))
    assert np.isnan(spread).sum() == 2 * (len(whole) - 40)
    assert np.array_equal(kept_examples(name).indices, np.arange(len(whole)))


def test_a_limit_does_not_move_the_validation_images(npz_path: Path) -> None:
    name = f"npz:{npz_path}"
    one, other = load_images(name, validation=10), load_images(name, validation=10, limit=20)
    assert one.validation is not None
    assert other.validation is not None
    assert one.validation.fingerprint == other.validation.fingerprint


def test_the_seed_moves_limit_and_validation(npz_path: Path) -> None:
    options: dict[str, Any] = {"limit": 20, "validation": 10}
    prints = {image_facts(f"npz:{npz_path}", seed=seed, **options).fingerprint for seed in (0, 1, 0, 1)}
    assert len(prints) == 2


def test_facts_are_those_of_the_loaded_images_before_and_after_caching(npz_path: Path) -> None:
    name = f"npz:{npz_path}"
    options: dict[str, Any] = {"resolution": 4, "validation": 0.25}
    before = image_facts(name, **options, cache=False)
    images = load_images(name, **options)
    after = image_facts(name, **options)
    assert before == after
    assert after.fingerprint == images.fingerprint
    assert after.shape == tuple(images.train.pixels.shape[1:]) == (3, 4, 4)
    assert after.fingerprints["validation"] == images.validation.fingerprint
    assert after.splits["train"].class_counts == tuple(images.train.labels.bincount(minlength=3).tolist())
    assert (after.num_classes, after.splits["test"].count) == (3, 20)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"resolution": 3}, "one of: 1, 2, 4, 8"),
        ({"resolution": 16}, "never enlarged"),
        ({"resolution": 0}, "one of: 1, 2, 4, 8"),
        ({"limit": 0}, r"limit in \[1, 60\]"),
        ({"limit": 61}, r"limit=61 for 60"),
        ({"limit": 51, "validation": 10}, r"limit=51 for 50"),
        ({"validation": 1.0}, "validation=1.0"),
        ({"validation": -0.1}, "validation=-0.1"),
        ({"validation": 60}, "leaves training images"),
        ({"validation": 2.5}, "whole number"),
        ({"validation": 0.001}, "validation=0.001"),
        ({"validation": float("nan")}, "validation=nan"),
        ({"validation": float("inf")}, "validation=inf"),
    ],
)
def test_an_option_that_does_not_fit_the_data_is_refused_with_the_way_out(
    npz_path: Path, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(DataError, match=says):
        load_images(f"npz:{npz_path}", **options)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("parquet:", "has no path"),
        ("npz:/nowhere/at.npz", "does not exist"),
        ("folder:nowhere", r"nowhere does not exist[\s\S]*PATH/<split>/<class>/\*\.png"),
        ("digits:8x8", "leave the path out"),
        ("digits:?split=1", "no option 'split'"),
    ],
)
def test_a_malformed_source_is_refused(source: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        load_images(source)


def test_decoding_reports_its_progress(npz_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    load_images(f"npz:{npz_path}", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (80, 80)


def test_images_that_vanish_are_a_data_error(npz_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("ticketdiet.data.npz.stamp_files", refuse)
    with pytest.raises(DataError, match="Permission denied"):
        load_images(f"npz:{npz_path}")


def test_a_missing_extra_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from ticketdiet.core.errors import UserError

    (tmp_path / "train.parquet").write_bytes(b"")
    (tmp_path / "test.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match=r"pip install 'ticketdiet\[parquet\]'"):
        load_images(f"parquet:{tmp_path}")


def test_a_constant_channel_can_still_be_normalised(tmp_path: Path, draw: Callable[..., np.ndarray]) -> None:
    path = tmp_path / "flat.npz"
    flat = np.full((4, 2, 2), 51, dtype=np.uint8)
    np.savez(path, x_train=flat, y_train=[0, 1, 0, 1], x_test=draw(4, 2, 2), y_test=[0, 1, 0, 1])
    train = load_images(f"npz:{path}").train
    assert train.mean == pytest.approx((0.2,))
    assert train.std == (1.0,)
